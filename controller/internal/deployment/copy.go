package deployment

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// Copy places the version of a deployment once more: on the draft's node, under
// its prefix, with its note. Environment, policy and what the instances say of their own
// come along; values of secrets only to the same node, since no other can read
// them. Releases and log don't. The draft's version is not looked at.
//
// Errors: Invalid, NotFound, Precondition while the deployment is in progress,
// and Conflict when the place is taken: as for Create, and by a deployment of
// the same version that is in progress there.
func (s *Service) Copy(ctx context.Context, id uuid.UUID, draft Draft) (Deployment, error) {
	d, err := s.draw(ctx, draft)
	if err != nil {
		return Deployment{}, err
	}
	err = s.Store.InTx(ctx, func(ctx context.Context) error {
		origin, err := s.find(ctx, authz.DeploymentCreate, id)
		if err != nil {
			return err
		}
		draft.VersionID = origin.Version.ID
		source, err := s.place(ctx, &d, draft)
		if err != nil {
			return err
		}
		if origin, err = s.Store.LockDeployment(ctx, id); apperr.Is(err, apperr.NotFound) {
			return noSuchDeployment(id) // deleted while this waited
		}
		if err != nil {
			return err
		}
		if origin.State == InProgress {
			return wrongState(origin, "copied")
		}
		if err := s.refuseOngoing(ctx, d); err != nil {
			return err
		}
		d.Environment, d.Policy = origin.Environment, origin.Policy
		if err := s.Store.InsertDeployment(ctx, d, source.ImageIDs); err != nil {
			return err
		}
		if err := s.copyInstances(ctx, origin, d); err != nil {
			return err
		}
		if err := s.Audit.Record(ctx, authz.DeploymentCreate, map[string]any{
			"id": d.ID, "versionId": d.Version.ID, "nodeId": d.Node.ID, "prefix": d.Prefix, "copyOf": id,
		}); err != nil {
			return err
		}
		return s.tellCreated(ctx, d)
	})
	return d, err
}

// refuseOngoing returns a Conflict while a deployment of the same version is in
// progress at the copy's place: nobody could tell what the copy is for.
func (s *Service) refuseOngoing(ctx context.Context, d Deployment) error {
	there, err := s.Store.ListPlaced(ctx, d.Node.ID, d.Prefix)
	if err != nil {
		return err
	}
	for _, other := range there {
		if other.Version.ID == d.Version.ID && other.State == InProgress {
			return apperr.New(apperr.Conflict, "the version has a deployment in progress on this node and prefix").
				WithField("prefix", other.ID).WithReason(ReasonPreparing)
		}
	}
	return nil
}

// copyInstances gives a copy's instances what those of the original say.
func (s *Service) copyInstances(ctx context.Context, from, to Deployment) error {
	return s.copySaid(ctx, from, to, func(said spec.Container) spec.Container {
		if from.Node.ID != to.Node.ID {
			said.Secrets = withoutValues(said.Secrets)
		}
		return said
	})
}

// copySaid gives a deployment's instances a part of what those of another one of
// its version say.
func (s *Service) copySaid(ctx context.Context, from, to Deployment, part func(spec.Container) spec.Container) error {
	originals, err := s.Store.ListInstances(ctx, from.ID)
	if err != nil {
		return err
	}
	said := map[uuid.UUID]spec.Container{}
	for _, i := range originals {
		if i.Config != nil {
			said[i.Image.ID] = part(*i.Config)
		}
	}
	copies, err := s.Store.ListInstances(ctx, to.ID)
	if err != nil {
		return err
	}
	for _, i := range copies {
		if config, ok := said[i.Image.ID]; ok {
			if err := s.Store.UpdateInstance(ctx, i.ID, config, to.CreatedAt); err != nil {
				return err
			}
		}
	}
	return nil
}

func withoutValues(secrets []spec.Secret) []spec.Secret {
	if secrets == nil {
		return nil
	}
	list := make([]spec.Secret, len(secrets))
	for i, secret := range secrets {
		list[i] = spec.Secret{ID: secret.ID, Key: secret.Key, Required: secret.Required}
	}
	return list
}
