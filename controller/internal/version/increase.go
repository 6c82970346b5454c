package version

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/project"
	"fairlead.dev/shared/apperr"
)

// inherited returns the states of deployments that a new version gets a copy
// of, to be started when it is ready. What is obsolete or downgraded has left
// its place, and what is in progress has not come to it yet.
func inherited() []deployment.State {
	return []deployment.State{deployment.Preparing, deployment.Successful, deployment.Failed}
}

// Increase makes the next version of an incremental one, with a copy of its
// images and deployments (see inherited); the earlier version can't be changed
// from then on. Secrets stay readable in the copies, since those are on the
// same nodes. Errors: NotFound; Invalid; Conflict on the name, and on the
// version when it has a next one already; Precondition for a rolling version.
func (s *Service) Increase(ctx context.Context, projectID, id uuid.UUID, d Draft) (Version, error) {
	scope, who, err := authz.Require(ctx, authz.VersionCreate)
	if err != nil {
		return Version{}, err
	}
	if d, err = d.normalize(); err != nil {
		return Version{}, err
	}
	v, err := s.draw(projectID, Incremental, d, who.Ref())
	if err != nil {
		return Version{}, err
	}
	v.Parent = id
	err = s.store.InTx(ctx, func(ctx context.Context) error {
		p, err := s.store.LockProject(ctx, scope.ID, projectID)
		if err != nil {
			return err
		}
		origin, err := s.store.LockVersion(ctx, scope.ID, projectID, id)
		switch {
		case err != nil:
			return err
		case p.Type == project.Versionless:
			return versionless("increase the version of")
		case origin.Type != Incremental:
			return apperr.New(apperr.Precondition, "only an incremental version has a next one; a rolling version is edited in place").
				WithField("type", string(origin.Type))
		case origin.HasChild:
			return apperr.New(apperr.Conflict, "version %q has a next version already; increase that one", origin.Name).
				WithField("versionId", id)
		}
		if err := s.store.InsertVersion(ctx, v); err != nil {
			return err
		}
		if err := s.store.CopyContent(ctx, origin, v, inherited()); err != nil {
			return err
		}
		if err := s.audit.Record(ctx, authz.VersionCreate, map[string]any{
			"id": v.ID, "projectId": projectID, "name": v.Name, "type": Incremental, "parentId": id,
		}); err != nil {
			return err
		}
		return s.tellCreated(ctx, v, p, who)
	})
	return v, err
}
