package agentrt

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/backoff"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/pki"
)

const (
	renewTimeout = 30 * time.Second
	renewRetry   = time.Minute
	// renewLook is the longest wait between two looks at the clock: timers
	// stand still while a machine sleeps, certificates do not.
	renewLook = time.Minute
)

// renew waits for the half-life of the session's certificate, gets the next
// one for a new key, and ends the session with errRenewed so that the next
// session tries it.
func (s *session) renew(ctx context.Context) error {
	now := s.link.agent.config.Now
	at := renewalTime(s.own.Leaf, s.link.agent.config.Random())
	if at.Before(s.link.renewNotBefore) {
		at = s.link.renewNotBefore
	}
	for {
		for wait := at.Sub(now()); wait > 0; wait = at.Sub(now()) {
			if !backoff.Sleep(ctx, min(wait, renewLook)) {
				return ctx.Err()
			}
		}
		err := s.renewOnce(ctx)
		if err == nil {
			return errRenewed
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.log.Warn("the certificate was not renewed, trying again", logging.KeyError, err,
			"pause", renewRetry, "expires", s.own.Leaf.NotAfter)
		at = now().Add(renewRetry)
	}
}

// renewalTime is half the certificate's life, give or take a tenth, so that
// agents enrolled together do not renew together.
func renewalTime(leaf *x509.Certificate, random float64) time.Time {
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	return leaf.NotBefore.Add(time.Duration((0.4 + 0.2*random) * float64(life)))
}

func (s *session) renewOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	key, err := pki.NewKey()
	if err != nil {
		return err
	}
	request, err := pki.NewRequest(key)
	if err != nil {
		return err
	}
	answer, err := agentv1.NewSessionServiceClient(s.conn).RenewCertificate(ctx, &agentv1.RenewCertificateRequest{CertificateRequest: request})
	if err != nil {
		return fmt.Errorf("ask for the next certificate: %w", err)
	}
	identity := s.link.identity
	if _, err := ownCertificate(answer.GetCertificateChain(), key, identity.AgentID); err != nil {
		return err
	}
	return s.link.dir.Try(key, answer.GetCertificateChain())
}
