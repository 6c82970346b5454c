package project

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/revision"
	"fairlead.dev/shared/apperr"
)

// List returns the team's projects by name.
func (s *Service) List(ctx context.Context) ([]Project, error) {
	scope, _, err := authz.Require(ctx, authz.ProjectRead)
	if err != nil {
		return nil, err
	}
	return s.store.ListProjects(ctx, scope.ID)
}

// Create adds a project; a versionless one gets its hidden version, with the
// draft's changelog. A versioned one has no changelog, the draft's is passed
// over. Errors: Invalid, Conflict on the name.
func (s *Service) Create(ctx context.Context, t Type, d Draft) (Project, error) {
	scope, who, err := authz.Require(ctx, authz.ProjectCreate)
	if err != nil {
		return Project{}, err
	}
	if t != Versionless && t != Versioned {
		return Project{}, apperr.InvalidField("type", string(t), "must be %s or %s", Versionless, Versioned)
	}
	if d, err = d.normalize(); err != nil {
		return Project{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Project{}, err
	}
	versionID, err := uuid.NewV7()
	if err != nil {
		return Project{}, err
	}
	changelog := ""
	if d.Changelog != nil {
		changelog = *d.Changelog
	}
	at := s.now()
	p := Project{
		ID: id, TeamID: scope.ID, Name: d.Name, Description: d.Description, Type: t, Deletable: true,
		CreatedAt: at, CreatedBy: who.Ref(), UpdatedAt: at, UpdatedBy: who.Ref(),
	}
	err = s.store.InTx(ctx, func(ctx context.Context) error {
		if err := s.store.InsertProject(ctx, p); err != nil {
			return err
		}
		if t == Versionless {
			if err := s.store.InsertHiddenVersion(ctx, p, versionID, changelog); err != nil {
				return err
			}
		}
		return s.audit.Record(ctx, authz.ProjectCreate, map[string]any{"id": id, "name": p.Name, "type": t})
	})
	if t == Versionless {
		p.VersionCount = 1
	}
	return p, err
}

// Update replaces what a project says. Errors: NotFound; Invalid; Conflict on
// the name; Precondition on the changelog of a versioned project.
func (s *Service) Update(ctx context.Context, id uuid.UUID, d Draft) error {
	scope, who, err := authz.Require(ctx, authz.ProjectUpdate)
	if err != nil {
		return err
	}
	if d, err = d.normalize(); err != nil {
		return err
	}
	return s.store.InTx(ctx, func(ctx context.Context) error {
		p, err := s.store.LockProject(ctx, scope.ID, id)
		if err != nil {
			return err
		}
		if err := revision.Check(ctx, p.UpdatedAt); err != nil {
			return err
		}
		p.Name, p.Description, p.UpdatedAt, p.UpdatedBy = d.Name, d.Description, revision.Next(p.UpdatedAt, s.now()), who.Ref()
		if err := s.writeChangelog(ctx, p, d.Changelog); err != nil {
			return err
		}
		if err := s.store.UpdateProject(ctx, p); err != nil {
			return err
		}
		return s.audit.Record(ctx, authz.ProjectUpdate, map[string]any{"id": id, "name": p.Name})
	})
}

func (s *Service) writeChangelog(ctx context.Context, p Project, changelog *string) error {
	switch {
	case changelog == nil:
		return nil
	case p.Type == Versionless:
		return s.store.UpdateHiddenChangelog(ctx, p, *changelog)
	case *changelog == "": // as forms send what is not there
		return nil
	default:
		return apperr.New(apperr.Precondition, "the changelog of a versioned project is in its versions").
			WithField("changelog", nil)
	}
}

// Convert makes a versionless project a versioned one; its hidden version
// becomes a rolling one like others. It does nothing to a versioned project.
// There is no way back. Errors: NotFound.
func (s *Service) Convert(ctx context.Context, id uuid.UUID) error {
	scope, who, err := authz.Require(ctx, authz.ProjectUpdate)
	if err != nil {
		return err
	}
	return s.store.InTx(ctx, func(ctx context.Context) error {
		p, err := s.store.LockProject(ctx, scope.ID, id)
		if err != nil || p.Type == Versioned {
			return err
		}
		p.Type, p.UpdatedAt, p.UpdatedBy = Versioned, revision.Next(p.UpdatedAt, s.now()), who.Ref()
		if err := s.store.UpdateProject(ctx, p); err != nil {
			return err
		}
		return s.audit.Record(ctx, authz.ProjectUpdate, map[string]any{"id": id, "type": p.Type})
	})
}

// Delete removes a project with its versions, images and deployments. Errors:
// NotFound; Precondition on the id while a node is asked to run any of it.
func (s *Service) Delete(ctx context.Context, id uuid.UUID) error {
	scope, _, err := authz.Require(ctx, authz.ProjectDelete)
	if err != nil {
		return err
	}
	return s.store.InTx(ctx, func(ctx context.Context) error {
		p, err := s.store.LockProject(ctx, scope.ID, id)
		if err != nil {
			return err
		}
		if err := revision.Check(ctx, p.UpdatedAt); err != nil {
			return err
		}
		if err := s.store.DeleteProject(ctx, scope.ID, id); err != nil {
			return err
		}
		return s.audit.Record(ctx, authz.ProjectDelete, map[string]any{"id": id})
	})
}
