package postgres

import (
	"context"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
)

type countKey struct{}

// CountStatements returns a context that counts the statements run with it,
// and a function that tells how many there were so far. Beginning and ending a
// transaction are statements.
func CountStatements(ctx context.Context) (context.Context, func() int) {
	var count atomic.Int64
	return context.WithValue(ctx, countKey{}, &count), func() int { return int(count.Load()) }
}

// statementCounter counts for the contexts that want it.
type statementCounter struct{}

var _ pgx.QueryTracer = statementCounter{}

// TraceQueryStart counts a statement that begins.
func (statementCounter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	if count, ok := ctx.Value(countKey{}).(*atomic.Int64); ok {
		count.Add(1)
	}
	return ctx
}

// TraceQueryEnd has nothing to do.
func (statementCounter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
