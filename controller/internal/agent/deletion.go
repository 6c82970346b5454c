package agent

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/shared/apperr"
)

// Deletion is that somebody deleted the node of an agent, and what is to become
// of what runs there.
type Deletion struct {
	NodeID uuid.UUID
	// KeyHash is as in Agent.
	KeyHash          []byte
	RemoveContainers bool
}

// Deleted returns how the node of an agent was deleted, nil when nobody did: an
// agent that is merely not known, as after the database was put back from a
// backup, has lost nothing but its controller.
func (s *Service) Deleted(ctx context.Context, agentID uuid.UUID) (*Deletion, error) {
	d, err := s.Store.FindDeletion(ctx, agentID)
	if apperr.Is(err, apperr.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &d, nil
}
