package agent

import (
	"context"
	"crypto/ecdsa"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

// Session is one open connection of an agent. Its epoch goes into every write.
type Session struct {
	AgentID uuid.UUID
	NodeID  uuid.UUID
	Epoch   int64
	// StatusSequence is the newest report of this boot that is committed.
	StatusSequence uint64
	// SealingKey is what secrets for its node are sealed to, as far as known.
	SealingKey string
}

// Report is one batch of what an agent saw.
type Report struct {
	Sequence uint64
	Statuses []deployment.Status
	Events   []deployment.Event
	// Containers is the complete list when HasContainers is set.
	Containers    []workload.Container
	HasContainers bool
}

// Open begins a session of a known agent: the epoch rises, and with it any
// older session loses its right to write. Forbidden with reason revoked for an
// agent that is none any more.
//
// Key is the one of the certificate it came with.
func (s *Service) Open(ctx context.Context, agentID uuid.UUID, key *ecdsa.PublicKey, bootID string, info Info) (Session, error) {
	keyHash, err := hashKey(key)
	if err != nil {
		return Session{}, err
	}
	var session Session
	err = s.Store.InTx(ctx, func(ctx context.Context) error {
		a, err := s.Store.OpenSession(ctx, agentID, keyHash, bootID, info, s.Now())
		if err != nil {
			return revokedOr(err)
		}
		session = Session{AgentID: a.ID, NodeID: a.NodeID, Epoch: a.Epoch, StatusSequence: a.StatusSequence, SealingKey: a.SealingKey}
		return s.Store.AppendNodeEvent(ctx, a.NodeID, "connected",
			map[string]any{"version": info.Version, "address": info.Address, "engine": info.EngineName + " " + info.EngineVersion}, s.Now())
	})
	return session, err
}

// Close ends a session; goodbye tells that the agent wanted it so.
func (s *Service) Close(ctx context.Context, session Session, goodbye bool) error {
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		closed, err := s.Store.CloseSession(ctx, session.AgentID, session.Epoch, goodbye, s.Now())
		if err != nil || !closed { // a newer session took over
			return err
		}
		return s.Store.AppendNodeEvent(ctx, session.NodeID, "left", map[string]any{"goodbye": goodbye}, s.Now())
	})
}

// Holds returns nil while the session may write: its agent is not revoked and
// has no newer session. Otherwise the error's reason says which it is.
func (s *Service) Holds(ctx context.Context, session Session) error {
	a, err := s.Store.FindAgent(ctx, session.AgentID)
	if err != nil || !a.RevokedAt.IsZero() {
		return revokedOr(err)
	}
	if a.Epoch != session.Epoch {
		return replaced()
	}
	return nil
}

// Wanted returns the generation of what the session's node should run, without
// reading what that is, while the session may write; otherwise as Holds.
func (s *Service) Wanted(ctx context.Context, session Session) (uint64, error) {
	if err := s.Holds(ctx, session); err != nil {
		return 0, err
	}
	return s.Store.NodeGeneration(ctx, session.NodeID)
}

// Acknowledge notes which assignment set the agent holds, or why it refused
// the one it was sent.
func (s *Service) Acknowledge(ctx context.Context, session Session, generation uint64, setHash, refusal string) error {
	noted, err := s.Store.AcknowledgeSet(ctx, session.AgentID, session.Epoch, generation, setHash, refusal)
	if err == nil && !noted {
		return replaced()
	}
	return err
}

// Record commits a report, all of it or nothing, and at most once: a sequence
// that is committed already changes nothing and is no error.
func (s *Service) Record(ctx context.Context, session Session, r Report) error {
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		moved, err := s.Store.AdvanceStatus(ctx, session.AgentID, session.Epoch, r.Sequence)
		if err != nil {
			return err
		}
		if !moved {
			return s.Holds(ctx, session)
		}
		if r.HasContainers {
			if err := s.Store.ReplaceContainers(ctx, session.NodeID, r.Containers, s.Now()); err != nil {
				return err
			}
		}
		return s.Progress.RecordProgress(ctx, session.NodeID, r.Statuses, r.Events)
	})
}

func replaced() error {
	return apperr.New(apperr.Precondition, "a newer session of this agent has taken over").WithReason(ReasonReplaced)
}
