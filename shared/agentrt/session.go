package agentrt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/pki"
	"fairlead.dev/shared/protocol"
	"fairlead.dev/shared/taskgroup"
)

const (
	welcomeTimeout   = 30 * time.Second
	defaultHeartbeat = 15 * time.Second
	// silentPeriods is how many heartbeats may go without an echo.
	silentPeriods = 3
	urgentQueue   = 16
	pongQueue     = 4
)

// session is one session: its stream is read by one goroutine and written by
// another.
type session struct {
	link    *link
	conn    *grpc.ClientConn
	own     tls.Certificate
	onTrial bool
	log     *slog.Logger
	// ctx is the stream's: it begins before the session is served, and may
	// outlast the session that opened it.
	ctx    context.Context
	cancel context.CancelCauseFunc
	// next goes on in place of this session; proof is when the last attempt to
	// open it began, or ended.
	next  *session
	proof time.Time

	stream  grpc.BidiStreamingClient[agentv1.AgentMessage, agentv1.ControllerMessage]
	welcome *agentv1.Welcome
	// peer is what the controller announced.
	peer announced
	// quarantined: only what is seen is told; nothing is taken.
	quarantined bool
	// pongs go before everything else, then urgent: acknowledgements.
	pongs   chan uint64
	urgent  chan *agentv1.AgentMessage
	period  time.Duration
	began   time.Time
	leaving atomic.Bool
	// echo is when the last heartbeat came back, in nanoseconds since began;
	// 0 when none did.
	echo atomic.Int64
}

func newSession(leave context.Context, l *link, conn *grpc.ClientConn, own tls.Certificate, onTrial bool) *session {
	s := &session{
		link: l, conn: conn, own: own, onTrial: onTrial, log: l.log,
		pongs: make(chan uint64, pongQueue), urgent: make(chan *agentv1.AgentMessage, urgentQueue),
	}
	s.ctx, s.cancel = context.WithCancelCause(context.WithoutCancel(leave))
	return s
}

// open says hello and waits for the welcome.
func (s *session) open(leave context.Context) error {
	leaves := context.AfterFunc(leave, func() { s.cancel(errLeft) }) // nothing to say yet: just go
	late := time.AfterFunc(welcomeTimeout, func() { s.cancel(errors.New("no welcome came in time")) })
	defer late.Stop()
	err := s.greet()
	if !leaves() {
		return errLeft
	}
	return err
}

// close ends the session's stream and connection.
func (s *session) close() {
	s.cancel(nil)
	_ = s.conn.Close()
}

// serve serves an open session until it ends. It returns why. When s.next is
// set afterwards, that session goes on in place of this one.
func (s *session) serve(leave context.Context) error {
	defer s.close()
	s.begin()
	err := taskgroup.Run(s.ctx, //nolint:contextcheck // the stream's context, which may be older than this session's turn
		taskgroup.Task{Name: "receive", Run: func(ctx context.Context) error {
			context.AfterFunc(ctx, func() { s.cancel(nil) }) // ends Recv
			err := s.receive(ctx)
			s.cancel(err) // ends Send
			return err
		}},
		taskgroup.Task{Name: "send", Run: func(ctx context.Context) error { return s.send(ctx, leave) }},
		taskgroup.Task{Name: "pulse", Run: s.pulse},
		taskgroup.Task{Name: "renew", Run: func(ctx context.Context) error { return s.renew(ctx, leave) }},
	)
	if replaced(err) && !s.proof.IsZero() && time.Since(s.proof) < welcomeTimeout {
		return fmt.Errorf("the session with the renewed certificate did not come about: %v", err) //nolint:errorlint // nobody else took over: it is not to be taken for a refusal
	}
	return err
}

func (s *session) greet() error {
	ctx := s.ctx
	held := s.link.held.held()
	hello := &agentv1.Hello{
		ProtocolMin: protocol.VersionMin, ProtocolMax: protocol.VersionMax,
		Capabilities: s.link.agent.capabilities(),
		Agent:        s.link.agent.info(ctx),
		BootId:       s.link.agent.bootID,
		Lineage:      held.GetLineage(),
		Generation:   held.GetGeneration(),
		SetHash:      held.GetSetHash(),
		SpoolId:      s.link.outbox.SpoolID(),
		TrustedRoots: s.trusted(),
		SealingKey:   s.link.sealingKey,
		Update:       s.link.updates.status(),
	}
	stream, err := agentv1.NewSessionServiceClient(s.conn).Session(ctx)
	if err != nil {
		return fmt.Errorf("open a session: %w", err)
	}
	s.stream = stream
	if err := stream.Send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Hello{Hello: hello}}); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("say hello: %w", err)
	}
	first, err := stream.Recv() // also tells why Send failed
	if err != nil {
		return fmt.Errorf("wait for the welcome: %w", err)
	}
	welcome := first.GetWelcome()
	if welcome == nil {
		return fmt.Errorf("the controller began with %T in place of a welcome", first.GetBody())
	}
	if chosen := welcome.GetProtocol(); chosen < protocol.VersionMin || chosen > protocol.VersionMax {
		return &refusal{
			reason: agentv1.RefusalReason_REFUSAL_REASON_PROTOCOL,
			err:    fmt.Errorf("the controller chose protocol %d, this agent speaks %d to %d", chosen, protocol.VersionMin, protocol.VersionMax),
		}
	}
	s.welcomed(welcome)
	return nil
}

// welcomed notes what the controller said, and ends the trial of the session's
// certificate.
func (s *session) welcomed(w *agentv1.Welcome) {
	s.welcome = w
	s.log = s.log.With(logging.KeySession, w.GetSessionId(), logging.KeyEpoch, w.GetEpoch())
	s.period = defaultHeartbeat
	if ms := w.GetHeartbeatPeriodMs(); ms > 0 {
		s.period = time.Duration(ms) * time.Millisecond
	}
	s.peer = announcedBy(w.GetCapabilities())
	s.quarantined = w.GetQuarantine() != ""
	s.link.welcomed(s.own, s.onTrial)
}

// begin makes the session the one that is served. The one before it has ended,
// and what it did not tell is this one's to tell.
func (s *session) begin() {
	w := s.welcome
	s.began = time.Now()
	adopt(s.link, w.GetBackoff())
	s.link.setQuarantine(w.GetQuarantine())
	s.link.outbox.Opened(w.GetStatusSequence(), w.GetFactSequence(), s.peer[protocol.Spool])
	s.link.commands.Opened(s.peer[protocol.CommandAck])
	s.link.streams.Use(pki.AgentTLS(s.link.identity.Trust, s.own, s.link.agent.config.Now))
	s.log.Info("connected", "heartbeat", s.period)
}

// receive handles what the controller says, in order. Heartbeats are echoed
// by the loop that handles work there, and work is handled in this loop here.
func (s *session) receive(ctx context.Context) error {
	for {
		m, err := s.stream.Recv()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.EOF) && s.leaving.Load():
			return errLeft
		case errors.Is(err, io.EOF):
			return errors.New("the controller ended the session")
		case err != nil:
			return understand(err)
		}
		if err := s.handle(ctx, m); err != nil {
			return err
		}
	}
}

// handle handles one message; an error ends the session.
func (s *session) handle(ctx context.Context, m *agentv1.ControllerMessage) error {
	switch body := m.GetBody().(type) {
	case *agentv1.ControllerMessage_HeartbeatAck:
		s.echoed()
	case *agentv1.ControllerMessage_Ping:
		select {
		case s.pongs <- body.Ping.GetNonce():
		default: // whoever asks faster than can be answered gets the answers there is room for
		}
	case *agentv1.ControllerMessage_Assignments:
		return s.assigned(ctx, body.Assignments)
	case *agentv1.ControllerMessage_StatusAck:
		s.link.outbox.Ack(body.StatusAck.GetSequence(), body.StatusAck.GetFactSequence())
	case *agentv1.ControllerMessage_Command:
		if s.quarantined {
			s.log.Warn("a command came in quarantine and is left alone", logging.KeyCommand, body.Command.GetId())
			return nil
		}
		s.link.commands.Submit(body.Command)
	case *agentv1.ControllerMessage_Trust:
		return s.trust(ctx, body.Trust)
	case *agentv1.ControllerMessage_BulkRequest:
		if s.quarantined {
			s.log.Warn("a stream was asked for in quarantine and is left alone", "stream", body.BulkRequest.GetStreamId())
			return nil
		}
		s.link.streams.Request(body.BulkRequest)
	case *agentv1.ControllerMessage_CommandResultAck:
		s.link.commands.Acked(body.CommandResultAck.GetId())
	case *agentv1.ControllerMessage_Reconnect:
		return &comeBack{time.Duration(body.Reconnect.GetAfterMs()) * time.Millisecond, body.Reconnect.GetReason()}
	default:
		s.log.Debug("a message of a newer controller is ignored", "message", fmt.Sprintf("%T", body))
	}
	return nil
}

// assigned takes a set and has it acknowledged.
func (s *session) assigned(ctx context.Context, set *agentv1.AssignmentSet) error {
	if s.quarantined {
		s.log.Warn("assignments came in quarantine and are left alone", logging.KeyGeneration, set.GetGeneration())
		return nil
	}
	ack := s.link.held.take(set)
	if ack.GetDetail() == "" {
		s.log.Info("assignments taken", logging.KeyGeneration, ack.GetGeneration(), "base", set.GetBaseGeneration())
	} else {
		s.log.Warn("assignments refused", logging.KeyGeneration, ack.GetGeneration(), "base", set.GetBaseGeneration(),
			"refusal", ack.GetRefusal(), "detail", ack.GetDetail())
	}
	select {
	case s.urgent <- &agentv1.AgentMessage{Body: &agentv1.AgentMessage_AssignmentsAck{AssignmentsAck: ack}}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// echoed notes that the controller's work loop is alive.
func (s *session) echoed() {
	s.echo.Store(max(1, int64(time.Since(s.began))))
	s.link.updates.echoed()
	until := s.link.agent.config.Now().Add((silentPeriods + 1) * s.period)
	err := s.link.dir.SetHealthyUntil(until)
	if err != nil && !s.link.unhealthy {
		s.log.Warn("the health file cannot be written", logging.KeyError, err)
	}
	s.link.unhealthy = err != nil
}

// pulse ends the session when heartbeats go unanswered, also when sending
// itself is stuck.
func (s *session) pulse(ctx context.Context) error {
	tick := time.NewTicker(s.period)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if silence := time.Since(s.began) - time.Duration(s.echo.Load()); silence > silentPeriods*s.period {
				return fmt.Errorf("the controller has been silent for %s", silence.Round(time.Millisecond))
			}
		}
	}
}

// healthyFor returns how long the session was seen to be healthy: until the
// last heartbeat that came back, 0 when none did.
func (s *session) healthyFor() time.Duration { return time.Duration(s.echo.Load()) }
