package controllertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Forwarder passes TCP connections on, until it is told not to.
type Forwarder struct {
	Addr string

	listener net.Listener
	dial     func(ctx context.Context) (net.Conn, error)
	ctx      context.Context //nolint:containedctx // the test's
	all      sync.WaitGroup

	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	cut     bool
	breaks  int           // so many connections on, one is ended; 0 for none
	stalled chan struct{} // nil when nothing is
}

// NewForwarder forwards to wherever dial connects. It ends with the test.
func NewForwarder(t testing.TB, dial func(ctx context.Context) (net.Conn, error)) *Forwarder {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &Forwarder{Addr: l.Addr().String(), listener: l, dial: dial, ctx: ctx, conns: map[net.Conn]struct{}{}}
	f.all.Go(f.accept)
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		f.Cut()
		f.Heal(true)
		f.all.Wait()
	})
	return f
}

// NewDatabaseForwarder forwards to a database and returns the DSN that leads
// through it.
func NewDatabaseForwarder(t testing.TB, dsn string) (*Forwarder, string) {
	t.Helper()
	c, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	network, address := "tcp", net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))
	if filepath.IsAbs(c.Host) {
		network, address = "unix", filepath.Join(c.Host, fmt.Sprintf(".s.PGSQL.%d", c.Port))
	}
	f := NewForwarder(t, func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, network, address) })
	host, port, _ := strings.Cut(f.Addr, ":")
	through := fmt.Sprintf("host=%s port=%s user=%s dbname=%s sslmode=disable", host, port, c.User, c.Database)
	if c.Password != "" {
		through += " password=" + c.Password
	}
	return f, through
}

func (f *Forwarder) accept() {
	for {
		in, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.all.Go(func() { f.forward(in) })
	}
}

func (f *Forwarder) forward(in net.Conn) {
	defer func() { _ = in.Close() }()
	if !f.keep(in) || !f.spared() {
		return
	}
	f.wait()
	out, err := f.dial(f.ctx)
	if err != nil {
		return
	}
	defer func() { _ = out.Close() }()
	if !f.keep(out) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { f.copy(out, in) })
	both.Go(func() { f.copy(in, out) })
	both.Wait()
}

func (f *Forwarder) keep(c net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns[c] = struct{}{}
	return !f.cut
}

// Break ends the nth connection that comes from now on, counted from one.
func (f *Forwarder) Break(nth int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.breaks = nth
}

// spared counts a connection that came; false for the one that is to end.
func (f *Forwarder) spared() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.breaks == 0 {
		return true
	}
	f.breaks--
	return f.breaks > 0
}

func (f *Forwarder) copy(to, from net.Conn) {
	defer func() { _ = to.Close(); _ = from.Close() }()
	_, _ = io.Copy(gate{f, to}, from)
}

// gate waits while the forwarder stalls.
type gate struct {
	f *Forwarder
	net.Conn
}

func (g gate) Write(p []byte) (int, error) {
	g.f.wait()
	return g.Conn.Write(p)
}

func (f *Forwarder) wait() {
	f.mu.Lock()
	stalled := f.stalled
	f.mu.Unlock()
	if stalled != nil {
		<-stalled
	}
}

// Cut closes every connection, and new ones at once.
func (f *Forwarder) Cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut = true
	for c := range f.conns {
		_ = c.Close()
	}
	clear(f.conns)
}

// Stall passes nothing on any more, and closes nothing.
func (f *Forwarder) Stall() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stalled == nil {
		f.stalled = make(chan struct{})
	}
}

// Heal ends a stall, and a cut too unless cut says that it lasts.
func (f *Forwarder) Heal(cut bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut = cut
	if f.stalled != nil {
		close(f.stalled)
		f.stalled = nil
	}
}

// NewBalancer forwards agents' connections to the first of the controllers
// that says that it is ready, as load balancers do.
func NewBalancer(t testing.TB, controllers ...*Controller) *Forwarder {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	return NewForwarder(t, func(ctx context.Context) (net.Conn, error) {
		for _, c := range controllers {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+"/readyz", http.NoBody)
			if err != nil {
				return nil, err
			}
			res, err := client.Do(req)
			if err != nil {
				continue
			}
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return (&net.Dialer{}).DialContext(ctx, "tcp", c.AgentAddr)
			}
		}
		return nil, errNobodyReady
	})
}

var errNobodyReady = errors.New("no controller is ready")
