// Package postgres keeps everything the controller knows in PostgreSQL,
// through GORM. Nothing outside sees GORM, a row or an SQLSTATE: the domain
// packages get their own types, and errors with a kind.
package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"
	gormpostgres "gorm.io/driver/postgres"
	"gorm.io/gorm"
)

const (
	defaultMaxConns         = 20
	defaultStatementTimeout = 30 * time.Second

	// A transaction that waits for its own program this long is a leak, and
	// holds locks.
	idleInTransaction = time.Minute

	// Connections are made anew now and then, so that a name which moves to
	// another server takes its clients along.
	connLifetime = 30 * time.Minute
	connIdleTime = 5 * time.Minute
)

// Config says which database to use and how.
type Config struct {
	// DSN is a PostgreSQL URL or a key=value string.
	DSN string
	// Log receives slow queries, without the values in them.
	Log *slog.Logger
	// MaxConns bounds the pool; 0 means 20.
	MaxConns int
	// StatementTimeout ends a statement that runs longer; 0 means 30 s. It
	// does not bind migrations.
	StatementTimeout time.Duration
}

// DB is a pool of connections to the controller's database. It is safe for
// concurrent use.
type DB struct {
	gorm *gorm.DB
	pool *sql.DB
	// conn makes connections outside the pool: for LISTEN and for migrations.
	conn *pgx.ConnConfig
}

// Open connects to the database and checks that it answers. Times come back
// in UTC whatever the server's time zone is, and go in truncated to the
// microsecond PostgreSQL keeps, so that what is written equals what is read.
// It returns an Unavailable error when the server cannot be reached.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	conn, err := pgx.ParseConfig(cfg.DSN)
	if err != nil {
		return nil, fmt.Errorf("read database address (DATABASE_URL): %w", err) // shows no password
	}
	conn.RuntimeParams["timezone"] = "UTC"
	if conn.RuntimeParams["application_name"] == "" {
		conn.RuntimeParams["application_name"] = "fairlead"
	}
	conn.Tracer = statementCounter{}
	limited := conn.Copy()
	limited.RuntimeParams["statement_timeout"] = milliseconds(cmp.Or(cfg.StatementTimeout, defaultStatementTimeout))
	limited.RuntimeParams["idle_in_transaction_session_timeout"] = milliseconds(idleInTransaction)

	pool := stdlib.OpenDB(*limited, stdlib.OptionAfterConnect(scanUTC))
	maxConns := cmp.Or(cfg.MaxConns, defaultMaxConns)
	pool.SetMaxOpenConns(maxConns)
	pool.SetMaxIdleConns(maxConns)
	pool.SetConnMaxLifetime(connLifetime)
	pool.SetConnMaxIdleTime(connIdleTime)

	if err := pool.PingContext(ctx); err != nil {
		_ = pool.Close()
		return nil, mapError(err, "connect to the database")
	}
	orm, err := gorm.Open(gormpostgres.New(gormpostgres.Config{Conn: pool}), &gorm.Config{
		SkipDefaultTransaction:   true,
		DisableNestedTransaction: true,
		DisableAutomaticPing:     true,
		NowFunc:                  now,
		Logger:                   queryLog{log: cfg.Log},
	})
	if err != nil {
		_ = pool.Close()
		return nil, fmt.Errorf("set up database access: %w", err)
	}
	return &DB{gorm: orm, pool: pool, conn: conn}, nil
}

// Ping reports whether the database answers.
func (db *DB) Ping(ctx context.Context) error {
	return mapError(db.pool.PingContext(ctx), "ask the database for an answer")
}

// Close closes the pool after the queries under way.
func (db *DB) Close() error { return db.pool.Close() }

// scanUTC makes a connection return timestamptz in UTC instead of the
// machine's zone.
func scanUTC(_ context.Context, conn *pgx.Conn) error {
	conn.TypeMap().RegisterType(&pgtype.Type{
		Name:  "timestamptz",
		OID:   pgtype.TimestamptzOID,
		Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
	})
	return nil
}

func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
