// Package rolling_test replaces controllers one by one behind load balancers
// that follow /readyz, as an upgrade does.
package rolling_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fairlead.dev/e2e/client"
	"fairlead.dev/e2e/fleetsim"
	"fairlead.dev/e2e/fleetsim/rig"
)

const (
	agents   = 30
	patience = 3 * time.Minute
	// look is how often the balancers ask who is ready, drain how long a
	// controller gives them to notice, on a busy machine too.
	look  = 100 * time.Millisecond
	drain = 8 * time.Second
)

// balancers are one for HTTP and one for TCP in front of the same controllers.
type balancers struct {
	controllers []*rig.Controller
	ready       []atomic.Bool
	turn        atomic.Int64
	agents      net.Listener
	all         sync.WaitGroup
}

var errNobody = errors.New("no controller is ready")

func (b *balancers) next() (*rig.Controller, error) {
	for range b.controllers {
		if i := int(b.turn.Add(1)) % len(b.controllers); b.ready[i].Load() {
			return b.controllers[i], nil
		}
	}
	return nil, errNobody
}

// watch asks a controller until ctx ends.
func (b *balancers) watch(ctx context.Context, i int) {
	asker := &http.Client{Timeout: drain / 2, Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.controllers[i].HTTP+"/readyz", http.NoBody)
		if err != nil {
			return
		}
		res, err := asker.Do(req)
		if err == nil {
			_ = res.Body.Close()
		}
		b.ready[i].Store(err == nil && res.StatusCode == http.StatusOK)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (b *balancers) serveAgents(ctx context.Context) {
	for {
		in, err := b.agents.Accept()
		if err != nil {
			return
		}
		b.all.Go(func() {
			defer func() { _ = in.Close() }()
			c, err := b.next()
			if err != nil {
				return
			}
			out, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.Agents)
			if err != nil {
				return
			}
			defer func() { _ = out.Close() }()
			go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
			_, _ = io.Copy(in, out)
		})
	}
}

// proxy passes requests on. It tries once: whatever goes wrong is seen.
func (b *balancers) proxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		target := &url.URL{Scheme: "http", Host: "127.0.0.1:1"}
		if c, err := b.next(); err == nil {
			target.Host = c.HTTP
		}
		r.SetURL(target)
	}}
}

// site is three controllers on one PostgreSQL behind their balancers.
func newSite(t *testing.T) (*balancers, *client.Client) {
	t.Helper()
	program, artifacts, err := rig.Build(t.Context(), "../..")
	must(t, err)
	dir, err := os.MkdirTemp("/tmp", "rolling-test-") //nolint:usetesting // its folders are closed to PostgreSQL's account
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o711))
	postgres, err := rig.NewPostgreSQL(t.Context(), filepath.Join(dir, "postgres"))
	must(t, err)
	t.Cleanup(func() { _ = postgres.Stop() })

	b := &balancers{ready: make([]atomic.Bool, 3)}
	front := httptest.NewServer(b.proxy())
	t.Cleanup(front.Close)
	keys := ""
	for i := range b.ready {
		one := filepath.Join(dir, fmt.Sprint(i))
		must(t, os.Mkdir(one, 0o700))
		c, err := rig.NewController(t.Context(), rig.ControllerConfig{
			Program: program, Artifacts: artifacts, Dir: one, DatabaseURL: postgres.URL(), Keys: keys, PublicURL: front.URL,
			Env: []string{"FAIRLEAD_DRAIN=" + drain.String()},
		})
		must(t, err)
		keys = c.Keys
		b.controllers = append(b.controllers, c)
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("controller %d:\n%s", i, c.Tail())
			}
			_ = c.Stop()
		})
	}
	b.agents, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	for i := range b.controllers {
		watching.Go(func() { b.watch(ctx, i) })
	}
	watching.Go(func() { b.serveAgents(ctx) })
	t.Cleanup(func() {
		cancel()
		_ = b.agents.Close()
		watching.Wait()
	})
	await(t, "the balancers know all controllers", b.allReady)
	people := client.New(front.URL)
	must(t, people.Login(t.Context(), "admin@example.org", "correct horse battery staple"))
	return b, people
}

func (b *balancers) allReady() bool {
	for i := range b.ready {
		if !b.ready[i].Load() {
			return false
		}
	}
	return true
}

// load calls the API without a pause until it is stopped, and counts.
type load struct {
	fine   atomic.Int64
	mu     sync.Mutex
	failed []error
}

func (l *load) run(ctx context.Context, team *client.Team, node string) {
	for n := 0; ctx.Err() == nil; n++ {
		var err error
		if n%4 == 0 {
			err = team.Call(ctx, http.MethodPut, "/api/"+team.Slug+"/nodes/"+node, client.Object{"name": fmt.Sprint("node ", node[:8], " ", n)}, nil)
		} else {
			err = team.Call(ctx, http.MethodGet, "/api/"+team.Slug+"/nodes", nil, nil)
		}
		switch {
		case ctx.Err() != nil:
		case err != nil:
			l.mu.Lock()
			l.failed = append(l.failed, err)
			l.mu.Unlock()
		default:
			l.fine.Add(1)
		}
	}
}

func TestARollingRestartFailsNoCallAndLosesNoSession(t *testing.T) {
	b, people := newSite(t)
	team, err := people.CreateTeam(t.Context(), "fleet")
	must(t, err)
	tokens, _, pin, err := fleetsim.Tokens(t.Context(), team, "node", agents, 4)
	must(t, err)
	fleet, err := fleetsim.New(fleetsim.Config{Controller: b.agents.Addr().String(), Pin: pin, Seed: 7})
	must(t, err)
	t.Cleanup(fleet.Close)
	must(t, fleet.Enrol(t.Context(), tokens, 8))
	fleet.Start(t.Context())
	there := func() bool { return fleet.Counts().Echoed == agents }
	await(t, "all agents are connected", there)
	before := fleet.Counts().Sessions

	ctx, stop := context.WithCancel(t.Context())
	var l load
	var callers sync.WaitGroup
	for i := range 4 {
		callers.Go(func() { l.run(ctx, team, tokens[i].NodeID) })
	}
	for _, c := range b.controllers {
		must(t, c.Signal(syscall.SIGTERM))
		select {
		case <-c.Done():
		case <-time.After(patience):
			t.Fatal("the controller does not end")
		}
		must(t, c.Start(t.Context()))
		await(t, "the balancers know all controllers", b.allReady)
		await(t, "all agents are connected again", there)
	}
	stop()
	callers.Wait()
	if len(l.failed) > 0 || l.fine.Load() < 100 {
		t.Errorf("%d calls went well and %d failed, the first with %v", l.fine.Load(), len(l.failed), append(l.failed, nil)[0])
	}
	after := fleet.Counts()
	if moved := after.Sessions - before; moved < agents {
		t.Errorf("only %d sessions began anew: each controller had some", moved)
	}
	t.Logf("%d calls; %d sessions began anew, the longest way back took %s", l.fine.Load(), after.Sessions-before, fleet.BackTimes.At(1))
	t.Log(after)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited too long until %s", what)
		}
	}
}
