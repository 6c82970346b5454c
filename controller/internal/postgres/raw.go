package postgres

import (
	"context"
	"database/sql"

	"github.com/google/uuid"
)

// Statements over many rows take each column as an array and unnest them: one
// text for any number of rows, which is planned once. They go past GORM, which
// would write arrays out as lists.

// execRows runs a statement and returns how many rows it changed.
func (db *DB) execRows(ctx context.Context, doing, statement string, args ...any) (int64, error) {
	result, err := db.in(ctx).Statement.ConnPool.ExecContext(ctx, statement, args...)
	if err != nil {
		return 0, mapError(err, "%s", doing)
	}
	n, err := result.RowsAffected()
	return n, mapError(err, "%s", doing)
}

// queryRows runs a query and calls scan for each row.
func (db *DB) queryRows(ctx context.Context, doing string, scan func(*sql.Rows) error, query string, args ...any) (err error) {
	rows, err := db.in(ctx).Statement.ConnPool.QueryContext(ctx, query, args...)
	if err != nil {
		return mapError(err, "%s", doing)
	}
	defer func() { _ = rows.Close() }() // its error is that of Err
	for rows.Next() {
		if err := scan(rows); err != nil {
			return mapError(err, "%s", doing)
		}
	}
	return mapError(rows.Err(), "%s", doing)
}

// column makes one argument of a field of many rows.
func column[Row, T any](rows []Row, field func(Row) T) []T {
	values := make([]T, len(rows))
	for i, row := range rows {
		values[i] = field(row)
	}
	return values
}

// ids makes one argument of ids, in the form that is encoded the fastest.
func ids[Row any](rows []Row, field func(Row) uuid.UUID) [][16]byte {
	return column(rows, func(r Row) [16]byte { return field(r) })
}

// optionalIDs makes one argument of ids that may be missing.
func optionalIDs[Row any](rows []Row, field func(Row) *uuid.UUID) []*[16]byte {
	return column(rows, func(r Row) *[16]byte { return (*[16]byte)(field(r)) })
}
