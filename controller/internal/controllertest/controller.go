// Package controllertest runs a whole controller inside a test: real
// PostgreSQL, real HTTP, real gRPC over TLS, and agents with the real runtime
// over an engine that is memory.
package controllertest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"fairlead.dev/controller/internal/app"
	"fairlead.dev/controller/internal/config"
	"fairlead.dev/controller/internal/postgres/pgtest"
)

// The administrator every controller of this package begins with.
const (
	AdminEmail    = "admin@example.com"
	AdminPassword = "correct horse battery"
)

// Controller is a running controller.
type Controller struct {
	// URL of the REST API, and address of the agent listener.
	URL       string
	AgentAddr string
	// DSN of its database and StateDir, to look into or to start another
	// controller on.
	DSN      string
	StateDir string

	config config.Config
	log    *slog.Logger
	stop   func()
}

// New starts a controller on a database of its own. It stops with the test.
func New(t testing.TB) *Controller {
	t.Helper()
	return Start(t, pgtest.NewDSN(t), stateDir(t))
}

// NewQuiet is New for a controller that logs nothing, for benchmarks.
func NewQuiet(t testing.TB) *Controller {
	t.Helper()
	return start(t, pgtest.NewDSN(t), stateDir(t), slog.New(slog.DiscardHandler),
		"FAIRLEAD_ADMIN_EMAIL="+AdminEmail, "FAIRLEAD_ADMIN_PASSWORD="+AdminPassword)
}

// NewWith is New with settings, as NAME=value, that differ from those of other
// tests.
func NewWith(t *testing.T, settings ...string) *Controller {
	t.Helper()
	return start(t, pgtest.NewDSN(t), stateDir(t), Logger(t), append(settings, "FAIRLEAD_ADMIN_EMAIL="+AdminEmail, "FAIRLEAD_ADMIN_PASSWORD="+AdminPassword)...)
}

// NewWithoutAdmin starts a controller that has no user yet, and returns its
// set-up token, read from its log as a person would.
func NewWithoutAdmin(t testing.TB) (c *Controller, setupToken string) {
	t.Helper()
	var log readableLog
	c = start(t, pgtest.NewDSN(t), stateDir(t), slog.New(slog.NewTextHandler(&log, nil)))
	_, rest, _ := strings.Cut(log.String(), "/setup#")
	token := strings.FieldsFunc(rest, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if len(token) == 0 {
		t.Fatalf("no set-up link in the log:\n%s", log.String())
	}
	return c, token[0]
}

// readableLog is a log that can be read while it is written.
type readableLog struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write adds to the log.
func (l *readableLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String returns what was logged so far.
func (l *readableLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Start starts a controller on a database and a state folder that exist.
func Start(t testing.TB, dsn, stateDir string) *Controller {
	t.Helper()
	return start(t, dsn, stateDir, Logger(t), "FAIRLEAD_ADMIN_EMAIL="+AdminEmail, "FAIRLEAD_ADMIN_PASSWORD="+AdminPassword)
}

// Replica starts another controller on the same database and with the same
// keys. Settings are added to those of every controller.
func (c *Controller) Replica(t testing.TB, settings ...string) *Controller {
	t.Helper()
	return start(t, c.DSN, stateDir(t), Logger(t), append([]string{"FAIRLEAD_KEYS_DIR=" + filepath.Join(c.StateDir, "keys")}, settings...)...)
}

// Ready asks the controller whether it is ready, and returns what it says.
func (c *Controller) Ready(t testing.TB) (ready bool, says string) {
	t.Helper()
	r := c.Anonymous(t).Get("/readyz?verbose")
	return r.Status == http.StatusOK, string(r.Body)
}

func start(t testing.TB, dsn, stateDir string, log *slog.Logger, settings ...string) *Controller {
	t.Helper()
	api, grpc := FreeAddr(t), FreeAddr(t)
	c, err := config.Load(nil, append([]string{
		"DATABASE_URL=" + dsn,
		"FAIRLEAD_STATE_DIR=" + stateDir,
		"FAIRLEAD_ARTIFACT_DIR=" + filepath.Join(stateDir, "artifacts"),
		"FAIRLEAD_HTTP_ADDR=" + api,
		"FAIRLEAD_AGENT_ADDR=" + grpc,
		"FAIRLEAD_PUBLIC_URL=http://" + api,
		"FAIRLEAD_WEBHOOK_ALLOW_PRIVATE=true", // receivers in tests are on this machine
		"FAIRLEAD_REGISTRY_CHECK=off",         // most registries in tests do not exist
		"FAIRLEAD_STOP_TIMEOUT=5s",
		"FAIRLEAD_DRAIN=0",
	}, settings...))
	if err != nil {
		t.Fatalf("configure the controller: %v", err)
	}
	controller := &Controller{URL: "http://" + api, AgentAddr: grpc, DSN: dsn, StateDir: stateDir, config: c, log: log}
	controller.Restart(t)
	t.Cleanup(controller.Stop)
	return controller
}

// Restart starts the controller again on the same addresses, after Stop.
func (c *Controller) Restart(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	a, err := app.New(ctx, c.config, c.log)
	if err != nil {
		cancel()
		t.Fatalf("start the controller: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	var stopped bool
	c.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the controller ended with %v", err)
		}
	}
}

// Stop stops the controller gracefully and waits for it.
func (c *Controller) Stop() { c.stop() }

// stateDir is a folder with agent archives in it, so that install scripts can
// be made. What the archives hold does not matter here.
func stateDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "artifacts"), 0o750); err != nil {
		t.Fatal(err)
	}
	content, err := base64.StdEncoding.DecodeString("bm90IGFuIGltYWdl")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "artifacts", "dagent-linux-amd64.tar"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// FreeAddr returns a loopback address nobody listened on a moment ago, with a
// port below those that outgoing connections take: one of them could take it
// before the controller does.
func FreeAddr(t testing.TB) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(10000)) //nolint:gosec // any port will do
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
		if err == nil {
			_ = l.Close()
			return address
		}
	}
	t.Fatal("no free port found")
	return ""
}

// Logger writes to the test's log.
func Logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// Patience is how long tests wait for what must come, also on a busy machine.
const Patience = time.Minute

// Await waits until done reports true; after Patience it fails the test with
// what done said last.
func Await(t testing.TB, what string, done func() (ok bool, seen string)) {
	t.Helper()
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		ok, seen := done()
		if ok {
			return
		}
		select {
		case <-look.C:
		case <-deadline.C:
			t.Fatalf("waited too long until %s; last seen: %s", what, seen)
		}
	}
}
