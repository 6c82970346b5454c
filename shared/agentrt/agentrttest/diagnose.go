package agentrttest

import (
	"context"
	"time"

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
