package deployment

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// AssignmentSet returns everything a node should run, as it is at one moment,
// with registry credentials. No actor is asked: it is for the node's own agent.
//
// Credentials that can't be had are left out and logged, so that one registry
// can't keep a node from everything else; what needs them fails to be pulled
// and says so.
func (s *Service) AssignmentSet(ctx context.Context, nodeID uuid.UUID) (Set, error) {
	set, err := s.Store.ReadSet(ctx, nodeID)
	if err != nil {
		return Set{}, err
	}
	known := map[string]*spec.RegistryAuth{}
	for _, a := range set.Assignments {
		if a.Deployment == nil {
			continue
		}
		for i, w := range a.Deployment.Workloads {
			auth, asked := known[w.Image.RegistryID]
			if !asked {
				if auth, err = s.credentials(ctx, w.Image.RegistryID); err != nil {
					return Set{}, err
				}
				known[w.Image.RegistryID] = auth
			}
			a.Deployment.Workloads[i].Image.Auth = auth
		}
	}
	return set, nil
}

// credentials returns nil when there are none or they can't be had.
func (s *Service) credentials(ctx context.Context, registryID string) (*spec.RegistryAuth, error) {
	var auth *spec.RegistryAuth
	id, err := uuid.Parse(registryID)
	if err == nil {
		auth, err = s.Credentials(ctx, id)
	}
	switch {
	case err == nil:
		return auth, nil
	case apperr.Is(err, apperr.Unavailable), ctx.Err() != nil:
		return nil, err
	case !apperr.Is(err, apperr.NotFound): // a registry that is gone has none
		s.Logger.Error("registry credentials can't be read; images are pulled without", "registry", registryID, "error", err)
	}
	return nil, nil
}
