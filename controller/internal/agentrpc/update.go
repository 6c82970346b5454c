package agentrpc

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/controller/internal/node"
	"fairlead.dev/controller/internal/update"
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/specpb"
)

// Updates takes what agents say of being replaced by another build.
type Updates interface {
	Told(ctx context.Context, nodeID uuid.UUID, t update.Told) error
}

// proveTime bounds one call of an agent that is to take another one's place,
// maxBeats how often it may ask for an echo in it.
const (
	proveTime = time.Minute
	maxBeats  = 100
)

// Prove lets an agent that is to take another one's place show that it can: it
// is welcomed as in a session, and its heartbeats are echoed after the database
// was asked about it. The session of the agent that serves goes on.
func (s *Server) Prove(stream grpc.BidiStreamingServer[agentv1.AgentMessage, agentv1.ControllerMessage]) error {
	ctx := stream.Context()
	agentID, _, err := identity(ctx)
	if err != nil {
		return err
	}
	if err := s.accepts(); err != nil {
		return err
	}
	c := s.newCall(ctx)
	late := time.AfterFunc(proveTime, func() { c.end(apperr.New(apperr.Invalid, "the proof took longer than %s", proveTime)) })
	defer late.Stop()
	hello, err := s.receiveHello(stream, agentID, c)
	if err != nil {
		return err
	}
	if err := s.Agents.Good(ctx, agentID); err != nil {
		return err
	}
	err = stream.Send(&agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Welcome{Welcome: &agentv1.Welcome{
		Protocol: ProtocolMax, Capabilities: capabilities(), SessionId: uuid.NewString(), HeartbeatPeriodMs: uint32(heartbeatPeriod.Milliseconds()),
	}}})
	if err != nil {
		return c.ended(err)
	}
	s.log.Info("an agent proves itself beside another", "agent", agentID, "version", clean(hello.GetAgent().GetVersion(), maxInfoBytes))
	for range maxBeats {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return c.ended(err)
		}
		beat := m.GetHeartbeat()
		if beat == nil {
			return apperr.New(apperr.Invalid, "an agent that proves itself may only ask for echoes")
		}
		if err := s.Agents.Good(ctx, agentID); err != nil {
			return err
		}
		if err := stream.Send(&agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_HeartbeatAck{HeartbeatAck: &agentv1.HeartbeatAck{Sequence: beat.GetSequence()}}}); err != nil {
			return c.ended(err)
		}
	}
	return apperr.New(apperr.TooMany, "an agent that proves itself may ask for %d echoes", maxBeats)
}

// updating takes where the agent's update stands, while the session may write.
func (x *session) updating(ctx context.Context, p *agentv1.UpdateStatus) error {
	told, ok := toldFrom(p)
	if !ok || x.server.Updates == nil {
		return nil
	}
	return x.server.Agents.Within(ctx, agent.Session{AgentID: x.AgentID, NodeID: x.NodeID, Epoch: x.Epoch}, func(ctx context.Context) error {
		return x.server.Updates.Told(ctx, x.NodeID, told)
	})
}

// toldFrom reads what an agent says of its update; not ok for nothing, and for
// what only a newer one knows.
func toldFrom(p *agentv1.UpdateStatus) (t update.Told, ok bool) {
	id, err := uuid.Parse(p.GetId())
	if err != nil {
		return t, false
	}
	phases := map[agentv1.UpdatePhase]node.UpdatePhase{
		agentv1.UpdatePhase_UPDATE_PHASE_PREPARING:   node.UpdatePreparing,
		agentv1.UpdatePhase_UPDATE_PHASE_PROVING:     node.UpdateProving,
		agentv1.UpdatePhase_UPDATE_PHASE_TAKING_OVER: node.UpdateTakingOver,
		agentv1.UpdatePhase_UPDATE_PHASE_SUCCESSFUL:  node.UpdateSuccessful,
		agentv1.UpdatePhase_UPDATE_PHASE_FAILED:      node.UpdateFailed,
	}
	phase, ok := phases[p.GetPhase()]
	return update.Told{ID: id, Phase: phase, Error: clean(p.GetError(), specpb.MaxTextBytes)}, ok
}
