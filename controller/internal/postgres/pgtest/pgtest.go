// Package pgtest gives every test a database of its own on a real PostgreSQL:
// a clone of a template that has all migrations applied.
//
// The server is the one FAIRLEAD_TEST_DATABASE_URL names (its user must be
// allowed to create databases), or else a throw-away server that the test
// binaries of one user share. That one is started by the first test that needs
// it and left running in a folder below /tmp for the next; it writes nothing
// safely and holds nothing worth keeping.
package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/migrations"
)

const (
	// patience bounds the work before and after a test.
	patience = 2 * time.Minute

	// zone is what the databases think the local time is, to catch whoever
	// leaves a time zone to the server: not UTC, and not whole hours from it.
	zone = "Asia/Kathmandu"

	templatePrefix = "fairlead_template_"
	clonePrefix    = "fairlead_test_"

	// clones per test binary need few connections each; many run at once.
	maxConns = 8
)

// New returns a database with the current schema that no other test sees. It
// is closed and dropped when the test ends.
func New(t testing.TB) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{
		DSN:      NewDSN(t),
		Log:      slog.New(slog.NewTextHandler(t.Output(), nil)),
		MaxConns: maxConns,
	})
	if err != nil {
		t.Fatalf("open test database: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close test database: %v", err)
		}
	})
	return db
}

// NewDSN is New for who connects by a DSN.
func NewDSN(t testing.TB) string {
	t.Helper()
	return create(t, template)
}

// NewEmptyDSN is a database without a schema, for tests of the migrations.
func NewEmptyDSN(t testing.TB) string {
	t.Helper()
	return create(t, func(context.Context, string) (string, error) { return "template0", nil })
}

// create makes a database from the template that from names, and returns its
// DSN.
func create(t testing.TB, from func(ctx context.Context, server string) (string, error)) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	server, err := serverDSN(ctx)
	if err != nil {
		t.Fatalf("tests need PostgreSQL: %v", err)
	}
	origin, err := from(ctx, server)
	if err != nil {
		t.Fatalf("prepare template database: %v", err)
	}
	name := fmt.Sprintf("%s%d_%s", clonePrefix, time.Now().Unix(), strings.ToLower(rand.Text()))
	err = execute(ctx, server,
		"CREATE DATABASE "+name+" TEMPLATE "+origin,
		"ALTER DATABASE "+name+" SET timezone = '"+zone+"'",
	)
	if err != nil {
		t.Fatalf("make test database: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		// By force: a test that failed may have left connections open.
		if err := execute(ctx, server, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop test database: %v", err)
		}
	})
	return withDatabase(server, name)
}

// template makes sure that the database all others of this schema are cloned
// from exists, and returns its name.
func template(ctx context.Context, server string) (string, error) {
	hash, err := migrations.Hash()
	if err != nil {
		return "", err
	}
	name := templatePrefix + hash
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(ctx) }()
	if exists, err := hasDatabase(ctx, conn, name); err != nil || exists {
		return name, err
	}
	// Test binaries run side by side; one of them builds, on this lock, which
	// ends with the connection.
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock(hashtext($1))`, name); err != nil {
		return "", err
	}
	if exists, err := hasDatabase(ctx, conn, name); err != nil || exists {
		return name, err
	}
	return name, build(ctx, server, name)
}

// build makes the template under another name, so that nobody clones half of
// it. It also drops what killed test binaries left behind.
func build(ctx context.Context, server, name string) error {
	if err := dropLeftovers(ctx, server); err != nil {
		return err
	}
	unfinished := name + "_new"
	err := execute(ctx, server,
		"DROP DATABASE IF EXISTS "+unfinished+" WITH (FORCE)",
		"CREATE DATABASE "+unfinished+" TEMPLATE template0 ENCODING 'UTF8'",
	)
	if err != nil {
		return err
	}
	db, err := postgres.Open(ctx, postgres.Config{
		DSN: withDatabase(server, unfinished),
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	err = db.Migrate(ctx)
	if closeErr := db.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return execute(ctx, server, "ALTER DATABASE "+unfinished+" RENAME TO "+name)
}

// leftoverAge is above what any test run takes.
const leftoverAge = time.Hour

func dropLeftovers(ctx context.Context, server string) error {
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, _ := conn.Query(ctx, `SELECT datname FROM pg_database WHERE starts_with(datname, $1)`, clonePrefix)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, name := range names {
		var made int64
		if _, err := fmt.Sscanf(name, clonePrefix+"%d_", &made); err != nil || time.Since(time.Unix(made, 0)) < leftoverAge {
			continue
		}
		if _, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			return err
		}
	}
	return nil
}

func hasDatabase(ctx context.Context, conn *pgx.Conn, name string) (exists bool, err error) {
	err = conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, name).Scan(&exists)
	return exists, err
}

// execute runs statements, which cannot be in a transaction, one by one.
func execute(ctx context.Context, dsn string, statements ...string) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// withDatabase returns the DSN, of either form, for another database.
func withDatabase(dsn, name string) string {
	if u, err := url.Parse(dsn); err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql") {
		u.Path = "/" + name
		return u.String()
	}
	return dsn + " database=" + name // the last one counts
}
