package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/stdlib"

	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/postgres/pgtest"
	"fairlead.dev/shared/apperr"
)

// readCount counts the settings of a key.
func readCount(ctx context.Context, t *testing.T, db *postgres.DB, key string) (n int) {
	t.Helper()
	err := postgres.Read(db, ctx, "count", func(row postgres.Scanner) error { return row.Scan(&n) },
		"select count(*) from settings where key = $1", key)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestReadingBelongsToTheTransaction(t *testing.T) {
	db := pgtest.New(t)
	err := db.InTx(t.Context(), func(ctx context.Context) error {
		if err := postgres.In(db, ctx).Create(&setting{"a", "1"}).Error; err != nil {
			return err
		}
		if n := readCount(ctx, t, db, "a"); n != 1 {
			t.Errorf("inside the transaction there are %d rows, want 1", n)
		}
		if n := readCount(t.Context(), t, db, "a"); n != 0 {
			t.Errorf("outside there are %d rows, want none yet", n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// everywhere runs a test outside of transactions and in one, where reading goes
// another way.
func everywhere(t *testing.T, test func(ctx context.Context, t *testing.T, db *postgres.DB)) {
	t.Helper()
	db := pgtest.New(t)
	t.Run("outside", func(t *testing.T) { test(t.Context(), t, db) })
	t.Run("in a transaction", func(t *testing.T) {
		_ = db.InTx(t.Context(), func(ctx context.Context) error { test(ctx, t, db); return nil })
	})
}

func TestReadingCarriesIDsAndTimes(t *testing.T) {
	everywhere(t, func(ctx context.Context, t *testing.T, db *postgres.DB) {
		sent, at := uuid.New(), time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
		var none *uuid.UUID
		var id uuid.UUID
		var same, null *uuid.UUID
		var when time.Time
		var text string
		err := postgres.Read(db, ctx, "read", func(row postgres.Scanner) error { return row.Scan(&id, &same, &null, &when, &text) },
			"select $1::uuid, $2::uuid, $3::uuid, $4::timestamptz, $1::uuid::text", sent, &sent, none, at)
		if err != nil {
			t.Fatal(err)
		}
		if id != sent || same == nil || *same != sent || null != nil || text != sent.String() {
			t.Errorf("sent %s, got %s, %v, %v and %s", sent, id, same, null, text)
		}
		if when != at { // location and all
			t.Errorf("sent %v, got %v", at, when)
		}
	})
}

func TestReadingTellsErrorsByTheirKind(t *testing.T) {
	db := pgtest.New(t)
	var n int
	take := func(row postgres.Scanner) error { return row.Scan(&n) }
	if err := postgres.Read(db, t.Context(), "read", take, "select 1 / $1::int", 0); err == nil {
		t.Error("dividing by zero is no error")
	}
	if err := postgres.Read(db, t.Context(), "read", take, "select $1::text::int", "x"); !apperr.Is(err, apperr.Invalid) {
		t.Errorf("a malformed number is %v, want an invalid value", err)
	}
	if _, err := db.FindNode(t.Context(), uuid.New(), uuid.New()); !apperr.Is(err, apperr.NotFound) {
		t.Errorf("a node that is not there is %v, want not found", err)
	}
	if err := postgres.Read(db, t.Context(), "read", take, "select 7"); err != nil || n != 7 {
		t.Errorf("after errors: %d, %v", n, err)
	}
}

// TestReadingTakesAnotherConnectionForALostOne cuts the only connection, so that
// the query does not reach the server.
func TestReadingTakesAnotherConnectionForALostOne(t *testing.T) {
	db := pgtest.New(t)
	conn, err := postgres.Pool(db).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = conn.Raw(func(driver any) error { return driver.(*stdlib.Conn).Conn().PgConn().Conn().Close() })
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if n := readCount(t.Context(), t, db, "a"); n != 0 {
		t.Errorf("%d rows are there, want none", n)
	}
}
