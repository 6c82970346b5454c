package agentrt

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/logging"
)

// trusted says which roots the agent trusts, in hex.
func (s *session) trusted() []string {
	var list []string
	for _, pin := range s.link.identity.Trust.Pins() {
		list = append(list, pin.String())
	}
	return list
}

// trust takes the controller's word for which roots to trust from now on, and
// answers what is trusted then. The word counts because the session is one
// with a controller that proved a trusted root; see pki.Trust.Next for what it
// can not do. The answer goes out once the roots are on the disk.
func (s *session) trust(ctx context.Context, word *agentv1.Trust) error {
	if err := s.takeTrust(word); err != nil { //nolint:contextcheck // who is at the other end is said by the stream's own context
		s.log.Warn("the list of roots to trust was not taken", logging.KeyError, err)
	}
	select {
	case s.urgent <- &agentv1.AgentMessage{Body: &agentv1.AgentMessage_TrustAck{TrustAck: &agentv1.TrustAck{TrustedRoots: s.trusted()}}}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *session) takeTrust(word *agentv1.Trust) error {
	trust := s.link.identity.Trust
	present, err := s.provenBy()
	if err != nil {
		return err
	}
	next, err := trust.Next(word.GetRoots(), present)
	if err != nil {
		return err
	}
	if err := s.link.dir.SetTrust(next); err != nil {
		return fmt.Errorf("keep the roots to trust: %w", err)
	}
	trust.Replace(next)
	s.log.Info("the roots to trust changed", "roots", s.trusted())
	return nil
}

// provenBy returns the root that proves the controller at the other end of
// this session.
func (s *session) provenBy() (*x509.Certificate, error) {
	p, ok := peer.FromContext(s.stream.Context())
	if !ok {
		return nil, errors.New("the session has no peer")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil, errors.New("the session is not over TLS")
	}
	return s.link.identity.Trust.Verify(info.State.PeerCertificates, s.link.agent.config.Now())
}
