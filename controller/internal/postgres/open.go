// Package postgres keeps everything the controller knows in PostgreSQL,
// through GORM. Nothing outside sees GORM, a row or an SQLSTATE: the domain
// packages get their own types, and errors with a kind.
package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
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
	defaultMaxConns = 20
	// reservedConns are for Reserved.
	reservedConns           = 8
	defaultStatementTimeout = 30 * time.Second

	// A transaction that waits for its own program this long is a leak, or that
	// of a controller whose way to the database is cut. Its locks must not keep
	// another controller from taking over the agents.
	idleInTransaction = 10 * time.Second

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
	// MaxConns bounds the pool; 0 means 20. Eight more are for Reserved.
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
	// reserved and reservedPool are what Reserved asks for.
	reserved     *gorm.DB
	reservedPool *sql.DB
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

	db := &DB{conn: conn}
	if db.gorm, db.pool, err = openPool(limited, cmp.Or(cfg.MaxConns, defaultMaxConns), cfg.Log); err == nil {
		db.reserved, db.reservedPool, err = openPool(limited, reservedConns, cfg.Log)
	}
	if err == nil {
		err = mapError(db.pool.PingContext(ctx), "connect to the database")
	}
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	return db, nil
}

// openPool makes a pool that connects when it is used.
func openPool(config *pgx.ConnConfig, conns int, log *slog.Logger) (*gorm.DB, *sql.DB, error) {
	pool := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(registerTypes))
	pool.SetMaxOpenConns(conns)
	pool.SetMaxIdleConns(conns)
	pool.SetConnMaxLifetime(connLifetime)
	pool.SetConnMaxIdleTime(connIdleTime)
	orm, err := gorm.Open(gormpostgres.New(gormpostgres.Config{Conn: pool}), &gorm.Config{
		SkipDefaultTransaction:   true,
		DisableNestedTransaction: true,
		DisableAutomaticPing:     true,
		NowFunc:                  now,
		Logger:                   queryLog{log: log},
	})
	if err != nil {
		return nil, pool, fmt.Errorf("set up database access: %w", err)
	}
	return orm, pool, nil
}

type reservedKey struct{}

// Reserved returns a context with which every DB uses the connections that it
// keeps for what must not wait behind requests of the API: whatever belongs to
// the agents' sessions. Those are few, and so must be who uses them.
func Reserved(ctx context.Context) context.Context {
	return context.WithValue(ctx, reservedKey{}, true)
}

// source returns the pool to be used with a context.
func (db *DB) source(ctx context.Context) *gorm.DB {
	if ctx.Value(reservedKey{}) != nil {
		return db.reserved
	}
	return db.gorm
}

// poolOf is source for what goes past GORM.
func (db *DB) poolOf(ctx context.Context) *sql.DB {
	if ctx.Value(reservedKey{}) != nil {
		return db.reservedPool
	}
	return db.pool
}

// Ping reports whether the database answers.
func (db *DB) Ping(ctx context.Context) error {
	return mapError(db.pool.PingContext(ctx), "ask the database for an answer")
}

// Close closes the pools after the queries under way.
func (db *DB) Close() error {
	var errs []error
	for _, pool := range []*sql.DB{db.pool, db.reservedPool} {
		if pool != nil {
			errs = append(errs, pool.Close())
		}
	}
	return errors.Join(errs...)
}

// registerTypes makes a connection return timestamptz in UTC instead of the
// machine's zone, and carry UUIDs as bytes.
func registerTypes(_ context.Context, conn *pgx.Conn) error {
	conn.TypeMap().RegisterType(&pgtype.Type{
		Name:  "timestamptz",
		OID:   pgtype.TimestamptzOID,
		Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
	})
	conn.TypeMap().RegisterType(&pgtype.Type{Name: "uuid", OID: pgtype.UUIDOID, Codec: uuidCodec{}})
	return nil
}

func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
