package agent

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/shared/apperr"
)

// Known returns an agent that may open a session, and changes nothing.
// Forbidden with reason revoked for one that may not.
func (s *Service) Known(ctx context.Context, agentID uuid.UUID) (Agent, error) {
	a, err := s.Store.FindAgent(ctx, agentID)
	if err != nil && !apperr.Is(err, apperr.NotFound) {
		return Agent{}, err
	}
	if err != nil || !a.RevokedAt.IsZero() {
		return Agent{}, revokedOr(nil)
	}
	return a, nil
}
