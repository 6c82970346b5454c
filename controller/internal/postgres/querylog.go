package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// slowQuery is how long a statement may take before it is worth a warning.
const slowQuery = 500 * time.Millisecond

// queryLog shows GORM's log to slog: slow statements as warnings, failed ones
// at debug, because the error goes to whoever handles it and is logged there.
// Values never appear.
type queryLog struct {
	log *slog.Logger
}

var (
	_ logger.Interface  = queryLog{}
	_ gorm.ParamsFilter = queryLog{}
)

// LogMode keeps the logger as it is: slog's level decides.
func (l queryLog) LogMode(logger.LogLevel) logger.Interface { return l }

// Info logs at debug: GORM's information is for who debugs GORM.
func (l queryLog) Info(ctx context.Context, format string, args ...any) {
	l.log.DebugContext(ctx, fmt.Sprintf(format, args...))
}

// Warn logs a warning of GORM's.
func (l queryLog) Warn(ctx context.Context, format string, args ...any) {
	l.log.WarnContext(ctx, fmt.Sprintf(format, args...))
}

// Error logs an error that GORM does not return.
func (l queryLog) Error(ctx context.Context, format string, args ...any) {
	l.log.ErrorContext(ctx, fmt.Sprintf(format, args...))
}

// Trace is told of every statement after it ran.
func (l queryLog) Trace(ctx context.Context, begin time.Time, statement func() (string, int64), err error) {
	took := time.Since(begin)
	failed := err != nil && !errors.Is(err, gorm.ErrRecordNotFound)
	switch {
	case took >= slowQuery:
		sql, rows := statement()
		l.log.WarnContext(ctx, "slow query", "sql", sql, "rows", rows, "took", took, "error", err)
	case failed && l.log.Enabled(ctx, slog.LevelDebug):
		sql, _ := statement()
		l.log.DebugContext(ctx, "query failed", "sql", sql, "took", took, "error", err)
	}
}

// ParamsFilter keeps the values out of the statements that are logged.
func (l queryLog) ParamsFilter(_ context.Context, sql string, _ ...any) (string, []any) {
	return sql, nil
}
