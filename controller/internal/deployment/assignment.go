package deployment

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/shared/spec"
)

// AssignmentSet returns everything a node should run, as it is at one moment,
// with the credentials of registries and storages; see Updates. No actor is asked.
func (s *Service) AssignmentSet(ctx context.Context, nodeID uuid.UUID) (Set, error) {
	set, err := s.Store.ReadSet(ctx, nodeID)
	if err != nil {
		return Set{}, err
	}
	return set, s.addCredentials(ctx, nodeID, set, map[string]*spec.RegistryAuth{})
}
