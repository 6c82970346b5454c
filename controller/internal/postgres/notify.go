package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"fairlead.dev/shared/logging"
)

// Channels of LISTEN and NOTIFY. The payload is the id of the row that changed.
const (
	ChannelNode       = "fairlead_node"
	ChannelAgent      = "fairlead_agent"
	ChannelCommand    = "fairlead_command"
	ChannelDeployment = "fairlead_deployment"
	// ChannelDelivery has no payload: there are notifications to send.
	ChannelDelivery = "fairlead_delivery"
	// ChannelAccess has no payload: somebody may present a token no more, or is
	// something else in a team. Triggers of the tables tell it.
	ChannelAccess = "fairlead_access"
	// ChannelMail has no payload: there are e-mails to send.
	ChannelMail = "fairlead_mail"
	// ChannelRollout has no payload: there may be something to do for a rollout.
	ChannelRollout = "fairlead_rollout"
)

// listenRetry is how soon a lost listening connection is tried again.
const listenRetry = time.Second

// notify wakes whoever listens to the channel, once the transaction in ctx
// commits (https://www.postgresql.org/docs/current/sql-notify.html).
func (db *DB) notify(ctx context.Context, channel, payload string) error {
	return mapError(db.in(ctx).Exec("select pg_notify(?, ?)", channel, payload).Error, "wake the listeners")
}

// Listen passes the payloads of notices to the function of their channel until
// ctx ends. It keeps one connection of its own; when that is lost it connects
// anew and calls missed, because notices may have been.
func (db *DB) Listen(ctx context.Context, log *slog.Logger, notices map[string]func(payload string), missed func()) error {
	retry := time.NewTicker(listenRetry)
	defer retry.Stop()
	for {
		if err := db.listen(ctx, notices, missed); ctx.Err() == nil {
			log.Warn("lost the connection that listens for changes; connecting again", logging.KeyError, err)
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (db *DB) listen(ctx context.Context, notices map[string]func(payload string), missed func()) error {
	conn, err := pgx.ConnectConfig(ctx, db.conn.Copy())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, channel := range slices.Sorted(maps.Keys(notices)) {
		if _, err := conn.Exec(ctx, "listen "+pgx.Identifier{channel}.Sanitize()); err != nil {
			return fmt.Errorf("listen to %s: %w", channel, err)
		}
	}
	missed()
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		notices[n.Channel](n.Payload)
	}
}
