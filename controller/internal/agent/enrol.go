package agent

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/node"
	"fairlead.dev/shared/apperr"
)

// EnrolCommand asks for an identity.
type EnrolCommand struct {
	Token string
	// Key is the agent's own; the private half never left the node.
	Key  *ecdsa.PublicKey
	Info Info
}

// Enrolment is an identity just given.
type Enrolment struct {
	AgentID  uuid.UUID
	NodeID   uuid.UUID
	NodeName string
	// Chain is the client certificate in DER, leaf first.
	Chain [][]byte
}

// Enrol exchanges a one-time token for a client certificate. The token is
// consumed in the transaction that binds the key, and an agent the node had
// before is revoked there. Asking again with the same token and the same key
// answers the same identity, so that an answer lost on the way does no harm.
// Errors: Unauthenticated with a reason for a token that is unknown, used or
// expired; Invalid when the agent is of another type than its node.
func (s *Service) Enrol(ctx context.Context, cmd EnrolCommand) (Enrolment, error) {
	keyHash, err := hashKey(cmd.Key)
	if err != nil {
		return Enrolment{}, err
	}
	var result Enrolment
	err = s.Store.InTx(ctx, func(ctx context.Context) error {
		i, err := s.Store.FindInstallation(ctx, node.TokenHash(cmd.Token))
		if apperr.Is(err, apperr.NotFound) {
			return apperr.New(apperr.Unauthenticated,
				"the enrolment token is not one of this controller's; make a new install script").WithReason(ReasonTokenUnknown)
		}
		if err != nil {
			return err
		}
		if cmd.Info.NodeType != i.NodeType {
			return apperr.InvalidField("node_type", cmd.Info.NodeType, "the node is of type %s", i.NodeType)
		}
		agentID := i.AgentID
		if i.Consumed {
			err = s.sameAgain(ctx, i, keyHash)
		} else {
			agentID, err = s.bind(ctx, i, keyHash, cmd.Info)
		}
		if err != nil {
			return err
		}
		now := s.Now()
		chain, err := s.Authority.Agent(agentID.String(), cmd.Key, now.Add(-skew), now.Add(CertificateLifetime))
		if err != nil {
			return fmt.Errorf("sign the agent's certificate: %w", err)
		}
		result = Enrolment{AgentID: agentID, NodeID: i.NodeID, NodeName: i.NodeName, Chain: chain}
		return nil
	})
	return result, err
}

// bind gives the node a new agent and uses the token up.
func (s *Service) bind(ctx context.Context, i Installation, keyHash []byte, info Info) (uuid.UUID, error) {
	now := s.Now()
	id, err := uuid.NewV7()
	if err != nil {
		return uuid.Nil, err
	}
	if _, err := s.Store.RevokeAgent(ctx, i.NodeID, now); err != nil {
		return uuid.Nil, err
	}
	a := Agent{ID: id, NodeID: i.NodeID, KeyHash: keyHash}
	if err := s.Store.InsertAgent(ctx, a, info, now.Add(CertificateLifetime), now); err != nil {
		return uuid.Nil, err
	}
	consumed, err := s.Store.ConsumeInstallation(ctx, i.ID, id, now)
	if err != nil {
		return uuid.Nil, err
	}
	if !consumed {
		return uuid.Nil, apperr.New(apperr.Unauthenticated,
			"the enrolment token expired at %s; make a new install script", i.ExpiresAt.Format("15:04:05 MST")).WithReason(ReasonTokenExpired)
	}
	return id, s.Store.AppendNodeEvent(ctx, i.NodeID, "installed", map[string]any{"agent": id, "version": info.Version, "address": info.Address}, now)
}

// sameAgain accepts a used token from the very agent that used it.
func (s *Service) sameAgain(ctx context.Context, i Installation, keyHash []byte) error {
	used := apperr.New(apperr.Unauthenticated,
		"the enrolment token was used already; make a new install script").WithReason(ReasonTokenUsed)
	a, err := s.Store.FindAgent(ctx, i.AgentID)
	if apperr.Is(err, apperr.NotFound) {
		return used
	}
	if err != nil {
		return err
	}
	if !a.RevokedAt.IsZero() || !bytes.Equal(a.KeyHash, keyHash) || !s.Now().Before(i.ExpiresAt) {
		return used
	}
	return nil
}

func revokedOr(err error) error {
	if err == nil || apperr.Is(err, apperr.NotFound) {
		return apperr.New(apperr.Forbidden,
			"this agent's identity was revoked or its node deleted; install it anew if that was not meant").WithReason(ReasonRevoked)
	}
	return err
}

func hashKey(key *ecdsa.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, apperr.Wrap(apperr.Invalid, err, "read the public key of the certificate request")
	}
	sum := sha256.Sum256(der)
	return sum[:], nil
}
