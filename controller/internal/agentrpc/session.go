package agentrpc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/controller/internal/command"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/dispatch"
	"fairlead.dev/controller/internal/node"
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/protocol"
	"fairlead.dev/shared/specpb"
)

// Numbers the controller gives its agents.
const (
	heartbeatPeriod = node.HeartbeatPeriod
	backoffBase     = 500 * time.Millisecond
	backoffCap      = 60 * time.Second
	backoffReset    = 60 * time.Second

	// closeTimeout bounds the note that a session ended, and what is looked up to
	// tell the agent why.
	closeTimeout = 5 * time.Second
	// reconnectAfter spreads agents out when the controller stops.
	reconnectAfter = time.Second
)

type sessionStream = grpc.BidiStreamingServer[agentv1.AgentMessage, agentv1.ControllerMessage]

// session is one open control stream. Its handler receives; whoever has
// something to send does so, one at a time. It has no goroutine of its own
// beyond the handler.
type session struct {
	agent.Session
	*call
	server *Server
	stream sessionStream
	line   *dispatch.Line

	// trusting is set before anything is received.
	trusting *trustee

	// reports takes what the agent tells.
	reports *reporting

	canPing bool
	// keepsResults: the agent keeps results of commands until it is told that
	// they are committed. confirms: it knows confirmed removals.
	keepsResults, confirms bool

	goodbye atomic.Bool
	// handling is since when a message is handled, trying since when one is
	// being sent, by the server's clock; 0 when none is.
	handling, trying atomic.Int64
	sending          sync.Mutex
}

// Session is the control stream of one agent, from its Hello to its end.
func (s *Server) Session(stream sessionStream) error {
	ctx := stream.Context()
	agentID, key, err := identity(ctx)
	if err != nil {
		return err
	}
	x, hello, err := s.open(stream, agentID, key)
	if err != nil {
		err = s.dismissed(ctx, agentID, err)
		s.note(ctx, agentID, err)
		return err
	}
	x.logger().Info("agent connected", "version", clean(hello.GetAgent().GetVersion(), maxInfoBytes), "address", peerAddress(ctx))
	s.count(1)
	err = s.dismissed(ctx, agentID, x.run(ctx, hello))
	s.count(-1)

	end := agent.End{Goodbye: x.goodbye.Load(), Handover: handover(err)}
	if x.line != nil {
		end.SilentSince = x.line.SilentSince()
	}
	s.Dispatcher.Close(s.reserve(ctx), x.Session, end)
	x.logger().Info("agent disconnected", "goodbye", end.Goodbye, logging.KeyError, err)
	return err
}

// handover tells that the controller ended a session whose agent is to come
// back.
func handover(err error) bool {
	var l *later
	return errors.As(err, &l) || errors.Is(err, dispatch.ErrReadmitted)
}

func (x *session) logger() *slog.Logger {
	return x.server.log.With(logging.KeyNode, x.NodeID, logging.KeyEpoch, x.Epoch)
}

func (x *session) run(ctx context.Context, hello *agentv1.Hello) (err error) {
	var fact uint64
	if x.SpoolID != "" && hello.GetSpoolId() == x.SpoolID { // another spool's numbers say nothing
		fact = x.FactSequence
	}
	err = x.send(&agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Welcome{Welcome: &agentv1.Welcome{
		Protocol:          ProtocolMax,
		Capabilities:      capabilities(),
		SessionId:         uuid.NewString(),
		Epoch:             uint64(x.Epoch),
		HeartbeatPeriodMs: uint32(heartbeatPeriod.Milliseconds()),
		Backoff: &agentv1.Backoff{
			BaseMs: uint32(backoffBase.Milliseconds()), CapMs: uint32(backoffCap.Milliseconds()),
			ResetAfterMs: uint32(backoffReset.Milliseconds()),
		},
		StatusSequence: x.StatusSequence,
		FactSequence:   fact,
		Quarantine:     x.Quarantine,
	}}})
	if err != nil {
		return err
	}
	if hello.GetUpdate() != nil {
		if err := x.updating(ctx, hello.GetUpdate()); err != nil {
			return err
		}
	}
	trusting, leave, err := x.server.trusts.join(ctx, x.Session, hello, x.send, x.End)
	if err != nil {
		return err
	}
	defer leave()
	x.trusting = trusting
	x.keepsResults, x.confirms = announced(hello, protocol.CommandAck), announced(hello, protocol.Delta)
	x.reports = x.report()
	defer x.reports.line.Close()
	link := x.server.attach(x, hello.GetCapabilities())
	defer func() { link.Close(err) }()
	x.line = x.server.Dispatcher.Add(x.Session, x, dispatch.Hello{
		Held:  deployment.Held{Lineage: clean(hello.GetLineage(), maxInfoBytes), Generation: hello.GetGeneration(), Hash: clean(hello.GetSetHash(), maxInfoBytes)},
		Delta: slices.Contains(hello.GetCapabilities(), protocol.Delta),
	})
	defer x.server.Dispatcher.Remove(x.line)
	if x.server.stopping.Err() != nil { // it began to stop before it knew of this session
		x.End(errServerStops) //nolint:contextcheck // what it may ask of the database goes by the stream's context
	}
	return x.ended(x.receive(ctx))
}

// capabilities are what this controller can do.
func capabilities() []string {
	return append([]string{protocol.Ping, protocol.Quarantine, protocol.Delta, protocol.Bulk, protocol.Exec, protocol.Update}, reportingCapabilities()...)
}

// errServerStops ends sessions when the server does.
var errServerStops = busy(reconnectAfter, "the controller is stopping; come back")

// receive handles what the agent sends, one message after the other.
func (x *session) receive(ctx context.Context) error {
	var h heard
	var e echo // one for all: it is written out before a send returns
	for {
		err := x.stream.RecvMsg(&h)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		x.line.Heard()
		if h.heartbeat {
			e.sequence = h.sequence
			err = x.sendMessage(&e)
		} else {
			x.handling.Store(int64(x.server.clock()))
			if h.same {
				err = x.reports.again(ctx, h.sequence)
			} else if err = x.handle(ctx, h.message); err == nil {
				h.remember()
			}
			x.handling.Store(0)
			x.line.Heard() // it may have taken long
		}
		if err != nil {
			return err
		}
	}
}

func (x *session) handle(ctx context.Context, m *agentv1.AgentMessage) error {
	switch body := m.GetBody().(type) {
	case *agentv1.AgentMessage_Heartbeat: // in another form than codec.go knows
		return x.sendMessage(&echo{body.Heartbeat.GetSequence()})
	case *agentv1.AgentMessage_AssignmentsAck:
		return x.acknowledged(body.AssignmentsAck)
	case *agentv1.AgentMessage_Status:
		return x.reports.take(ctx, body.Status)
	case *agentv1.AgentMessage_CommandResult:
		return x.finished(ctx, body.CommandResult)
	case *agentv1.AgentMessage_Update:
		return x.updating(ctx, body.Update)
	case *agentv1.AgentMessage_Pong:
		x.line.Pong(body.Pong.GetNonce())
		return nil
	case *agentv1.AgentMessage_TrustAck:
		return x.server.trusts.acked(x.trusting, body.TrustAck)
	case *agentv1.AgentMessage_Leaving:
		x.goodbye.Store(true)
		return nil
	case *agentv1.AgentMessage_Hello:
		return apperr.New(apperr.Invalid, "a second hello")
	default:
		// A newer agent's message that its capabilities did not announce.
		x.logger().Warn("ignored a message of an unknown kind")
		return nil
	}
}

func (x *session) acknowledged(ack *agentv1.AssignmentsAck) error {
	if ack.GetGeneration() > math.MaxInt64 {
		return apperr.InvalidField("generation", ack.GetGeneration(), "must be at most %d", int64(math.MaxInt64))
	}
	refusal := ""
	if ack.GetRefusal() == agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_UNSPECIFIED {
		x.line.Taken(ack.GetGeneration(), clean(ack.GetSetHash(), maxInfoBytes))
	} else {
		refusal = clean(ack.GetRefusal().String()+": "+ack.GetDetail(), specpb.MaxTextBytes)
		x.logger().Warn("agent refused its assignments", logging.KeyGeneration, ack.GetGeneration(), "refusal", refusal)
		x.line.Refused(misfit(ack.GetRefusal()))
	}
	return x.reports.acknowledge(ack.GetGeneration(), ack.GetSetHash(), refusal)
}

// misfit tells whether a whole set may be taken where a change was not.
func misfit(r agentv1.AssignmentsRefusal) bool {
	return r == agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_BASE || r == agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_HASH
}

// SendAssignments sends the node's whole set.
func (x *session) SendAssignments(set deployment.Set) error {
	p := changeToProto(set)
	if !x.confirms {
		p = setToProto(set)
	}
	return x.send(&agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Assignments{Assignments: p}})
}

// SendCommand sends a command.
func (x *session) SendCommand(c command.Command) error {
	return x.send(&agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Command{Command: commandToProto(c)}})
}

// Ping asks the agent for a pong.
func (x *session) Ping(nonce uint64) error {
	return x.send(&agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Ping{Ping: &agentv1.Ping{Nonce: nonce}}})
}

// CanPing reports whether the agent answers pings: one that said good-bye does
// not count any more.
func (x *session) CanPing() bool { return x.canPing && !x.goodbye.Load() }

// Pending returns for how long a message has been handled, and for how long one
// could not be sent because the connection takes nothing.
func (x *session) Pending() (handling, stuck time.Duration) {
	now := x.server.clock()
	if since := x.handling.Load(); since != 0 {
		handling = max(1, now-time.Duration(since))
	}
	if since := x.trying.Load(); since != 0 {
		if x.conn != nil {
			since = max(since, x.conn.wrote.Load())
		}
		stuck = max(1, now-time.Duration(since))
	}
	return handling, stuck
}

// End ends the session. It does not wait: where the agent is to come back, it
// is asked to before, if it takes that. Where it is revoked, a goroutine looks
// up whether its node was deleted, to say so; that ends within closeTimeout.
func (x *session) End(why error) {
	readmitted := errors.Is(why, dispatch.ErrReadmitted)
	if readmitted {
		why = &later{apperr.Wrap(apperr.Unavailable, why, "the agent's quarantine has begun or ended; come back").WithReason(reasonBusy), shortestWait}
	}
	var l *later
	if reasonOf(why) == agent.ReasonRevoked {
		go func() { x.end(x.server.dismissed(x.stream.Context(), x.AgentID, why)) }() // ends within closeTimeout
		return
	}
	if readmitted || !errors.As(why, &l) {
		x.end(why)
		return
	}
	go func() { // ends with the session at the latest
		_ = x.send(&agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Reconnect{Reconnect: &agentv1.Reconnect{
			AfterMs: uint32(l.after.Milliseconds()), Reason: l.Error(),
		}}})
		x.end(why)
	}()
}

func (x *session) send(m *agentv1.ControllerMessage) error { return x.sendMessage(m) }

func (x *session) sendMessage(m any) error {
	x.sending.Lock()
	defer x.sending.Unlock()
	x.trying.Store(int64(x.server.clock()))
	err := x.stream.SendMsg(m)
	x.trying.Store(0)
	return err
}

func canPing(hello *agentv1.Hello) bool {
	return slices.Contains(hello.GetCapabilities(), protocol.Ping)
}
