package agentrt_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/agentrt/agentrttest"
	"fairlead.dev/shared/workload/workloadtest"
)

// rejections are the ways in which a controller that has come back too early
// takes connections and does not serve them.
func rejections() []func(t *testing.T, c *agentrttest.Controller, s *agentrttest.Session) {
	busy := func(after time.Duration) func(*testing.T, *agentrttest.Controller, *agentrttest.Session) {
		return func(_ *testing.T, _ *agentrttest.Controller, s *agentrttest.Session) {
			s.End(agentrttest.Refuse(codes.Unavailable, agentv1.RefusalReason_REFUSAL_REASON_BUSY, after))
		}
	}
	return []func(t *testing.T, c *agentrttest.Controller, s *agentrttest.Session){
		busy(0), busy(time.Millisecond), busy(3 * time.Second),
		func(_ *testing.T, _ *agentrttest.Controller, s *agentrttest.Session) { s.End(nil) },
		func(_ *testing.T, _ *agentrttest.Controller, s *agentrttest.Session) { s.End(errors.New("panic")) },
		func(_ *testing.T, c *agentrttest.Controller, _ *agentrttest.Session) { c.Cut() },
		func(t *testing.T, _ *agentrttest.Controller, s *agentrttest.Session) { // welcomed, then gone
			welcome(t, s)
			s.End(nil)
		},
		func(t *testing.T, _ *agentrttest.Controller, s *agentrttest.Session) { // served for a while
			welcome(t, s)
			synctest.Wait()
			<-time.After(time.Second)
			s.End(agentrttest.Refuse(codes.Unavailable, agentv1.RefusalReason_REFUSAL_REASON_BUSY, 0))
		},
		func(t *testing.T, _ *agentrttest.Controller, s *agentrttest.Session) {
			welcome(t, s)
			s.Send(t, &agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Reconnect{Reconnect: &agentv1.Reconnect{Reason: "moving"}}})
		},
	}
}

// welcome welcomes an agent with the numbers of a real controller.
func welcome(t *testing.T, s *agentrttest.Session) {
	t.Helper()
	s.WelcomeWith(t, func(w *agentv1.Welcome) {
		w.HeartbeatPeriodMs = 15_000
		w.Backoff = &agentv1.Backoff{BaseMs: 500, CapMs: 60_000, ResetAfterMs: 60_000}
	})
}

// TestAControllerThatTakesAndRejectsIsNotStormed: for 30 seconds every
// connection is taken and then rejected in one way or another; no agent makes
// more than 8 attempts, and afterwards each comes back.
func TestAControllerThatTakesAndRejectsIsNotStormed(t *testing.T) {
	first := rand.Uint64()
	for seed := first; seed < first+24; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { storm(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func storm(t *testing.T, random *rand.Rand) {
	t.Helper()
	c := agentrttest.StartInMemory(t)
	ways := rejections()
	luck := []func() float64{shared(rand.New(rand.NewPCG(random.Uint64(), 0))), func() float64 { return 0 }, func() float64 { return 0.999 }}[random.IntN(3)]
	m := &machine{c: c, random: luck}
	stop := m.start(t)
	defer stop()

	s := c.Accept(t) // enrolled, and served until the storm begins
	m.takeAttempts()
	for began := time.Now(); time.Since(began) < 30*time.Second; s = c.AcceptWithin(t, 10*time.Minute) {
		way := random.IntN(len(ways))
		ways[way](t, c, s)
	}
	if made := m.takeAttempts(); made > 8 { // the last of them was after the storm
		t.Errorf("%d attempts", made)
	}
	welcome(t, s)
	s.Ping(t, 1)
}

// shared returns the numbers of a source for several goroutines.
func shared(random *rand.Rand) func() float64 {
	var mu sync.Mutex
	return func() float64 {
		mu.Lock()
		defer mu.Unlock()
		return random.Float64()
	}
}

// machine is a node in a synctest bubble, whose controller is in memory.
type machine struct {
	c      *agentrttest.Controller
	dir    string
	random func() float64

	mu       sync.Mutex
	attempts int
	ahead    time.Duration // of the machine's clock
}

// start starts an agent, which is enrolled at the first start.
func (m *machine) start(t *testing.T) (stop func()) {
	t.Helper()
	if m.dir == "" {
		m.dir = filepath.Join(t.TempDir(), "agent")
		m.c.WriteEnrolment(t, m.dir, "token")
	}
	agent := agentrt.New(agentrt.Config{
		StateDir: m.dir, NodeType: "docker", Driver: workloadtest.NewFakeDriver(workloadtest.FakeOptions{}),
		Log: slog.New(slog.DiscardHandler), Random: m.random, Now: m.now,
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			m.mu.Lock()
			m.attempts++
			m.mu.Unlock()
			return m.c.Dial(ctx, address)
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- agent.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// takeAttempts returns how often the agent tried to connect since it was asked
// last.
func (m *machine) takeAttempts() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.attempts
	m.attempts = 0
	return n
}

func (m *machine) now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().Add(m.ahead)
}

func (m *machine) setClock(ahead time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ahead = ahead
}
