package hostservice_test

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"fairlead.dev/dagent/internal/hostservice"
)

// manager listens as systemd does and returns what it is told, in order.
func manager(t *testing.T) (next func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return func() string {
		t.Helper()
		if err := socket.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		message := make([]byte, 4096)
		n, err := socket.Read(message)
		if err != nil {
			t.Fatalf("the manager was told nothing more: %v", err)
		}
		return string(message[:n])
	}
}

func TestTheManagerHearsOfTheAgentUntilItStops(t *testing.T) {
	next := manager(t)
	t.Setenv("WATCHDOG_USEC", "30000")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- hostservice.Run(ctx, slog.New(slog.DiscardHandler)) }()
	if said := next(); said != "READY=1" {
		t.Errorf("it said %q first", said)
	}
	for range 3 {
		if said := next(); said != "WATCHDOG=1" {
			t.Errorf("while it runs it said %q", said)
		}
	}
	stop()
	said := next()
	for said == "WATCHDOG=1" {
		said = next()
	}
	if said != "STOPPING=1" {
		t.Errorf("in the end it said %q", said)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestWithoutAWatchdogItSaysThatItHasBegunAndThatItEnds(t *testing.T) {
	next := manager(t)
	t.Setenv("WATCHDOG_USEC", "")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- hostservice.Run(ctx, slog.New(slog.DiscardHandler)) }()
	if said := next(); said != "READY=1" {
		t.Errorf("it said %q first", said)
	}
	stop()
	if said := next(); said != "STOPPING=1" {
		t.Errorf("in the end it said %q", said)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestWithoutAManagerThereIsNothingToTell(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := hostservice.Run(t.Context(), slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
}
