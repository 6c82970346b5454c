package version

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/project"
	"fairlead.dev/controller/internal/revision"
	"fairlead.dev/shared/apperr"
)

// List returns a project's versions, newest first. Errors: NotFound.
func (s *Service) List(ctx context.Context, projectID uuid.UUID) ([]Version, error) {
	scope, _, err := authz.Require(ctx, authz.VersionRead)
	if err != nil {
		return nil, err
	}
	list, err := s.store.ListVersions(ctx, scope.ID, projectID)
	if err != nil || len(list) > 0 {
		return list, err
	}
	_, err = s.store.FindProject(ctx, scope.ID, projectID) // there may be none in it, or no such project
	return list, err
}

// Project returns one of the team's projects and its versions, newest first.
// Errors: NotFound.
func (s *Service) Project(ctx context.Context, id uuid.UUID) (project.Project, []Version, error) {
	if _, _, err := authz.Require(ctx, authz.ProjectRead); err != nil {
		return project.Project{}, nil, err
	}
	scope, _, err := authz.Require(ctx, authz.VersionRead)
	if err != nil {
		return project.Project{}, nil, err
	}
	return s.store.ReadProject(ctx, scope.ID, id)
}

// Get returns a version and its deployments. Errors: NotFound.
func (s *Service) Get(ctx context.Context, projectID, id uuid.UUID) (Version, []Deployment, error) {
	scope, _, err := authz.Require(ctx, authz.VersionRead)
	if err != nil {
		return Version{}, nil, err
	}
	v, err := s.store.FindVersion(ctx, scope.ID, projectID, id)
	if err != nil {
		return Version{}, nil, err
	}
	list, err := s.store.ListVersionDeployments(ctx, id)
	if err != nil {
		return Version{}, nil, err
	}
	return v, list, s.addLiveness(ctx, list)
}

// addLiveness fills in the nodes' status.
func (s *Service) addLiveness(ctx context.Context, list []Deployment) error {
	if len(list) == 0 {
		return nil
	}
	ids := make([]uuid.UUID, len(list))
	for i, d := range list {
		ids[i] = d.Node.ID
	}
	live, err := s.liveness(ctx, ids)
	if err != nil {
		return err
	}
	for i := range list {
		list[i].NodeStatus = live[list[i].Node.ID].Status
	}
	return nil
}

// Create adds a version to a versioned project. It begins with a copy of the
// images and deployments of the project's default version (see inherited). The
// first version becomes the default one. Errors: NotFound;
// Invalid; Conflict on the name; Precondition for a versionless project.
func (s *Service) Create(ctx context.Context, projectID uuid.UUID, t Type, d Draft) (Version, error) {
	scope, who, err := authz.Require(ctx, authz.VersionCreate)
	if err != nil {
		return Version{}, err
	}
	if t != Rolling && t != Incremental {
		return Version{}, apperr.InvalidField("type", string(t), "must be %s or %s", Rolling, Incremental)
	}
	if d, err = d.normalize(); err != nil {
		return Version{}, err
	}
	v, err := s.draw(projectID, t, d, who.Ref())
	if err != nil {
		return Version{}, err
	}
	err = s.store.InTx(ctx, func(ctx context.Context) error {
		p, err := s.store.LockProject(ctx, scope.ID, projectID)
		if err != nil {
			return err
		}
		if p.Type == project.Versionless {
			return versionless("add a version to")
		}
		origin, err := s.store.FindDefaultVersion(ctx, projectID)
		v.Default = apperr.Is(err, apperr.NotFound)
		if err != nil && !v.Default {
			return err
		}
		if err := s.store.InsertVersion(ctx, v); err != nil {
			return err
		}
		if !v.Default {
			if err := s.store.CopyContent(ctx, origin, v, inherited()); err != nil {
				return err
			}
		}
		if err := s.audit.Record(ctx, authz.VersionCreate, map[string]any{"id": v.ID, "projectId": projectID, "name": v.Name, "type": t}); err != nil {
			return err
		}
		return s.tellCreated(ctx, v, p, who)
	})
	return v, err
}

// draw makes a version of a draft, which has nothing in it yet.
func (s *Service) draw(projectID uuid.UUID, t Type, d Draft, by string) (Version, error) {
	id, err := uuid.NewV7()
	at := s.now()
	return Version{
		ID: id, ProjectID: projectID, Name: d.Name, Changelog: d.Changelog, Facts: Facts{Type: t},
		CreatedAt: at, CreatedBy: by, UpdatedAt: at, UpdatedBy: by,
	}, err
}

// Update renames a version and replaces its changelog. Errors: NotFound;
// Invalid; Conflict on the name; Precondition for a version that is immutable
// or hidden.
func (s *Service) Update(ctx context.Context, projectID, id uuid.UUID, d Draft) error {
	scope, who, err := authz.Require(ctx, authz.VersionUpdate)
	if err != nil {
		return err
	}
	if d, err = d.normalize(); err != nil {
		return err
	}
	return s.store.InTx(ctx, func(ctx context.Context) error {
		v, err := s.store.LockVersion(ctx, scope.ID, projectID, id)
		if err != nil {
			return err
		}
		if err := revision.Check(ctx, v.UpdatedAt); err != nil {
			return err
		}
		if err := v.CheckMutable(); err != nil {
			return err
		}
		if v.Hidden {
			return versionless("change the version of")
		}
		v.Name, v.Changelog, v.UpdatedAt, v.UpdatedBy = d.Name, d.Changelog, revision.Next(v.UpdatedAt, s.now()), who.Ref()
		if err := s.store.UpdateVersion(ctx, v); err != nil {
			return err
		}
		return s.audit.Record(ctx, authz.VersionUpdate, map[string]any{"id": id, "name": v.Name})
	})
}

// SetDefault makes a version the default one of its project, in the place of
// the one that was. Errors: NotFound.
func (s *Service) SetDefault(ctx context.Context, projectID, id uuid.UUID) error {
	scope, who, err := authz.Require(ctx, authz.VersionUpdate)
	if err != nil {
		return err
	}
	return s.store.InTx(ctx, func(ctx context.Context) error {
		// The project's lock makes two that set a default take turns.
		if _, err := s.store.LockProject(ctx, scope.ID, projectID); err != nil {
			return err
		}
		v, err := s.store.FindVersion(ctx, scope.ID, projectID, id)
		if err != nil || v.Default {
			return err
		}
		if err := s.store.SetDefaultVersion(ctx, projectID, id, s.now(), who.Ref()); err != nil {
			return err
		}
		return s.audit.Record(ctx, authz.VersionUpdate, map[string]any{"id": id, "default": true})
	})
}

// Delete removes a version with its images and deployments. Errors: NotFound;
// Precondition for a version that is not deletable.
func (s *Service) Delete(ctx context.Context, projectID, id uuid.UUID) error {
	scope, _, err := authz.Require(ctx, authz.VersionDelete)
	if err != nil {
		return err
	}
	return s.store.InTx(ctx, func(ctx context.Context) error {
		v, err := s.store.LockVersion(ctx, scope.ID, projectID, id)
		if err != nil {
			return err
		}
		if err := revision.Check(ctx, v.UpdatedAt); err != nil {
			return err
		}
		if !v.State().Deletable {
			return apperr.New(apperr.Precondition, "the version can't be deleted: it is deployed, was deployed, "+
				"has a next version, or is all that a versionless project has").WithField("id", id)
		}
		if err := s.store.DeleteVersion(ctx, id); err != nil {
			return err
		}
		return s.audit.Record(ctx, authz.VersionDelete, map[string]any{"id": id})
	})
}

// CheckMutable returns a Precondition error for a version that must not be
// changed any more.
func (v Version) CheckMutable() error {
	if v.State().Mutable {
		return nil
	}
	return apperr.New(apperr.Precondition, "version %q is immutable: it was deployed or has a next version; make a new version to change it", v.Name).
		WithField("versionId", v.ID)
}

func versionless(doing string) error {
	return apperr.New(apperr.Precondition, "can't %s a versionless project; convert it first", doing)
}
