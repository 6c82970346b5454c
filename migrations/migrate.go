package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"strings"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

const (
	// Table records what was applied.
	Table = "schema_migrations"

	// lockID is the advisory lock all migrating processes of one database
	// meet at: "fairlead" in ASCII.
	lockID = 0x666169726c656164

	// Who waits for another's migrations asks every second for an hour: long
	// enough for any migration worth waiting for. The caller's context ends
	// it sooner.
	lockPeriodSeconds = 1
	lockAttempts      = 3600
)

// ErrNewer says that the database holds migrations this binary does not know:
// a newer controller has been here.
var ErrNewer = errors.New("database schema is newer than this program")

// Up applies every migration the database lacks, one transaction each. Any
// number of processes may call it at once on one database: they take turns
// under a session advisory lock, and the later ones find nothing to do. It
// returns ErrNewer, and changes nothing, when the database is ahead.
func Up(ctx context.Context, db *sql.DB) error {
	provider, err := newProvider(db)
	if err != nil {
		return err
	}
	if err := refuseNewer(ctx, db); err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("apply migrations: %w", err)
	}
	// A newer controller may have migrated while this one waited its turn.
	return refuseNewer(ctx, db)
}

// DownTo takes back every migration above version, newest first; 0 takes back
// all of them. It is for development and tests: what the tables held is gone.
func DownTo(ctx context.Context, db *sql.DB, version int64) error {
	provider, err := newProvider(db)
	if err != nil {
		return err
	}
	if err := refuseNewer(ctx, db); err != nil {
		return err
	}
	if _, err := provider.DownTo(ctx, version); err != nil {
		return fmt.Errorf("take back migrations down to %d: %w", version, err)
	}
	return nil
}

// Schema says where a database stands beside the migrations of this binary.
type Schema struct {
	// Last is the newest applied migration, e.g. "00001_init"; only its number
	// when this binary does not know it; empty when there is none.
	Last string
	// Pending counts the migrations of this binary the database lacks.
	Pending int
	// Newer is true when the database has migrations this binary lacks.
	Newer bool
}

// Current reports whether the schema is exactly what this binary expects.
func (s Schema) Current() bool { return s.Pending == 0 && !s.Newer }

// Version reads where the database stands and changes nothing.
func Version(ctx context.Context, db *sql.DB) (Schema, error) {
	known, err := names(db)
	if err != nil {
		return Schema{}, err
	}
	versions, err := applied(ctx, db)
	if err != nil {
		return Schema{}, fmt.Errorf("read schema version: %w", err)
	}
	schema := Schema{Pending: len(known)}
	for _, version := range versions { // ascending
		name, ok := known[version]
		if ok {
			schema.Pending--
		} else {
			schema.Newer = true
			name = fmt.Sprintf("%05d", version)
		}
		schema.Last = name
	}
	return schema, nil
}

// names returns the migrations of this binary: number to file name without
// its ending.
func names(db *sql.DB) (map[int64]string, error) {
	provider, err := newProvider(db)
	if err != nil {
		return nil, err
	}
	known := make(map[int64]string)
	for _, source := range provider.ListSources() {
		known[source.Version] = strings.TrimSuffix(path.Base(source.Path), ".sql")
	}
	return known, nil
}

// applied lists the migrations in the database, oldest first. The library's
// own readers make the table when it is missing; a health check must not.
func applied(ctx context.Context, db *sql.DB) ([]int64, error) {
	var exists bool
	if err := db.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, Table).Scan(&exists); err != nil || !exists {
		return nil, err
	}
	// Number 0 marks the table's making and is no migration.
	rows, err := db.QueryContext(ctx,
		`SELECT version_id FROM `+Table+` WHERE is_applied AND version_id > 0 ORDER BY version_id`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var versions []int64
	for rows.Next() {
		var version int64
		if err := rows.Scan(&version); err != nil {
			return nil, err
		}
		versions = append(versions, version)
	}
	return versions, rows.Err()
}

func refuseNewer(ctx context.Context, db *sql.DB) error {
	schema, err := Version(ctx, db)
	if err != nil {
		return err
	}
	if schema.Newer {
		return fmt.Errorf("%w: it is at migration %s; run the newer controller again, or restore a backup from before the upgrade",
			ErrNewer, schema.Last)
	}
	return nil
}

// newProvider makes a provider for one operation: its lock counts its waits
// and cannot be used twice.
func newProvider(db *sql.DB) (*goose.Provider, error) {
	// Asking again and again instead of one blocking pg_advisory_lock keeps
	// waiters out of transactions, which CREATE INDEX CONCURRENTLY would wait
	// for, and never end.
	locker, err := lock.NewPostgresSessionLocker(
		lock.WithLockID(lockID),
		lock.WithLockTimeout(lockPeriodSeconds, lockAttempts),
		lock.WithUnlockTimeout(1, 1),
	)
	if err != nil {
		return nil, fmt.Errorf("prepare migrations: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, FS,
		goose.WithTableName(Table),
		goose.WithSessionLocker(locker),
		goose.WithDisableGlobalRegistry(true),
		goose.WithSlog(slog.New(slog.DiscardHandler)),
	)
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	return provider, nil
}
