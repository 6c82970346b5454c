package dispatch_test

import (
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/controller/internal/command"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/dispatch"
	"fairlead.dev/controller/internal/node"
	"fairlead.dev/controller/internal/wake"
)

// sender is a session whose agent the test plays.
type sender struct {
	mu              sync.Mutex
	ended           error
	handling, stuck time.Duration
	canPing         bool
	// failing is why no set can be sent.
	failing error
	// pings has the nonces that were sent.
	pings chan uint64
}

func newSender() *sender { return &sender{canPing: true, pings: make(chan uint64, 1)} }

func (s *sender) SendAssignments(deployment.Set) error { return s.failing }
func (s *sender) SendCommand(command.Command) error    { return nil }
func (s *sender) CanPing() bool                        { return s.canPing }

func (s *sender) Ping(nonce uint64) error {
	s.pings <- nonce
	return nil
}

func (s *sender) Pending() (handling, stuck time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handling, s.stuck
}

func (s *sender) End(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended == nil {
		s.ended = why
	}
}

func (s *sender) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// watch is a dispatcher whose clock the test turns.
type watch struct {
	*dispatch.Dispatcher
	t     *testing.T
	clock time.Duration
}

func newWatch(t *testing.T) *watch {
	w := &watch{t: t, clock: time.Hour}
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	w.Dispatcher = dispatch.New(dispatch.Config{
		Bus: wake.New(), Log: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return start.Add(w.clock) }, Clock: func() time.Duration { return w.clock },
	})
	w.Sweep()
	return w
}

func (w *watch) add(s dispatch.Sender) *dispatch.Line {
	return w.Add(agent.Session{AgentID: uuid.New(), NodeID: uuid.New(), Epoch: 1}, s, dispatch.Hello{})
}

// pass lets time pass, second by second, with a sweep in each.
func (w *watch) pass(d time.Duration) {
	for range d / time.Second {
		w.clock += time.Second
		w.Sweep()
	}
}

func TestASilentAgentIsOverdueAndThenLost(t *testing.T) {
	w := newWatch(t)
	quiet, talking := newSender(), newSender()
	line, other := w.add(quiet), w.add(talking)
	w.pass(node.StaleAfter - time.Second)
	if len(w.Silences()) != 0 {
		t.Errorf("overdue too early: %v", w.Silences())
	}
	other.Heard()
	w.pass(time.Second)
	if s := w.Silences(); len(s) != 1 || s[0].AgentID != line.AgentID || !s[0].Since.Equal(w.Now().Add(-node.StaleAfter)) {
		t.Errorf("overdue is %+v at %v", s, w.Now())
	}
	w.pass(node.LostAfter - node.StaleAfter)
	if quiet.why() == nil || talking.why() != nil {
		t.Errorf("ended: the silent one %v, the other %v", quiet.why(), talking.why())
	}
	if since := line.SilentSince(); !since.Equal(w.Now().Add(-node.LostAfter)) {
		t.Errorf("silent since %v at %v", since, w.Now())
	}
	if node.LostAfter+time.Second > 20*time.Second {
		t.Error("an agent is lost later than 20 s after its last word")
	}
}

func TestAnOverdueAgentThatSpeaksIsNotOverdueAnyMore(t *testing.T) {
	w := newWatch(t)
	s := newSender()
	line := w.add(s)
	w.pass(node.StaleAfter)
	line.Heard()
	w.pass(time.Second)
	if got := w.Silences(); len(got) != 1 || !got[0].Since.IsZero() {
		t.Errorf("noted %+v, want that it is heard again", got)
	}
	w.pass(node.LostAfter - 2*time.Second)
	if s.why() != nil {
		t.Errorf("ended: %v", s.why())
	}
}

func TestAPauseOfTheControllerIsNobodysSilence(t *testing.T) {
	w := newWatch(t)
	s := newSender()
	w.add(s)
	w.clock += time.Minute // stopped, and goes on
	w.Sweep()
	w.pass(node.StaleAfter - time.Second)
	if s.why() != nil || len(w.Silences()) != 0 {
		t.Errorf("ended %v, overdue %v", s.why(), w.Silences())
	}
	w.pass(node.LostAfter - node.StaleAfter + time.Second)
	if s.why() == nil {
		t.Error("an agent that stays silent after the pause is not noticed")
	}
}

func TestAnAgentThatWaitsForUsIsNotSilent(t *testing.T) {
	w := newWatch(t)
	s := newSender()
	w.add(s)
	s.handling = time.Second
	w.pass(time.Minute)
	if s.why() != nil {
		t.Errorf("ended: %v", s.why())
	}
}

func TestASessionThatTakesNothingIsEnded(t *testing.T) {
	w := newWatch(t)
	s := newSender()
	line := w.add(s)
	s.stuck = 19 * time.Second
	w.pass(time.Second)
	if s.why() != nil {
		t.Fatalf("ended too early: %v", s.why())
	}
	s.stuck = 20 * time.Second
	w.pass(time.Second)
	if s.why() == nil || !line.SilentSince().IsZero() {
		t.Errorf("ended %v, silent since %v", s.why(), line.SilentSince())
	}
}

func TestANewerSessionEndsTheOlder(t *testing.T) {
	w := newWatch(t)
	id, nodeID := uuid.New(), uuid.New()
	old, newer, late := newSender(), newSender(), newSender()
	session := func(epoch int64) agent.Session { return agent.Session{AgentID: id, NodeID: nodeID, Epoch: epoch} }
	first := w.Add(session(1), old, dispatch.Hello{})
	w.Add(session(3), newer, dispatch.Hello{})
	w.Add(session(2), late, dispatch.Hello{}) // opened before, added after
	w.Remove(first)
	if old.why() == nil || newer.why() != nil || late.why() == nil {
		t.Errorf("ended: old %v, newer %v, late %v", old.why(), newer.why(), late.why())
	}
	if s, ok := w.Local(nodeID); !ok || s.Epoch != 3 || !w.IsMine(id, 3) || w.IsMine(id, 1) {
		t.Errorf("the node's session is %+v, %v", s, ok)
	}
}

func TestASessionEndsThatASetCannotBeSentOn(t *testing.T) {
	w := newWatch(t)
	s := newSender()
	line := w.add(s)
	line.Deliver(deployment.Set{Generation: 1})
	if s.why() != nil {
		t.Fatalf("ended: %v", s.why())
	}
	s.failing = errors.New("it can't be encoded")
	line.Deliver(deployment.Set{Generation: 2})
	if !errors.Is(s.why(), s.failing) {
		t.Errorf("the session, which holds that the set was sent, ended with %v", s.why())
	}
}

func TestPingsAreAnsweredByTheirOwnSession(t *testing.T) {
	w := newWatch(t)
	s := newSender()
	line, other := w.add(s), w.add(newSender())
	alive := make(chan bool)
	go func() { alive <- w.Ping(t.Context(), line.AgentID, line.Epoch) }()
	nonce := <-s.pings
	other.Pong(nonce)
	line.Pong(nonce + 1)
	if w.Asked() != 1 {
		t.Fatal("answered by another session or another nonce")
	}
	line.Pong(nonce)
	if !<-alive {
		t.Error("its own answer does not count")
	}
	s.canPing = false
	if w.Ping(t.Context(), line.AgentID, line.Epoch) || w.Ping(t.Context(), line.AgentID, line.Epoch+1) || w.Ping(t.Context(), uuid.New(), 1) {
		t.Error("an agent that can't be pinged, another epoch or another agent answered")
	}
}
