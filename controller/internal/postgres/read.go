package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"fairlead.dev/controller/internal/page"
)

// What is asked for all the time is read past GORM, and outside of transactions
// past database/sql too: by pgx, on the same connections, which takes a fifth
// of the allocations. Each such query has its columns once in its text and once
// in the method fields of its row.

// readAttempts is how often a query is tried that did not reach the server.
const readAttempts = 3

// fielder is a row that knows where its columns go, in their order.
type fielder[Row any] interface {
	*Row
	fields() []any
}

// readRows runs a query and returns what its rows stand for.
func readRows[Row, T any, P fielder[Row]](ctx context.Context, db *DB, doing string, to func(*Row) (T, error), query string, args ...any) ([]T, error) {
	list := []T{}
	row := new(Row)
	fields := P(row).fields()
	err := db.read(ctx, doing, func(rows scanner) error {
		if err := rows.Scan(fields...); err != nil {
			return err
		}
		item, err := to(row)
		list = append(list, item)
		return err
	}, query, args...)
	return list, err
}

// readRow is readRows for one row; NotFound when there is none.
func readRow[Row, T any, P fielder[Row]](ctx context.Context, db *DB, doing string, to func(*Row) (T, error), query string, args ...any) (item T, err error) {
	row := new(Row)
	found := false
	err = db.read(ctx, doing, func(rows scanner) error {
		found = true
		if err := rows.Scan(P(row).fields()...); err != nil {
			return err
		}
		item, err = to(row)
		return err
	}, query, args...)
	if err == nil && !found {
		err = notFound(doing)
	}
	return item, err
}

func notFound(doing string) error { return mapError(pgx.ErrNoRows, "%s", doing) }

// scanner is a row of pgx's or of database/sql's.
type scanner interface {
	Scan(targets ...any) error
}

// read runs a query, in the transaction that ctx carries or on a connection of
// the pool, and calls each for every row.
func (db *DB) read(ctx context.Context, doing string, each func(scanner) error, query string, args ...any) error {
	if joined, ok := ctx.Value(txKey{}).(*transaction); ok && joined.db == db {
		return db.queryRows(ctx, doing, func(rows *sql.Rows) error { return each(rows) }, query, args...)
	}
	began := time.Now()
	err := db.readOutside(ctx, each, query, args)
	for attempt := 1; attempt < readAttempts && pgconn.SafeToRetry(err); attempt++ {
		err = db.readOutside(ctx, each, query, args)
	}
	if took := time.Since(began); took >= slowQuery || err != nil {
		db.gorm.Logger.Trace(ctx, began, func() (string, int64) { return query, -1 }, err)
	}
	return mapError(err, "%s", doing)
}

// readOutside runs a query outside of a transaction.
func (db *DB) readOutside(ctx context.Context, each func(scanner) error, query string, args []any) error {
	conn, err := db.poolOf(ctx).Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // puts it back, or away when it broke
	return conn.Raw(func(driver any) error {
		native, ok := driver.(*stdlib.Conn)
		if !ok {
			return fmt.Errorf("a connection is a %T", driver)
		}
		rows, err := native.Conn().Query(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := each(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// paging returns a query that reads the part of a list that is wanted, and its
// arguments. The first part has its length in the text: PostgreSQL does not keep
// a plan whose limit it does not know, and planning takes longer than running it.
func paging(ctx context.Context, query string, args ...any) (string, []any) {
	p, ok := page.From(ctx)
	switch {
	case !ok:
		return query, args
	case p.Skip == 0:
		return query + " limit " + strconv.Itoa(p.Take), args
	default:
		return fmt.Sprintf("%s limit $%d offset $%d", query, len(args)+1, len(args)+2), append(args, p.Take, p.Skip)
	}
}
