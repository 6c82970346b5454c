package pgtest_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"fairlead.dev/controller/internal/postgres/pgtest"
)

func TestEachDatabaseIsMigratedAndItsOwn(t *testing.T) {
	first, second := connect(t, pgtest.NewDSN(t)), connect(t, pgtest.NewDSN(t))
	if _, err := first.Exec(t.Context(), `INSERT INTO settings (key, value) VALUES ('mine', 'alone')`); err != nil {
		t.Fatal(err)
	}
	var rows int
	if err := second.QueryRow(t.Context(), `SELECT count(*) FROM settings WHERE key = 'mine'`).Scan(&rows); err != nil {
		t.Fatal(err)
	}
	if rows != 0 {
		t.Fatalf("the second database has %d rows of the first", rows)
	}
}

func TestServerIsNotInUTC(t *testing.T) {
	conn := connect(t, pgtest.NewEmptyDSN(t))
	var zone string
	if err := conn.QueryRow(t.Context(), `SHOW timezone`).Scan(&zone); err != nil {
		t.Fatal(err)
	}
	if zone != "Asia/Kathmandu" {
		t.Fatalf("the time zone is %s, want one that is not UTC", zone)
	}
}

func TestDatabaseIsDroppedWithItsTest(t *testing.T) {
	var dsn string
	t.Run("inner", func(t *testing.T) {
		dsn = pgtest.NewDSN(t)
		connect(t, dsn) // still open when the database goes
	})
	if conn, err := pgx.Connect(t.Context(), dsn); err == nil {
		_ = conn.Close(t.Context())
		t.Fatal("the database of a test that ended is still there")
	}
}

func BenchmarkNew(b *testing.B) {
	pgtest.NewDSN(b) // start and template
	for b.Loop() {
		pgtest.NewDSN(b)
	}
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	return conn
}
