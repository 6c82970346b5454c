package template

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/image"
	"fairlead.dev/controller/internal/project"
	"fairlead.dev/controller/internal/registry"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// List returns all templates by id.
func (s *Service) List(ctx context.Context) ([]Template, error) {
	if _, err := authz.RequireSelf(ctx, authz.TemplateRead); err != nil {
		return nil, err
	}
	return s.Library.List(), nil
}

// Get returns one template. Errors: NotFound.
func (s *Service) Get(ctx context.Context, id string) (Template, error) {
	if _, err := authz.RequireSelf(ctx, authz.TemplateRead); err != nil {
		return Template{}, err
	}
	return s.find(id)
}

func (s *Service) find(id string) (Template, error) {
	t, ok := s.Library.Find(id)
	if !ok {
		return Template{}, apperr.New(apperr.NotFound, "no such template").WithField("id", id)
	}
	return t, nil
}

// Apply makes a project of a template in one of the actor's teams, all of it or nothing:
// the registries that are missing, the project, its first version (a versioned
// project gets an incremental one) and the images with their configuration.
// Errors: NotFound, for the team too; Invalid; Conflict on the project's name; Forbidden when a
// registry is missing and the actor may not add one.
func (s *Service) Apply(ctx context.Context, teamSlug, id string, typ project.Type, d project.Draft) (project.Project, error) {
	if _, err := authz.RequireSelf(ctx, authz.TemplateUse); err != nil {
		return project.Project{}, err
	}
	ctx, err := s.Teams.Enter(ctx, teamSlug)
	if err != nil {
		return project.Project{}, err
	}
	t, err := s.find(id)
	if err != nil {
		return project.Project{}, err
	}
	var made project.Project
	err = s.Store.InTx(ctx, func(ctx context.Context) error {
		registries, err := s.registries(ctx, t)
		if err != nil {
			return err
		}
		if made, err = s.Projects.Create(ctx, typ, d); err != nil {
			return err
		}
		versionID, err := s.Versions.Begin(ctx, made)
		if err != nil {
			return err
		}
		if made.Type == project.Versioned {
			made.VersionCount = 1
		}
		return s.images(ctx, t, registries, made.ID, versionID)
	})
	return made, err
}

// registries returns the ids of the template's registries by their name in it.
// One that is the same place as a registry of the team is that one, whatever
// its name: a name says nothing about where images come from.
func (s *Service) registries(ctx context.Context, t Template) (map[string]uuid.UUID, error) {
	have, err := s.Registries.List(ctx)
	if err != nil {
		return nil, err
	}
	ids := map[string]uuid.UUID{}
	for _, r := range t.Registries {
		same := slices.IndexFunc(have, func(h registry.Registry) bool { return h.Details.SamePlace(r.Details) })
		if same >= 0 {
			ids[r.Name] = have[same].ID
			continue
		}
		created, err := s.Registries.Create(ctx, registry.Write{Name: freeName(r.Name, have), Details: r.Details, Known: true})
		if apperr.Is(err, apperr.Forbidden) {
			return nil, apperr.Wrap(apperr.Forbidden, err,
				"the template needs the registry %q, which the team does not have; an admin or the owner has to use the template or add the registry", r.Name)
		}
		if err != nil {
			return nil, fmt.Errorf("add the registry %q: %w", r.Name, err)
		}
		have = append(have, created)
		ids[r.Name] = created.ID
	}
	return ids, nil
}

// freeName returns the name, with a number behind it when another registry has
// it.
func freeName(name string, have []registry.Registry) string {
	free := name
	for n := 2; slices.ContainsFunc(have, func(r registry.Registry) bool { return r.Name == free }); n++ {
		free = fmt.Sprintf("%s %d", name, n)
	}
	return free
}

func (s *Service) images(ctx context.Context, t Template, registries map[string]uuid.UUID, projectID, versionID uuid.UUID) error {
	additions := make([]image.Addition, len(t.Images))
	for i, from := range t.Images {
		additions[i] = image.Addition{RegistryID: registries[from.Registry], Images: []string{from.Reference}}
	}
	added, err := s.Images.Add(ctx, projectID, versionID, additions)
	if err != nil {
		return err
	}
	for i, a := range added {
		config := t.Images[i].Config
		err := s.Images.Update(ctx, projectID, versionID, a.ID, image.Change{Config: func(c *spec.Container) { *c = config }})
		if err != nil {
			return fmt.Errorf("configure %s: %w", t.Images[i].Reference, err)
		}
	}
	return nil
}
