package agentrt

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/reach"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/pki"
)

const recoverTimeout = 30 * time.Second

// rejected reports whether an attempt to connect failed because the controller
// does not take the certificate: it says so, or its words may well have got
// lost with the connection.
func (l *link) rejected(own tls.Certificate, err error) bool {
	if problem, ok := reach.Of(err); ok {
		return problem.Kind == reach.Rejected
	}
	var refused *refusal
	if errors.As(understand(err), &refused) || status.Code(err) != codes.Unavailable {
		return false
	}
	return l.agent.config.Now().After(own.Leaf.NotAfter)
}

// recover gets a new certificate for a key whose certificate expired while the
// agent was away, by proving possession of the key. The connection shows no
// certificate of the agent's: an expired one would end it.
//
// The answer goes through the same trial as a renewed certificate, so that a
// crash at any step leaves one that is whole. When the disk takes nothing it is
// kept in memory and there is no trial.
func (l *link) recover(ctx context.Context, expired tls.Certificate) (own tls.Certificate, onTrial bool, err error) {
	key, ok := expired.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return own, false, apperr.New(apperr.Invalid, "the agent's key is a %T", expired.PrivateKey)
	}
	l.log.Warn("the certificate expired while the agent was away; asking for another", "expired", expired.Leaf.NotAfter)
	request, err := pki.NewRequest(key)
	if err != nil {
		return own, false, err
	}
	conn, err := l.agent.dial(l.identity.Controller, pki.AgentTLS(l.identity.Trust, tls.Certificate{}, l.agent.config.Now))
	if err != nil {
		return own, false, err
	}
	defer func() { _ = conn.Close() }()

	ctx, cancel := context.WithTimeout(ctx, recoverTimeout)
	defer cancel()
	answer, err := agentv1.NewEnrolmentServiceClient(conn).Recover(ctx, &agentv1.RecoverRequest{
		AgentId: l.identity.AgentID, CertificateRequest: request, Agent: l.agent.info(ctx),
	})
	if err != nil {
		return own, false, fmt.Errorf("ask for another certificate: %w", err)
	}
	own, err = ownCertificate(answer.GetCertificateChain(), key, l.identity.AgentID)
	if err != nil {
		return own, false, err
	}
	l.log.Info("the agent has a certificate again", logging.KeyNode, l.identity.NodeID, "until", own.Leaf.NotAfter)
	err = l.dir.Discard()
	if err == nil {
		err = l.dir.Try(key, own.Certificate)
	}
	if err != nil {
		l.log.Error("the certificate is not on the disk and must be asked for again after a restart: check the state folder", logging.KeyError, err)
		l.identity.Own, l.ownSince = own, l.agent.config.Now()
		return own, false, nil
	}
	return own, true, nil
}
