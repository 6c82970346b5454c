package deployment

import (
	"context"
	"slices"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// Adoption makes a container that runs on the node, and that somebody else made,
// the one of an instance.
type Adoption struct {
	InstanceID uuid.UUID
	// Container is the container's name on the node's engine.
	Container string
}

// adopt notes in a release's content which containers it adopts. Whether they
// can be adopted is for the node to say. It fails with Unsupported when the
// node's agent cannot adopt any, and with Forbidden for a deployment's token:
// what runs on the node may be anybody's in the team.
func (s *Service) adopt(ctx context.Context, who actor.Actor, d Deployment, content *spec.Deployment, list []Adoption) error {
	if len(list) == 0 {
		return nil
	}
	if who.Kind == actor.DeployToken {
		return apperr.New(apperr.Forbidden, "a deployment's token cannot adopt containers; a member of the team can").WithField("adopt", nil)
	}
	can, err := s.Store.NodeCapabilities(ctx, d.Node.ID)
	if err != nil && !apperr.Is(err, apperr.NotFound) {
		return err
	}
	if !slices.Contains(can, capabilityAdopt) {
		return apperr.New(apperr.Unsupported, "the node's agent cannot adopt containers: it is too old, or not one for Docker; update it, or start without adopting").
			WithField("adopt", nil)
	}
	for _, a := range list {
		content.Adopt = append(content.Adopt, spec.Adoption{InstanceID: a.InstanceID.String(), Container: a.Container})
	}
	return spec.Validate(*content).Err()
}
