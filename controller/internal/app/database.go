package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"fairlead.dev/controller/internal/config"
	"fairlead.dev/controller/internal/pgserver"
	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/shared/apperr"
)

// database is the open database, and the server behind it when it is ours.
type database struct {
	db     *postgres.DB
	server *pgserver.Server
}

// connectRetry is how soon a database that does not answer at start is asked
// again, connectPatience for how long: it may be starting too.
const (
	connectRetry    = time.Second
	connectPatience = 30 * time.Second
)

// openDatabase connects to DATABASE_URL, or starts the built-in server, and
// migrates.
func openDatabase(ctx context.Context, c config.Config, log *slog.Logger) (*database, error) {
	d := &database{}
	dsn := c.DatabaseURL.Reveal()
	if dsn == "" {
		server, err := pgserver.Start(ctx, pgserver.Config{StateDir: c.StateDir, Log: log})
		if err != nil {
			return nil, err
		}
		d.server, dsn = server, server.DSN()
	}
	var err error
	if d.db, err = patiently(ctx, log, func() (*postgres.DB, error) { return openMigrated(ctx, dsn, log) }); err != nil {
		return nil, errors.Join(err, d.close(context.WithoutCancel(ctx)))
	}
	return d, nil
}

// patiently opens a database. One that does not answer yet, or that ends its
// connections just then, is opened again.
func patiently(ctx context.Context, log *slog.Logger, open func() (*postgres.DB, error)) (*postgres.DB, error) {
	began, retry := time.Now(), time.NewTicker(connectRetry)
	defer retry.Stop()
	for {
		db, err := open()
		if err == nil || !apperr.Is(err, apperr.Unavailable) || time.Since(began) >= connectPatience {
			return db, err
		}
		log.Warn("the database does not answer yet", "error", err)
		select {
		case <-retry.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

func open(ctx context.Context, dsn string, log *slog.Logger) (*postgres.DB, error) {
	ctx, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	return postgres.Open(ctx, postgres.Config{DSN: dsn, Log: log})
}

func openMigrated(ctx context.Context, dsn string, log *slog.Logger) (*postgres.DB, error) {
	db, err := open(ctx, dsn, log)
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx); err != nil { // which may take its time
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// watch ends when ctx does, or with an error when the built-in server is gone.
func (d *database) watch(ctx context.Context) error {
	if d.server == nil {
		<-ctx.Done()
		return nil
	}
	select {
	case <-d.server.Done():
		return fmt.Errorf("%w: %w", errStopped, d.server.Err())
	case <-ctx.Done():
		return nil
	}
}

func (d *database) close(ctx context.Context) error {
	var errs []error
	if d.db != nil {
		errs = append(errs, d.db.Close())
	}
	if d.server != nil {
		errs = append(errs, d.server.Stop(ctx))
	}
	return errors.Join(errs...)
}

// LastMigration returns the newest applied migration, for the health endpoint.
func (d *database) LastMigration(ctx context.Context) (string, error) {
	schema, err := d.db.Schema(ctx)
	return schema.Last, err
}

// ready is the readiness check of the schema.
func (d *database) ready(ctx context.Context) error {
	schema, err := d.db.Schema(ctx)
	if err == nil && !schema.Current() {
		err = fmt.Errorf("schema is at %s, which is not this program's", schema.Last)
	}
	return err
}

// Migrate brings the configured database's schema up to date, and does nothing
// else.
func Migrate(ctx context.Context, c config.Config, log *slog.Logger) error {
	d, err := openDatabase(ctx, c, log)
	if err != nil {
		return err
	}
	log.Info("the schema is up to date")
	return d.close(context.WithoutCancel(ctx))
}
