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

	"fairlead.dev/shared/agentrt/internal/backoff"
	"fairlead.dev/shared/agentrt/internal/state"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/pki"
)

const enrolTimeout = 30 * time.Second

// identity returns who the agent is. When the install script left an enrolment
// it enrols first; that also replaces an older identity.
func (a *Agent) identity(ctx context.Context, dir *state.Dir) (state.Identity, error) {
	identity, enrolled, err := dir.Identity()
	if err != nil {
		return identity, err
	}
	enrolment, asked, err := dir.Enrolment()
	if err != nil {
		err = &EnrolmentError{"the install script's file cannot be used", err}
		return identity, errors.Join(err, dir.RefuseEnrolment(err.Error(), false))
	}
	switch {
	case asked && enrolled && dir.Answered(enrolment, identity):
		return identity, dir.FinishEnrolment()
	case asked:
		return a.enrol(ctx, dir, enrolment)
	case enrolled:
		return identity, nil
	default:
		return identity, &EnrolmentError{Message: "this agent is not enrolled: create an install script for the node and run it here"}
	}
}

// enrol exchanges the token for an identity, and tries again while the
// controller cannot be reached.
//
// The key is on disk before the token is sent. When the answer is lost, or the
// process dies before the certificate is written, the same key asks again with
// the same token, and the controller can answer again: within the token's
// lifetime it accepts a used token from the very key it bound.
func (a *Agent) enrol(ctx context.Context, dir *state.Dir, e state.Enrolment) (state.Identity, error) {
	key, err := dir.PendingKey()
	if err != nil {
		return state.Identity{}, fmt.Errorf("make the agent's key: %w", err)
	}
	log := a.config.Log.With("controller", e.Controller, logging.KeyNode, e.NodeName)
	pauses := backoff.New(defaultBackoff(), a.config.Random)
	for {
		identity, err := a.enrolOnce(ctx, e, key)
		if err == nil {
			if err := dir.Enrolled(e, identity); err != nil {
				return identity, fmt.Errorf("keep the new identity: %w", err)
			}
			log.Info("enrolled", "agent", identity.AgentID)
			identity, _, err = dir.Identity()
			return identity, err
		}
		if ctx.Err() != nil {
			return identity, ctx.Err()
		}
		final, spent := finalRefusal(err)
		if final {
			err := &EnrolmentError{"the controller at " + e.Controller + " did not enrol this node", err}
			return identity, errors.Join(err, dir.RefuseEnrolment(err.Error(), spent))
		}
		pause := pauses.Next()
		var r *refusal
		if errors.As(err, &r) && r.retryAfter > 0 {
			pause += r.retryAfter
		}
		log.Warn("not enrolled yet, trying again", logging.KeyError, err, "pause", pause)
		if !backoff.Sleep(ctx, pause) {
			return identity, ctx.Err()
		}
	}
}

// finalRefusal reports whether trying again is pointless, and whether the
// token is of no more use.
func finalRefusal(err error) (final, spent bool) {
	var r *refusal
	if errors.As(err, &r) {
		switch r.reason {
		case agentv1.RefusalReason_REFUSAL_REASON_TOKEN_UNKNOWN,
			agentv1.RefusalReason_REFUSAL_REASON_TOKEN_USED,
			agentv1.RefusalReason_REFUSAL_REASON_TOKEN_EXPIRED,
			agentv1.RefusalReason_REFUSAL_REASON_REVOKED:
			return true, true
		default:
			return false, false
		}
	}
	// Wrong pin, wrong name, or an answer that does not hold: whoever that
	// is, it is not the controller this node was told to join.
	return apperr.Is(err, apperr.Unauthenticated) || status.Code(err) == codes.InvalidArgument, false
}

// enrolOnce makes one attempt. The token is sent only over a connection that
// proved to be to the pinned controller.
func (a *Agent) enrolOnce(ctx context.Context, e state.Enrolment, key *ecdsa.PrivateKey) (id state.Identity, err error) {
	request, err := pki.NewRequest(key)
	if err != nil {
		return id, err
	}
	introduction := pki.Introduce(e.Pin, a.config.Now)
	conn, err := a.dial(e.Controller, introduction.TLSConfig())
	if err != nil {
		return id, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()

	info := a.info(ctx)
	ctx, cancel := context.WithTimeout(ctx, enrolTimeout)
	defer cancel()
	answer, err := agentv1.NewEnrolmentServiceClient(conn).Enrol(ctx, &agentv1.EnrolRequest{
		Token:              e.Token.Reveal(),
		CertificateRequest: request,
		Agent:              info,
	})
	if err != nil {
		return id, understand(err)
	}
	root, err := introduction.Result()
	if err != nil {
		return id, err
	}
	own, err := ownCertificate(answer.GetCertificateChain(), key, answer.GetAgentId())
	if err != nil {
		return id, err
	}
	return state.Identity{
		AgentID: answer.GetAgentId(), NodeID: answer.GetNodeId(), NodeName: answer.GetNodeName(),
		Controller: e.Controller, Trust: pki.NewTrust(root), Own: own,
	}, nil
}

// ownCertificate checks that a chain is a certificate of this agent for this
// key. It fails with Unauthenticated. Until when it is good is for the
// controller to judge, by its clock.
func ownCertificate(chain [][]byte, key *ecdsa.PrivateKey, agentID string) (tls.Certificate, error) {
	leaf, id, err := pki.ReadAgent(chain)
	switch {
	case err != nil:
		return tls.Certificate{}, apperr.Wrap(apperr.Unauthenticated, err, "the certificate the controller signed is of no use")
	case id != agentID:
		return tls.Certificate{}, apperr.New(apperr.Unauthenticated, "the controller signed a certificate for agent %q, this is %q", id, agentID)
	case !key.PublicKey.Equal(leaf.PublicKey):
		return tls.Certificate{}, apperr.New(apperr.Unauthenticated, "the controller signed a certificate for another key")
	}
	return tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf}, nil
}
