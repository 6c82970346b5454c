package agentrpc

import (
	"context"
	"crypto/ecdsa"
	"net"
	"strings"
	"unicode/utf8"

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
	if err := s.gate.enter(hostOf(address)); err != nil {
		return nil, err
	}
	answer, err := s.enrol(ctx, req, address)
	if err != nil {
		s.gate.fail(hostOf(address))
	}
	return answer, err
}

func (s *Server) enrol(ctx context.Context, req *agentv1.EnrolRequest, address string) (*agentv1.EnrolResponse, error) {
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

// Recover gives an agent whose certificate expired while it was away its next
// one.
func (s *Server) Recover(ctx context.Context, req *agentv1.RecoverRequest) (*agentv1.RecoverResponse, error) {
	address := peerAddress(ctx)
	if err := s.gate.enter(hostOf(address)); err != nil {
		return nil, err
	}
	answer, err := s.recover(ctx, req, address)
	if err != nil {
		s.gate.fail(hostOf(address))
	}
	return answer, err
}

func (s *Server) recover(ctx context.Context, req *agentv1.RecoverRequest, address string) (*agentv1.RecoverResponse, error) {
	agentID, err := uuid.Parse(req.GetAgentId())
	if err != nil {
		return nil, apperr.InvalidField("agent_id", nil, "must be a UUID")
	}
	key, err := pki.RequestKey(req.GetCertificateRequest())
	if err != nil {
		return nil, err
	}
	chain, err := s.Agents.Recover(ctx, agentID, key, infoFrom(req.GetAgent(), address))
	if err != nil {
		err = s.dismissed(ctx, agentID, err)
		s.log.Info("recovery refused", "address", address, "agent", agentID, logging.KeyError, err)
		if reasonOf(err) == agent.ReasonRevoked { // it has proven to be that agent
			s.note(ctx, agentID, err)
		}
		return nil, err
	}
	s.log.Info("agent recovered after its certificate had expired", "address", address, "agent", agentID)
	return &agentv1.RecoverResponse{CertificateChain: chain}, nil
}

// RenewCertificate signs the caller's next certificate.
func (s *Server) RenewCertificate(ctx context.Context, req *agentv1.RenewCertificateRequest) (*agentv1.RenewCertificateResponse, error) {
	agentID, _, err := identity(ctx)
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

// identity is who the verified client certificate says is calling, and the
// certificate's key.
func identity(ctx context.Context) (uuid.UUID, *ecdsa.PublicKey, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return uuid.Nil, nil, apperr.New(apperr.Unauthenticated, "the connection carries no agent certificate; enrol first")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return uuid.Nil, nil, apperr.New(apperr.Unauthenticated, "the connection is not over TLS")
	}
	id, leaf, err := pki.PeerAgent(info.State)
	if err != nil {
		return uuid.Nil, nil, err
	}
	parsed, err := uuid.Parse(id)
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if err != nil || !ok {
		return uuid.Nil, nil, apperr.New(apperr.Unauthenticated, "the certificate names no agent of this controller")
	}
	return parsed, key, nil
}

func peerAddress(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return ""
}

// hostOf is the address without the port.
func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// clean cuts a text of an agent to a length, and takes out what a database
// can't keep or a log should not have.
func clean(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return -1
		}
		return r
	}, text)
	return strings.ToValidUTF8(text[:min(len(text), most)], "")
}

// infoFrom takes what an agent says of itself, each text cut to a sane length.
func infoFrom(p *agentv1.AgentInfo, address string) agent.Info {
	cut := func(text string) string { return clean(text, maxInfoBytes) }
	return agent.Info{
		Version: cut(p.GetVersion()), NodeType: cut(p.GetNodeType()), EngineName: cut(p.GetEngineName()),
		EngineVersion: cut(p.GetEngineVersion()), OS: cut(p.GetOs()), Architecture: cut(p.GetArchitecture()),
		Hostname: cut(p.GetHostname()), Address: address,
	}
}
