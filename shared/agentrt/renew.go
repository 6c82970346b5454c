package agentrt

import (
	"context"
	"crypto/x509"
	"errors"
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

// errRenewed ends a session in whose place one with a new certificate goes on.
var errRenewed = errors.New("the certificate was renewed")

// renew waits for the half-life of the session's certificate, gets the next
// one for a new key and opens a session with it. Only when that was welcomed
// this one ends, with errRenewed; a certificate that is of no use costs nothing.
func (s *session) renew(ctx, leave context.Context) error {
	l := s.link
	for wait := s.renewalWait(); ; wait = renewRetry {
		if err := s.await(ctx, wait); err != nil {
			return err
		}
		err := s.renewOnce(ctx)
		if err == nil {
			if err = s.prove(ctx, leave); err == nil {
				return errRenewed
			}
			if ctx.Err() == nil && leave.Err() == nil {
				l.dropCandidate(s.own)
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.log.Warn("the certificate was not renewed, trying again", logging.KeyError, err, "expires", s.own.Leaf.NotAfter)
	}
}

// renewalWait returns how long from now the session's certificate is to be
// renewed. A certificate that this process got counts from when it got it, by
// whatever clock; and none waits longer than it lasts.
func (s *session) renewalWait() time.Duration {
	l := s.link
	now := l.agent.config.Now()
	from := l.ownSince
	if from.IsZero() {
		from = s.own.Leaf.NotBefore
	}
	part := renewalPart(s.own.Leaf, l.agent.config.Random())
	return min(from.Add(part).Sub(now), part)
}

// renewalPart is half the certificate's life, give or take a tenth, so that
// agents enrolled together do not renew together.
func renewalPart(leaf *x509.Certificate, random float64) time.Duration {
	return time.Duration((0.4 + 0.2*random) * float64(leaf.NotAfter.Sub(leaf.NotBefore)))
}

// await waits so long, and until renewal is allowed again. Timers stand still
// while a machine sleeps and clocks may be set back: whichever of the two says
// first that the time has come is believed.
func (s *session) await(ctx context.Context, wait time.Duration) error {
	now := s.link.agent.config.Now
	began, at := time.Now(), now().Add(wait)
	if held := s.link.renewNotBefore; at.Before(held) {
		wait, at = held.Sub(now()), held
	}
	for {
		rest := min(wait-time.Since(began), at.Sub(now()))
		if rest <= 0 {
			return nil
		}
		if !backoff.Sleep(ctx, min(rest, renewLook)) {
			return ctx.Err()
		}
	}
}

// prove opens a session with the certificate on trial, while this one goes on.
// The controller may end this one as soon as it welcomes the other: that is no
// reason to give up; any other end is.
func (s *session) prove(ctx, leave context.Context) error {
	candidate, _, err := s.link.dir.Candidate()
	if err != nil {
		return err
	}
	next, err := s.link.dial(leave, candidate, true)
	if err != nil {
		return err
	}
	s.proof = time.Now()
	defer func() { s.proof = time.Now() }()
	stop := context.AfterFunc(ctx, func() {
		if cause := context.Cause(ctx); !replaced(cause) {
			next.cancel(cause)
		}
	})
	defer stop()
	if err := next.open(leave); err != nil {
		next.close()
		return fmt.Errorf("open a session with the renewed certificate: %w", err)
	}
	s.next = next
	return nil
}

// replaced reports whether a newer session of the same agent took over.
func replaced(err error) bool {
	var r *refusal
	return errors.As(err, &r) && r.reason == agentv1.RefusalReason_REFUSAL_REASON_REPLACED
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
