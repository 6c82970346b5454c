package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
)

const (
	// txAttempts is how often a transaction is tried that loses to others.
	txAttempts = 8
	// txBackoff bounds the first wait between two tries; each next one may be
	// twice as long.
	txBackoff = 5 * time.Millisecond
)

type txKey struct{}

// InTx runs fn in one transaction: everything done through this DB with the
// context fn gets belongs to it, is committed when fn returns nil, and undone
// when fn returns an error, panics, or ctx ends. Inside another InTx of the
// same DB, fn joins that transaction.
//
// A transaction that PostgreSQL gave up in favour of another one (a
// serialization failure or a deadlock) is tried again from the start, and
// nothing else is: fn must have no effects but in the database.
func (db *DB) InTx(ctx context.Context, fn func(ctx context.Context) error) error {
	if joined, ok := ctx.Value(txKey{}).(*transaction); ok && joined.db == db {
		return fn(ctx)
	}
	for attempt := 1; ; attempt++ {
		err := db.source(ctx).WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			if err := fn(context.WithValue(ctx, txKey{}, &transaction{db: db, gorm: tx})); err != nil {
				return err
			}
			return carryOut(ctx, tx)
		})
		if err == nil || attempt == txAttempts || !lostToAnother(err) {
			return mapError(err, "complete the transaction")
		}
		if err := waitJitter(ctx, txBackoff<<(attempt-1)); err != nil {
			return mapError(err, "complete the transaction")
		}
	}
}

// transaction is one that a context carries.
type transaction struct {
	db   *DB
	gorm *gorm.DB
}

// in returns where to run a query: the transaction ctx carries, or the pool.
func (db *DB) in(ctx context.Context) *gorm.DB {
	if joined, ok := ctx.Value(txKey{}).(*transaction); ok && joined.db == db {
		return joined.gorm.WithContext(ctx)
	}
	return db.source(ctx).WithContext(ctx)
}

// lostToAnother reports whether trying the transaction again may succeed:
// 40001 is a serialization failure, 40P01 a deadlock.
func lostToAnother(err error) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer) && (answer.Code == "40001" || answer.Code == "40P01")
}

// waitJitter waits for a random time below limit, so that two that collided do
// not collide again.
func waitJitter(ctx context.Context, limit time.Duration) error {
	timer := time.NewTimer(rand.N(limit)) //nolint:gosec // chance, not secrecy
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
