package agent

import (
	"context"

	"github.com/google/uuid"
)

// Standing is what an open session must know of its agent and node.
type Standing struct {
	AgentID uuid.UUID
	NodeID  uuid.UUID
	// Gone tells that the agent was revoked or deleted with its node.
	Gone bool
	// Epoch is that of the agent's newest session.
	Epoch       int64
	Quarantined bool
	// Generation is of what the node should run.
	Generation uint64
	// Commands tells that some wait to be carried out.
	Commands bool
}

// Look reads where agents stand, in any order. Agents that are not there any
// more are among the answers, as gone.
func (s *Service) Look(ctx context.Context, ids []uuid.UUID) ([]Standing, error) {
	found, err := s.Store.ListStandings(ctx, ids)
	if err != nil || len(found) == len(ids) {
		return found, err
	}
	seen := make(map[uuid.UUID]struct{}, len(found))
	for _, f := range found {
		seen[f.AgentID] = struct{}{}
	}
	for _, id := range ids {
		if _, ok := seen[id]; !ok {
			found = append(found, Standing{AgentID: id, Gone: true})
		}
	}
	return found, nil
}

// Changes is what changed for sessions since an earlier look.
type Changes struct {
	Standings []Standing
	// Since is what to give to the next look.
	Since uint64
	// Kept tells that the lease was renewed, which had not run out; Dropped
	// that another replica's had. Both are of ChangesAndLease only.
	Kept, Dropped bool
}

// Changes returns where all agents stand for whom something changed since an
// earlier look, however the transactions that changed it were committed; with 0
// it returns only where to go on. Some may be returned more than once.
func (s *Service) Changes(ctx context.Context, since uint64) (Changes, error) {
	return s.Store.ListChanges(ctx, since, nil)
}

// Err returns why a session may not go on, or nil: the agent is gone, or has a
// newer session.
func (t Standing) Err(session Session) error {
	switch {
	case t.Gone:
		return revokedOr(nil)
	case t.Epoch != session.Epoch:
		return replaced()
	default:
		return nil
	}
}
