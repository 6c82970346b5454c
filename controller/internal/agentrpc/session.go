package agentrpc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/controller/internal/command"
	"fairlead.dev/controller/internal/deployment"
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/protocol"
	"fairlead.dev/shared/seal"
	"fairlead.dev/shared/specpb"
)

// Numbers the controller gives its agents.
const (
	heartbeatPeriod = 15 * time.Second
	backoffBase     = 500 * time.Millisecond
	backoffCap      = 60 * time.Second
	backoffReset    = 60 * time.Second

	// helloTimeout is how long a new stream may stay silent.
	helloTimeout = 10 * time.Second
	// closeTimeout bounds the note that a session ended.
	closeTimeout = 5 * time.Second
	// reconnectAfter spreads agents out when the controller stops.
	reconnectAfter = time.Second
	// recordRetry is how soon a report is tried again while the database is
	// away; the agent holds it meanwhile.
	recordRetry = time.Second
)

type sessionStream = grpc.BidiStreamingServer[agentv1.AgentMessage, agentv1.ControllerMessage]

// session is one open control stream. Its handler receives, a second goroutine
// feeds it assignments and commands; both send, one at a time.
type session struct {
	agent.Session
	server *Server
	stream sessionStream
	log    *slog.Logger

	// trusting is set before anything is received.
	trusting *trustee

	sending sync.Mutex
	goodbye atomic.Bool
}

// Session is the control stream of one agent, from its Hello to its end.
func (s *Server) Session(stream sessionStream) (err error) {
	ctx := stream.Context()
	agentID, key, err := identity(ctx)
	if err != nil {
		return err
	}
	hello, err := receiveHello(stream)
	if err != nil {
		return err
	}
	opened, err := s.Agents.Open(ctx, agentID, key, hello.GetBootId(), infoFrom(hello.GetAgent(), peerAddress(ctx)))
	if err != nil {
		return err
	}
	if key := hello.GetSealingKey(); key != "" {
		if err := seal.CheckPublic(key); err != nil {
			return err
		}
		if err := s.Agents.KeepSealingKey(ctx, opened, key); err != nil {
			return err
		}
	}
	s.count(agentID, 1)
	defer s.count(agentID, -1)
	x := &session{Session: opened, server: s, stream: stream, log: s.log.With(
		logging.KeyNode, opened.NodeID, logging.KeyEpoch, opened.Epoch)}
	link := s.attach(x, hello.GetCapabilities())
	defer func() { link.Close(err) }()
	x.log.Info("agent connected", "version", hello.GetAgent().GetVersion(), "address", peerAddress(ctx))
	err = x.run(ctx, hello)

	// The stream's context is over; the note that it ended is not.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if closeErr := s.Agents.Close(ctx, opened, x.goodbye.Load()); closeErr != nil {
		x.log.Warn("could not note the end of the session", logging.KeyError, closeErr)
	}
	x.log.Info("agent disconnected", "goodbye", x.goodbye.Load(), logging.KeyError, err)
	return err
}

// receiveHello takes the first message, which must be a Hello in a common
// protocol version, and come soon.
func receiveHello(stream sessionStream) (*agentv1.Hello, error) {
	type first struct {
		message *agentv1.AgentMessage
		err     error
	}
	received := make(chan first, 1)
	go func() { // ends with the stream, which ends when this handler returns
		m, err := stream.Recv()
		received <- first{m, err}
	}()
	timeout := time.NewTimer(helloTimeout)
	defer timeout.Stop()
	select {
	case f := <-received:
		if f.err != nil {
			return nil, f.err
		}
		hello := f.message.GetHello()
		switch {
		case hello == nil:
			return nil, apperr.New(apperr.Invalid, "the first message must be a hello")
		case hello.GetBootId() == "" || len(hello.GetBootId()) > maxInfoBytes:
			return nil, apperr.InvalidField("boot_id", nil, "must be 1 to %d characters", maxInfoBytes)
		case hello.GetProtocolMin() > ProtocolMax || hello.GetProtocolMax() < ProtocolMin:
			return nil, apperr.New(apperr.Precondition,
				"the agent speaks protocol %d to %d, this controller %d to %d; update the older of the two",
				hello.GetProtocolMin(), hello.GetProtocolMax(), ProtocolMin, ProtocolMax).WithReason(reasonProtocol)
		}
		return hello, nil
	case <-timeout.C:
		return nil, apperr.New(apperr.Invalid, "no hello within %s", helloTimeout)
	}
}

func (x *session) run(ctx context.Context, hello *agentv1.Hello) error {
	err := x.send(&agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Welcome{Welcome: &agentv1.Welcome{
		Protocol:          ProtocolMax,
		SessionId:         uuid.NewString(),
		Epoch:             uint64(x.Epoch),
		HeartbeatPeriodMs: uint32(heartbeatPeriod.Milliseconds()),
		Backoff: &agentv1.Backoff{
			BaseMs: uint32(backoffBase.Milliseconds()), CapMs: uint32(backoffCap.Milliseconds()),
			ResetAfterMs: uint32(backoffReset.Milliseconds()),
		},
		StatusSequence: x.StatusSequence,
		Capabilities:   []string{protocol.Bulk, protocol.Exec},
	}}})
	if err != nil {
		return err
	}

	// Whichever side ends first, ends the other; the handler waits for both.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	trusting, leave, err := x.server.trusts.join(ctx, x.Session, hello, x.send, cancel)
	if err != nil {
		return err
	}
	defer leave()
	x.trusting = trusting
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		cancel(x.feed(ctx, hello))
	}()
	received := make(chan error, 1)
	go func() { received <- x.receive(ctx) }()

	select {
	case err = <-received:
		cancel(err)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	<-fed
	return err
	// The receiving goroutine ends when this returns and gRPC ends the stream.
}

// feed sends assignments and commands until the session ends or the server
// stops.
func (x *session) feed(ctx context.Context, hello *agentv1.Hello) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The server's context ends at its stop: no goroutine of ours waits for it.
	stop := context.AfterFunc(x.server.stopping, func() { cancel(errServerStops) }) //nolint:contextcheck // a second context, beside the stream's
	defer stop()
	err := x.server.Dispatcher.Feed(ctx, x.Session, hello.GetGeneration(), x)
	if errors.Is(err, errServerStops) {
		_ = x.send(&agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Reconnect{Reconnect: &agentv1.Reconnect{
			AfterMs: uint32(reconnectAfter.Milliseconds()), Reason: "the controller is stopping",
		}}})
		return apperr.New(apperr.Unavailable, "the controller is stopping; come back").WithReason(reasonBusy)
	}
	return err
}

var errServerStops = errors.New("the server stops")

// receive handles what the agent sends, one message after the other.
func (x *session) receive(ctx context.Context) error {
	for {
		m, err := x.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := x.handle(ctx, m); err != nil {
			return err
		}
	}
}

func (x *session) handle(ctx context.Context, m *agentv1.AgentMessage) error {
	switch body := m.GetBody().(type) {
	case *agentv1.AgentMessage_Heartbeat:
		return x.send(&agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_HeartbeatAck{
			HeartbeatAck: &agentv1.HeartbeatAck{Sequence: body.Heartbeat.GetSequence()},
		}})
	case *agentv1.AgentMessage_AssignmentsAck:
		return x.acknowledged(ctx, body.AssignmentsAck)
	case *agentv1.AgentMessage_Status:
		return x.record(ctx, body.Status)
	case *agentv1.AgentMessage_CommandResult:
		return x.server.Commands.Finish(ctx, x.NodeID, resultFrom(body.CommandResult))
	case *agentv1.AgentMessage_TrustAck:
		return x.server.trusts.acked(x.trusting, body.TrustAck)
	case *agentv1.AgentMessage_Leaving:
		x.goodbye.Store(true)
		return nil
	case *agentv1.AgentMessage_Hello:
		return apperr.New(apperr.Invalid, "a second hello")
	default:
		// A newer agent's message that its capabilities did not announce.
		x.log.Warn("ignored a message of an unknown kind")
		return nil
	}
}

func (x *session) acknowledged(ctx context.Context, ack *agentv1.AssignmentsAck) error {
	if ack.GetGeneration() > math.MaxInt64 {
		return apperr.InvalidField("generation", ack.GetGeneration(), "must be at most %d", int64(math.MaxInt64))
	}
	refusal := ""
	if ack.GetRefusal() != agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_UNSPECIFIED {
		refusal = ack.GetRefusal().String() + ": " + ack.GetDetail()
		refusal = refusal[:min(len(refusal), specpb.MaxTextBytes)]
		x.log.Warn("agent refused its assignments", logging.KeyGeneration, ack.GetGeneration(), "refusal", refusal)
	}
	return x.server.Agents.Acknowledge(ctx, x.Session, ack.GetGeneration(), ack.GetSetHash(), refusal)
}

// record commits a report and acknowledges it after that. While the database is
// away it waits: an unacknowledged report is not lost, the agent holds it.
func (x *session) record(ctx context.Context, p *agentv1.StatusReport) error {
	if err := specpb.CheckReport(p); err != nil {
		return err
	}
	report, err := reportFrom(p)
	if err != nil {
		return err
	}
	for {
		err := x.server.Agents.Record(ctx, x.Session, report)
		if err == nil {
			break
		}
		if !apperr.Is(err, apperr.Unavailable) {
			return err
		}
		x.log.Warn("could not commit an agent's report; trying again", logging.KeyError, err)
		timer := time.NewTimer(recordRetry)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
	return x.send(&agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_StatusAck{
		StatusAck: &agentv1.StatusAck{Sequence: p.GetSequence()},
	}})
}

// SendAssignments sends the node's whole set.
func (x *session) SendAssignments(set deployment.Set) error {
	p := setToProto(set)
	x.log.Debug("assignments sent", logging.KeyGeneration, set.Generation, "assignments", len(set.Assignments))
	return x.send(&agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Assignments{Assignments: p}})
}

// SendCommand sends a command.
func (x *session) SendCommand(c command.Command) error {
	return x.send(&agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Command{Command: commandToProto(c)}})
}

func (x *session) send(m *agentv1.ControllerMessage) error {
	x.sending.Lock()
	defer x.sending.Unlock()
	return x.stream.Send(m)
}
