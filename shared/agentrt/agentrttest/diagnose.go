package agentrttest

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/pki"
	"fairlead.dev/shared/protocol"
)

// Diagnose answers an agent's doctor.
func (c *Controller) Diagnose(ctx context.Context, _ *agentv1.DiagnoseRequest) (*agentv1.DiagnoseResponse, error) {
	if _, _, err := caller(ctx); err != nil {
		return nil, err
	}
	return &agentv1.DiagnoseResponse{
		Time: timestamppb.New(time.Now()), Version: "test",
		ProtocolMin: protocol.VersionMin, ProtocolMax: protocol.VersionMax,
		NodeId: "node-1", Roots: []string{pki.PinOf(c.Authority.Root).String()},
	}, nil
}

// Prove welcomes an agent that is to take another one's place and echoes its
// work, unless RefuseProofs was called.
func (c *Controller) Prove(stream grpc.BidiStreamingServer[agentv1.AgentMessage, agentv1.ControllerMessage]) error {
	if _, _, err := caller(stream.Context()); err != nil {
		return err
	}
	c.mu.Lock()
	refuse := c.refuseProofs
	c.mu.Unlock()
	if refuse {
		return status.Error(codes.Unavailable, "no proofs today")
	}
	if _, err := stream.Recv(); err != nil {
		return err
	}
	welcome := &agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Welcome{Welcome: &agentv1.Welcome{Protocol: protocol.VersionMax}}}
	if err := stream.Send(welcome); err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		ack := &agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_HeartbeatAck{HeartbeatAck: &agentv1.HeartbeatAck{Sequence: m.GetHeartbeat().GetSequence()}}}
		if err := stream.Send(ack); err != nil {
			return err
		}
	}
}

// RefuseProofs sets whether agents that are to take another one's place are
// turned away.
func (c *Controller) RefuseProofs(refuse bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuseProofs = refuse
}
