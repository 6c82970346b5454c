package agent

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"fmt"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/shared/apperr"
)

// Renew signs the next certificate of an agent for another key of its own. The
// agent stays bound to the key it has until it opens a session with the new
// one. Forbidden with reason revoked for an agent that is none any more.
func (s *Service) Renew(ctx context.Context, agentID uuid.UUID, key *ecdsa.PublicKey) ([][]byte, error) {
	var chain [][]byte
	err := s.Store.InTx(ctx, func(ctx context.Context) error {
		a, err := s.Store.FindAgent(ctx, agentID)
		if err != nil || !a.RevokedAt.IsZero() {
			return revokedOr(err)
		}
		chain, err = s.sign(ctx, a, key)
		return err
	})
	return chain, err
}

// DefaultReadmitWithin is how long an agent may have been away to be readmitted
// by itself.
const DefaultReadmitWithin = 720 * time.Hour

// Recover gives an agent that was away for longer than its certificate lasted
// the next one, for the key it last came with; whoever calls has proven to hold
// that key. One that was away for longer than ReadmitWithin is in quarantine
// from then on: it may report, and is sent nothing until somebody readmits it.
// It is counted and entered in the node's history. Errors: Forbidden with reason
// revoked for an agent that is none any more, Unauthenticated for another key.
func (s *Service) Recover(ctx context.Context, agentID uuid.UUID, key *ecdsa.PublicKey, info Info) ([][]byte, error) {
	keyHash, err := hashKey(key)
	if err != nil {
		return nil, err
	}
	var chain [][]byte
	err = s.Store.InTx(ctx, func(ctx context.Context) error {
		a, err := s.Store.FindAgent(ctx, agentID)
		if apperr.Is(err, apperr.NotFound) {
			var d Deletion
			if d, err = s.Store.FindDeletion(ctx, agentID); err == nil && bytes.Equal(d.KeyHash, keyHash) {
				return revokedOr(nil)
			}
		}
		if err != nil && !apperr.Is(err, apperr.NotFound) {
			return err
		}
		// A stranger learns nothing about which agents there are.
		if err != nil || !bytes.Equal(a.KeyHash, keyHash) {
			return apperr.New(apperr.Unauthenticated,
				"no agent of this controller has this id and key; make a new install script for the node")
		}
		if !a.RevokedAt.IsZero() {
			return revokedOr(nil)
		}
		if chain, err = s.sign(ctx, a, key); err != nil {
			return err
		}
		now := s.Now()
		quarantine := a.Quarantine
		if away := now.Sub(a.LastSeen); away > s.ReadmitWithin {
			quarantine = fmt.Sprintf("the agent was away for %d days, since %s: look at the node, then readmit it",
				int(away.Hours()/24), a.LastSeen.Format(time.DateOnly))
		}
		if err := s.Store.RecoverAgent(ctx, a.ID, quarantine, now); err != nil {
			return err
		}
		data := map[string]any{"agent": a.ID, "version": info.Version, "address": info.Address}
		if quarantine != "" {
			data["quarantine"] = quarantine
		}
		return s.Store.AppendNodeEvent(ctx, a.NodeID, "recovered", data, now)
	})
	return chain, err
}

func (s *Service) sign(ctx context.Context, a Agent, key *ecdsa.PublicKey) ([][]byte, error) {
	now := s.Now()
	notAfter := now.Add(CertificateLifetime)
	if err := s.Store.RenewAgent(ctx, a.ID, notAfter); err != nil {
		return nil, err
	}
	return s.Authority.Agent(a.ID.String(), key, now.Add(-skew), notAfter)
}
