package agent

import (
	"context"

	"github.com/google/uuid"
)

// Good returns nil while the identity is not revoked; otherwise Forbidden with
// reason revoked.
func (s *Service) Good(ctx context.Context, agentID uuid.UUID) error {
	a, err := s.Store.FindAgent(ctx, agentID)
	if err != nil || !a.RevokedAt.IsZero() {
		return revokedOr(err)
	}
	return nil
}
