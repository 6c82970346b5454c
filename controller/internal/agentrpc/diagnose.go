package agentrpc

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/buildinfo"
	"fairlead.dev/shared/protocol"
)

// Diagnose tells an agent's doctor how the controller sees it.
func (s *Server) Diagnose(ctx context.Context, _ *agentv1.DiagnoseRequest) (*agentv1.DiagnoseResponse, error) {
	agentID, _, err := identity(ctx)
	if err != nil {
		return nil, err
	}
	known, err := s.Agents.Known(ctx, agentID)
	if err != nil {
		return nil, err
	}
	return &agentv1.DiagnoseResponse{
		Time: timestamppb.New(s.Now()), Version: buildinfo.Version(),
		ProtocolMin: protocol.VersionMin, ProtocolMax: protocol.VersionMax,
		NodeId: known.NodeID.String(), Roots: pinsOf(s.Authority.Accepted()),
	}, nil
}
