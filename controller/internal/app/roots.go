package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/config"
	"fairlead.dev/controller/internal/keys"
	"fairlead.dev/controller/internal/pgserver"
	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/root"
	"fairlead.dev/shared/pki"
)

// WithRoots calls do with the private roots of the configured installation,
// whether its controllers run or not; those that run notice what changed by
// themselves. Seen is how recently an agent must have been connected for a step
// to wait for it.
func WithRoots(ctx context.Context, c config.Config, log *slog.Logger, seen time.Duration, do func(context.Context, *root.Service) error) error {
	roots, err := keys.OpenRoots(c.KeysDir, now)
	if err != nil {
		return err
	}
	d, err := visitDatabase(ctx, c, log)
	if err != nil {
		return err
	}
	err = do(actor.With(ctx, actor.Actor{Kind: actor.System, Name: "controller root"}), root.New(root.Config{
		Ring: roots, Store: d.db, Audit: audit.New(d.db, now), Now: now, Seen: seen, Issued: agent.CertificateLifetime + pki.Skew,
	}))
	if err == nil {
		// Controllers that do not run now must find it when they start.
		err = d.db.UseKeys(ctx, kindRoot, rootPrints(&keys.Keys{Roots: roots}), now())
	}
	return errors.Join(err, d.close(context.WithoutCancel(ctx)))
}

// visitDatabase connects to the database without changing its schema: to that
// of a running controller, or to one that is started for this visit.
func visitDatabase(ctx context.Context, c config.Config, log *slog.Logger) (*database, error) {
	dsn := c.DatabaseURL.Reveal()
	d := &database{}
	if dsn == "" {
		address, running, err := pgserver.Running(c.StateDir)
		if err != nil {
			return nil, fmt.Errorf("look for the running controller's database: %w", err)
		}
		dsn = address
		if !running {
			if d.server, err = pgserver.Start(ctx, pgserver.Config{StateDir: c.StateDir, Log: log}); err != nil {
				return nil, err
			}
			dsn = d.server.DSN()
		}
	}
	var err error
	if d.db, err = patiently(ctx, log, func() (*postgres.DB, error) { return open(ctx, dsn, log) }); err != nil {
		return nil, errors.Join(err, d.close(context.WithoutCancel(ctx)))
	}
	return d, nil
}
