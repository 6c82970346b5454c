// Command agent is the agents' runtime over the engine of the chaos tests. Its
// clock is as far off as the file CHAOS_CLOCK says.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"fairlead.dev/e2e/chaos/engine"
	"fairlead.dev/shared/agentrt"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	clock := os.Getenv("CHAOS_CLOCK")
	err := agentrt.New(agentrt.Config{
		StateDir: os.Getenv("CHAOS_STATE"), Driver: engine.NewDriver(os.Getenv("CHAOS_ENGINE")),
		NodeType: "docker", Hostname: "chaos", Log: log,
		Now: func() time.Time { return time.Now().Add(off(clock)) },
	}).Run(ctx)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// off reads how far the clock is off; what is no duration is nothing.
func off(file string) time.Duration {
	content, err := os.ReadFile(file) //nolint:gosec // whoever starts this program names the file
	if err != nil {
		return 0
	}
	d, err := time.ParseDuration(strings.TrimSpace(string(content)))
	if err != nil {
		return 0
	}
	return d
}
