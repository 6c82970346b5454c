package fleetsim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/protocol"
)

const (
	welcomeTimeout  = 30 * time.Second
	defaultPeriod   = 15 * time.Second
	silentPeriods   = 3
	farewell        = 5 * time.Second
	reconnectReason = "asked to come back"
)

// capabilities are what a light agent has.
func capabilities() []string {
	return []string{protocol.Delta, protocol.Ping, protocol.CommandAck, protocol.Inspect, protocol.Quarantine}
}

// endError is why a session ended when it was not an error of a call.
type endError struct {
	why   string
	after time.Duration
}

func (e *endError) Error() string { return e.why }

// run connects until ctx ends, the agent has left, or it was told to stop for
// good.
func (a *Agent) run(ctx context.Context, b *boot) {
	pauses := newPauses(a)
	var lastEnd time.Time
	for ctx.Err() == nil {
		s := &session{agent: a, boot: b, lastEnd: lastEnd}
		a.fleet.counters.attempts.Add(1)
		a.mu.Lock()
		a.state.Attempts++
		a.mu.Unlock()
		err := s.run(ctx)
		if s.welcomed || lastEnd.IsZero() {
			lastEnd = time.Now()
		}
		if ctx.Err() != nil {
			return
		}
		a.note(err)
		select {
		case <-b.leave:
			return
		default:
		}
		if s.welcomed {
			pauses.adopt(s.backoff)
		}
		if s.echoed.Load() {
			pauses.healthy(time.Since(s.began))
		}
		pause, again := pauses.next(err)
		if !again {
			a.mu.Lock()
			a.state.Stopped = err
			a.mu.Unlock()
			return
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}

// note remembers how a session or an attempt ended.
func (a *Agent) note(err error) {
	why := reasonOf(err)
	var ended *endError
	if errors.As(err, &ended) {
		why = ended.why
	}
	a.fleet.counters.ended(why)
	a.fleet.config.Log.Debug("session ended", "agent", a.index, "error", err)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state.Last = err
}

// session is one connection with one stream. One goroutine receives, another
// has the heartbeats and reports.
type session struct {
	agent   *Agent
	boot    *boot
	lastEnd time.Time

	sending sync.Mutex
	stream  grpc.BidiStreamingClient[agentv1.AgentMessage, agentv1.ControllerMessage]

	welcomed        bool
	leaving, echoed atomic.Bool
	began           time.Time
	// period is what the controller asked for, beat what the agent does.
	period, beat time.Duration
	backoff      *agentv1.Backoff
	beats        uint64
	// beatAt is when the last heartbeat was sent, echoAt when the last echo
	// came, both in nanoseconds since began.
	beatAt, echoAt atomic.Int64
}

func (s *session) run(ctx context.Context) error {
	a := s.agent
	a.mu.Lock()
	own := a.own
	a.mu.Unlock()
	if own == nil {
		return &endError{why: "not enrolled", after: slowRetry}
	}
	conn, err := a.connect(s.boot, own)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := s.open(ctx, cancel, conn); err != nil {
		return err
	}
	defer s.closed()

	ends := make(chan error, 2)
	var both sync.WaitGroup
	both.Go(func() { ends <- s.receive() })
	both.Go(func() { ends <- s.work(ctx) })
	err = <-ends // the first says why
	cancel(err)
	both.Wait()
	return err
}

func (s *session) open(ctx context.Context, cancel context.CancelCauseFunc, conn *grpc.ClientConn) error {
	a := s.agent
	late := time.AfterFunc(welcomeTimeout, func() { cancel(&endError{why: "no welcome in time"}) })
	defer late.Stop()
	stream, err := agentv1.NewSessionServiceClient(conn).Session(ctx)
	if err != nil {
		return err
	}
	s.stream = stream
	a.mu.Lock()
	hello := &agentv1.Hello{
		ProtocolMin: protocol.VersionMin, ProtocolMax: protocol.VersionMax,
		Capabilities: slices.DeleteFunc(capabilities(), func(c string) bool { return slices.Contains(a.fleet.config.Without, c) }),
		Agent:        a.info(), BootId: s.boot.id,
		Lineage: a.set.GetLineage(), Generation: a.set.GetGeneration(), SetHash: a.set.GetSetHash(),
	}
	a.mu.Unlock()
	if err := stream.Send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Hello{Hello: hello}}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && ctx.Err() != nil {
			return cause
		}
		return err
	}
	w := first.GetWelcome()
	if w == nil {
		return &endError{why: fmt.Sprintf("began with %T", first.GetBody())}
	}
	s.welcome(w)
	return nil
}

func (s *session) welcome(w *agentv1.Welcome) {
	a := s.agent
	s.welcomed, s.began = true, time.Now()
	s.period, s.backoff = orElse(w.GetHeartbeatPeriodMs(), defaultPeriod), w.GetBackoff()
	s.beat = s.period
	if a.fleet.config.Heartbeat > 0 {
		s.beat = a.fleet.config.Heartbeat
	}
	s.boot.outbox.acknowledged(w.GetStatusSequence())
	s.boot.outbox.again()
	c := &a.fleet.counters
	c.sessions.Add(1)
	c.connected.Add(1)
	if w.GetQuarantine() != "" {
		c.quarantined.Add(1)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state.Connected, a.state.Echoed, a.state.Epoch, a.state.Quarantine = true, false, w.GetEpoch(), w.GetQuarantine()
	a.state.Sessions++
	a.state.Period = s.period
}

func (s *session) closed() {
	s.agent.mu.Lock()
	defer s.agent.mu.Unlock()
	s.agent.fleet.counters.connected.Add(-1)
	if s.agent.state.Echoed {
		s.agent.fleet.counters.echoed.Add(-1)
	}
	s.agent.state.Connected, s.agent.state.Echoed = false, false
}

func (s *session) send(m *agentv1.AgentMessage) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.stream.Send(m)
}

// work sends heartbeats and reports until ctx ends or the agent leaves.
func (s *session) work(ctx context.Context) error {
	if err := s.heartbeat(); err != nil { // the first echo proves the whole way
		return s.why(ctx, err)
	}
	// Those that were welcomed together do not beat together.
	beat := time.NewTimer(s.agent.part(s.beat))
	defer beat.Stop()
	gather := time.NewTimer(s.agent.fleet.config.Gather)
	defer gather.Stop()
	gathering := true
	leave := s.boot.leave
	var over <-chan time.Time
	for {
		if leave == nil && s.boot.outbox.empty() {
			return s.goodbye(ctx)
		}
		var err error
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-beat.C:
			if silence := int64(time.Since(s.began)) - s.echoAt.Load(); silence > int64(silentPeriods*s.period) {
				return &endError{why: "the controller is silent"}
			}
			beat.Reset(s.beat)
			err = s.heartbeat()
		case <-s.boot.outbox.ready:
			if !gathering {
				gathering = true
				gather.Reset(s.agent.fleet.config.Gather)
			}
		case <-gather.C:
			gathering = false
			err = s.report()
		case <-leave:
			leave = nil
			over = time.After(farewell)
			err = s.report()
		case <-over:
			return s.goodbye(ctx)
		}
		if err != nil {
			return s.why(ctx, err)
		}
	}
}

// why waits for the receiver to know better than EOF.
func (s *session) why(ctx context.Context, err error) error {
	if errors.Is(err, io.EOF) {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return err
}

func (s *session) heartbeat() error {
	s.beats++
	s.agent.fleet.counters.beats.Add(1)
	s.beatAt.Store(int64(time.Since(s.began)))
	return s.send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Heartbeat{Heartbeat: &agentv1.Heartbeat{Sequence: s.beats}}})
}

func (s *session) report() error {
	for r := s.boot.outbox.next(s.agent); r != nil; r = s.boot.outbox.next(s.agent) {
		s.agent.fleet.counters.reports.Add(1)
		if err := s.send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Status{Status: r}}); err != nil {
			return err
		}
	}
	s.agent.mu.Lock()
	var results []*agentv1.CommandResult
	for _, r := range s.agent.held {
		results = append(results, r)
	}
	s.agent.mu.Unlock()
	for _, r := range results {
		if !s.boot.outbox.firstTime(r.GetId()) {
			continue
		}
		if err := s.send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_CommandResult{CommandResult: r}}); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) goodbye(ctx context.Context) error {
	s.leaving.Store(true)
	err := s.send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Leaving{Leaving: &agentv1.Leaving{Reason: "the agent stops"}}})
	if err == nil {
		err = s.stream.CloseSend()
	}
	if err != nil {
		return s.why(ctx, err)
	}
	select {
	case <-ctx.Done(): // the receiver saw the controller hang up
	case <-time.After(farewell):
	}
	return &endError{why: "left"}
}

// receive handles what the controller sends, in order.
func (s *session) receive() error {
	for {
		m, err := s.stream.Recv()
		if errors.Is(err, io.EOF) && s.leaving.Load() {
			return &endError{why: "left"}
		}
		if errors.Is(err, io.EOF) {
			return &endError{why: "the controller ended the session"}
		}
		if err != nil {
			return err
		}
		if err := s.handle(m); err != nil {
			return err
		}
	}
}

func (s *session) handle(m *agentv1.ControllerMessage) error {
	a := s.agent
	c := &a.fleet.counters
	switch body := m.GetBody().(type) {
	case *agentv1.ControllerMessage_HeartbeatAck:
		now := int64(time.Since(s.began))
		c.echoes.Add(1)
		a.fleet.EchoTimes.Add(time.Duration(now - s.beatAt.Load()))
		s.echoAt.Store(max(1, now))
		if !s.echoed.Swap(true) {
			s.firstEcho()
		}
	case *agentv1.ControllerMessage_Assignments:
		at := time.Now()
		ack := a.take(body.Assignments, s.boot)
		if err := s.send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_AssignmentsAck{AssignmentsAck: ack}}); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if ack.GetRefusal() != agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_UNSPECIFIED {
			c.refusedSets.Add(1)
			break
		}
		c.sets.Add(1)
		if body.Assignments.GetBaseGeneration() > 0 {
			c.deltas.Add(1)
		}
		if a.fleet.config.OnSet != nil {
			a.fleet.config.OnSet(a, body.Assignments, at)
		}
	case *agentv1.ControllerMessage_StatusAck:
		for _, took := range s.boot.outbox.acknowledged(body.StatusAck.GetSequence()) {
			c.reportAcks.Add(1)
			a.fleet.AckTimes.Add(took)
		}
	case *agentv1.ControllerMessage_Command:
		a.command(body.Command, s.boot)
	case *agentv1.ControllerMessage_CommandResultAck:
		a.mu.Lock()
		delete(a.held, body.CommandResultAck.GetId())
		a.mu.Unlock()
	case *agentv1.ControllerMessage_Ping:
		c.pings.Add(1)
		err := s.send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Pong{Pong: &agentv1.Pong{Nonce: body.Ping.GetNonce()}}})
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	case *agentv1.ControllerMessage_Reconnect:
		return &endError{why: reconnectReason, after: time.Duration(body.Reconnect.GetAfterMs()) * time.Millisecond}
	}
	return nil
}

func (s *session) firstEcho() {
	a := s.agent
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state.Echoed = true
	a.fleet.counters.echoed.Add(1)
	if !s.lastEnd.IsZero() {
		a.fleet.BackTimes.Add(time.Since(s.lastEnd))
	}
}
