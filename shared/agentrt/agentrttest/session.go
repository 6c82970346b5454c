package agentrttest

import (
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/protocol"
)

// Session is one session of an agent, as the controller sees it. Heartbeats
// are echoed, status reports and command results acknowledged, unless the test
// says otherwise.
type Session struct {
	Hello   *agentv1.Hello
	AgentID string
	// Serial is the serial number of the agent's certificate.
	Serial string

	stream grpc.BidiStreamingServer[agentv1.AgentMessage, agentv1.ControllerMessage]
	end    chan error

	mu       sync.Mutex
	holdAcks bool
	silent   bool
	messages []*agentv1.AgentMessage // all but heartbeats
	seen     int                     // how many of them Await has passed
	facts    uint64                  // the highest fact seen
	over     bool
	arrived  chan struct{} // closed and replaced at every change
}

// Session serves an agent's stream.
func (c *Controller) Session(stream grpc.BidiStreamingServer[agentv1.AgentMessage, agentv1.ControllerMessage]) error {
	id, serial, err := caller(stream.Context())
	if err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if first.GetHello() == nil {
		return status.Error(codes.InvalidArgument, "no hello")
	}
	s := &Session{
		Hello: first.GetHello(), AgentID: id, Serial: serial,
		stream: stream, end: make(chan error, 1), arrived: make(chan struct{}),
	}
	c.sessions <- s
	received := make(chan struct{})
	go func() {
		defer close(received)
		s.receive()
	}()
	select {
	case err = <-s.end:
	case <-received: // the agent hung up
		err = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.change()
	return err
}

// Accept waits for the next session. It is not welcomed yet.
func (c *Controller) Accept(t testing.TB) *Session {
	t.Helper()
	return c.AcceptWithin(t, Patience)
}

// AcceptWithin is Accept with another patience.
func (c *Controller) AcceptWithin(t testing.TB, patience time.Duration) *Session {
	t.Helper()
	s, ok := c.Next(patience)
	if !ok {
		t.Fatal("no agent opened a session")
	}
	return s
}

// Next returns the next session that is opened within the time, if one is.
func (c *Controller) Next(within time.Duration) (*Session, bool) {
	select {
	case s := <-c.sessions:
		return s, true
	case <-time.After(within):
		return nil, false
	}
}

// Welcome welcomes the agent with short back-off numbers.
func (c *Controller) Welcome(t testing.TB) *Session {
	t.Helper()
	s := c.Accept(t)
	s.Welcome(t, 0)
	return s
}

// NoSession fails when an agent opens a session before quiet is closed.
func (c *Controller) NoSession(t testing.TB, quiet <-chan struct{}) {
	t.Helper()
	select {
	case s := <-c.sessions:
		t.Errorf("agent %s opened a session", s.AgentID)
	case <-quiet:
	case <-time.After(Patience):
		t.Fatal("still waiting for the quiet to end")
	}
}

// Capabilities are the names of all optional behaviours of the protocol.
func Capabilities() []string {
	return []string{
		protocol.Delta, protocol.Spool, protocol.CommandAck, protocol.Ping, protocol.Bulk, protocol.Exec,
		protocol.Inspect, protocol.Trust, protocol.Quarantine, protocol.Update, protocol.Plan, protocol.Digests,
	}
}

// Welcome answers the agent's hello, and announces every capability. Committed
// is the status sequence of the agent's boot that the controller has.
func (s *Session) Welcome(t testing.TB, committed uint64) {
	t.Helper()
	s.WelcomeWith(t, func(w *agentv1.Welcome) { w.StatusSequence = committed })
}

// WelcomeWith answers the agent's hello with a changed Welcome.
func (s *Session) WelcomeWith(t testing.TB, change func(*agentv1.Welcome)) {
	t.Helper()
	w := &agentv1.Welcome{
		Protocol: protocol.VersionMax, Capabilities: Capabilities(),
		SessionId: "s", Epoch: 1, HeartbeatPeriodMs: 2_000, // a busy machine is silent for a second
		Backoff: &agentv1.Backoff{BaseMs: 10, CapMs: 50, ResetAfterMs: 1},
	}
	change(w)
	s.mu.Lock()
	s.facts = w.GetFactSequence()
	s.mu.Unlock()
	s.Send(t, &agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Welcome{Welcome: w}})
}

// Send sends the agent a message.
func (s *Session) Send(t testing.TB, m *agentv1.ControllerMessage) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		t.Error("the session is over")
		return
	}
	if err := s.stream.Send(m); err != nil {
		t.Errorf("send: %v", err)
	}
}

// Assign sends an assignment set.
func (s *Session) Assign(t testing.TB, set *agentv1.AssignmentSet) {
	t.Helper()
	s.Send(t, &agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Assignments{Assignments: set}})
}

// End ends the session with the status; nil ends it without one.
func (s *Session) End(err error) { s.end <- err }

// HoldAcks makes the controller keep its acknowledgements of reports and
// results to itself.
func (s *Session) HoldAcks() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holdAcks = true
}

// Silence makes the controller stop answering anything.
func (s *Session) Silence() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = true
}

// Await waits for the next message that matches; those before it are passed
// over.
func (s *Session) Await(t testing.TB, what string, match func(*agentv1.AgentMessage) bool) *agentv1.AgentMessage {
	t.Helper()
	patience := time.After(Patience)
	for {
		m, over, arrived := s.next(match)
		if m != nil {
			return m
		}
		if over {
			t.Fatalf("the session ended before %s; it said %v", what, s.Messages())
		}
		select {
		case <-arrived:
		case <-patience:
			t.Fatalf("waited for %s in vain; the agent said %v", what, s.Messages())
		}
	}
}

// Over waits for the session's end.
func (s *Session) Over(t testing.TB) {
	t.Helper()
	patience := time.After(Patience)
	for {
		s.mu.Lock()
		over, arrived := s.over, s.arrived
		s.mu.Unlock()
		if over {
			return
		}
		select {
		case <-arrived:
		case <-patience:
			t.Fatalf("the session does not end; the agent said %v", s.Messages())
		}
	}
}

// AwaitAck waits for the answer to an assignment set.
func (s *Session) AwaitAck(t testing.TB) *agentv1.AssignmentsAck {
	t.Helper()
	return s.Await(t, "the answer to a set", func(m *agentv1.AgentMessage) bool { return m.GetAssignmentsAck() != nil }).GetAssignmentsAck()
}

// AwaitPhase waits until a deployment is in the phase, and returns its status.
func (s *Session) AwaitPhase(t testing.TB, deploymentID string, generation uint64, phase agentv1.Phase) *agentv1.DeploymentStatus {
	t.Helper()
	var found *agentv1.DeploymentStatus
	s.Await(t, deploymentID+" "+phase.String(), func(m *agentv1.AgentMessage) bool {
		for _, d := range m.GetStatus().GetDeployments() {
			if d.GetDeploymentId() == deploymentID && d.GetGeneration() == generation && d.GetPhase() == phase {
				found = d
			}
		}
		return found != nil
	})
	return found
}

// Messages returns everything but heartbeats the agent has said so far.
func (s *Session) Messages() []*agentv1.AgentMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*agentv1.AgentMessage(nil), s.messages...)
}

func (s *Session) next(match func(*agentv1.AgentMessage) bool) (m *agentv1.AgentMessage, over bool, arrived <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.seen < len(s.messages) {
		m := s.messages[s.seen]
		s.seen++
		if match(m) {
			return m, false, nil
		}
	}
	return nil, s.over, s.arrived
}

// change wakes those who wait; s.mu is held.
func (s *Session) change() {
	close(s.arrived)
	s.arrived = make(chan struct{})
}

// receive handles messages until the agent hangs up.
func (s *Session) receive() {
	for {
		m, err := s.stream.Recv()
		if err != nil || s.handle(m) != nil {
			return
		}
	}
}

func (s *Session) handle(m *agentv1.AgentMessage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var answer *agentv1.ControllerMessage
	switch body := m.GetBody().(type) {
	case *agentv1.AgentMessage_Heartbeat:
		answer = &agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_HeartbeatAck{
			HeartbeatAck: &agentv1.HeartbeatAck{Sequence: body.Heartbeat.GetSequence()},
		}}
	case *agentv1.AgentMessage_Status:
		for _, f := range body.Status.GetFacts() {
			s.facts = max(s.facts, f.GetSequence())
		}
		if !s.holdAcks {
			answer = &agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_StatusAck{
				StatusAck: &agentv1.StatusAck{Sequence: body.Status.GetSequence(), FactSequence: s.facts},
			}}
		}
	case *agentv1.AgentMessage_CommandResult:
		if !s.holdAcks {
			answer = &agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_CommandResultAck{
				CommandResultAck: &agentv1.CommandResultAck{Id: body.CommandResult.GetId()},
			}}
		}
	}
	if m.GetHeartbeat() == nil {
		s.messages = append(s.messages, m)
		s.change()
	}
	if answer == nil || s.silent || s.over {
		return nil
	}
	return s.stream.Send(answer)
}
