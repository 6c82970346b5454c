// Package hostservice keeps the service manager of the host told of an agent that
// runs under one: that it has begun, that it is alive, that it ends.
package hostservice

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// beatsPerLimit is how often the manager hears of the agent within the time after
// which it takes the agent for hung.
const beatsPerLimit = 3

// Run tells systemd through the socket in NOTIFY_SOCKET that the agent has begun,
// then, as often as WATCHDOG_USEC wants it, that it is alive, and when ctx ends
// that it is about to stop. Without a socket it does nothing. That an agent cannot
// tell its manager is logged and ends nothing.
func Run(ctx context.Context, log *slog.Logger) error {
	tell := func(state string) (told bool) {
		told, err := daemon.SdNotify(false, state)
		if err != nil {
			log.Error("the service manager cannot be told of this agent", "error", err)
		}
		return told
	}
	if !tell(daemon.SdNotifyReady) {
		return nil
	}
	defer tell(daemon.SdNotifyStopping)
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("read what the service manager's watchdog wants (WATCHDOG_USEC): %w", err)
	}
	if limit <= 0 {
		<-ctx.Done()
		return nil
	}
	beat := time.NewTicker(limit / beatsPerLimit)
	defer beat.Stop()
	for {
		tell(daemon.SdNotifyWatchdog)
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
		}
	}
}
