package agentrpc

import (
	"context"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"fairlead.dev/controller/internal/agent"
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/pki"
)

const (
	maxTokenBytes = 256
	maxInfoBytes  = 256
)

// Enrol exchanges a one-time token for a client certificate.
func (s *Server) Enrol(ctx context.Context, req *agentv1.EnrolRequest) (*agentv1.EnrolResponse, error) {
	address := peerAddress(ctx)
	if allowed, wait := s.EnrolAllowed(address); !allowed {
		return nil, apperr.New(apperr.TooMany, "too many attempts to enrol from this address; try again in %s", wait.Round(time.Second))
	}
	if n := len(req.GetToken()); n == 0 || n > maxTokenBytes {
		return nil, apperr.InvalidField("token", nil, "must be 1 to %d characters", maxTokenBytes)
	}
	key, err := pki.RequestKey(req.GetCertificateRequest())
	if err != nil {
		return nil, err
	}
	e, err := s.Agents.Enrol(ctx, agent.EnrolCommand{Token: req.GetToken(), Key: key, Info: infoFrom(req.GetAgent(), address)})
	if err != nil {
		s.log.Info("enrolment refused", "address", address, logging.KeyError, err)
		return nil, err
	}
	s.log.Info("agent enrolled", "address", address, logging.KeyNode, e.NodeID, "agent", e.AgentID)
	return &agentv1.EnrolResponse{
		CertificateChain: e.Chain, AgentId: e.AgentID.String(), NodeId: e.NodeID.String(), NodeName: e.NodeName,
	}, nil
}

// RenewCertificate signs the caller's next certificate.
func (s *Server) RenewCertificate(ctx context.Context, req *agentv1.RenewCertificateRequest) (*agentv1.RenewCertificateResponse, error) {
	agentID, err := identity(ctx)
	if err != nil {
		return nil, err
	}
	key, err := pki.RequestKey(req.GetCertificateRequest())
	if err != nil {
		return nil, err
	}
	chain, err := s.Agents.Renew(ctx, agentID, key)
	if err != nil {
		return nil, err
	}
	return &agentv1.RenewCertificateResponse{CertificateChain: chain}, nil
}

// identity is who the verified client certificate says is calling.
func identity(ctx context.Context) (uuid.UUID, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return uuid.Nil, apperr.New(apperr.Unauthenticated, "the connection carries no agent certificate; enrol first")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return uuid.Nil, apperr.New(apperr.Unauthenticated, "the connection is not over TLS")
	}
	id, _, err := pki.PeerAgent(info.State)
	if err != nil {
		return uuid.Nil, err
	}
	parsed, err := uuid.Parse(id)
	if err != nil {
		return uuid.Nil, apperr.New(apperr.Unauthenticated, "the certificate names no agent of this controller")
	}
	return parsed, nil
}

func peerAddress(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return ""
}

// infoFrom takes what an agent says of itself, each text cut to a sane length.
func infoFrom(p *agentv1.AgentInfo, address string) agent.Info {
	cut := func(text string) string { return text[:min(len(text), maxInfoBytes)] }
	return agent.Info{
		Version: cut(p.GetVersion()), NodeType: cut(p.GetNodeType()), EngineName: cut(p.GetEngineName()),
		EngineVersion: cut(p.GetEngineVersion()), OS: cut(p.GetOs()), Architecture: cut(p.GetArchitecture()),
		Hostname: cut(p.GetHostname()), Address: address,
	}
}
