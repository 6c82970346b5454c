package compose

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/image"
	"fairlead.dev/controller/internal/project"
	"fairlead.dev/controller/internal/registry"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// maxNamed bounds how many keys an error names.
const maxNamed = 5

// Reader reads Compose files. It reaches nothing but the text and the variables
// that it is given.
type Reader interface {
	// Read reads a file. Errors: Invalid, saying what is wrong where.
	Read(ctx context.Context, text string, variables map[string]string) (File, error)
}

// Store is the transaction that a project is made in.
type Store interface {
	InTx(ctx context.Context, fn func(ctx context.Context) error) error
}

// Audit is audit.Log.
type Audit interface {
	Record(ctx context.Context, event authz.Action, data map[string]any) error
}

// Registries, Projects, Versions and Images are the services that make what a
// file becomes; they check that the actor may.
type (
	// Registries is registry.Service.
	Registries interface {
		List(ctx context.Context) ([]registry.Registry, error)
	}
	// Projects is project.Service.
	Projects interface {
		Create(ctx context.Context, t project.Type, d project.Draft) (project.Project, error)
	}
	// Versions is version.Service.
	Versions interface {
		Begin(ctx context.Context, p project.Project) (uuid.UUID, error)
	}
	// Images is image.Service.
	Images interface {
		Add(ctx context.Context, projectID, versionID uuid.UUID, additions []image.Addition) ([]image.Image, error)
		Update(ctx context.Context, projectID, versionID, id uuid.UUID, c image.Change) error
	}
)

// Config is what a Service needs.
type Config struct {
	Reader     Reader
	Store      Store
	Audit      Audit
	Registries Registries
	Projects   Projects
	Versions   Versions
	Images     Images
}

// Service makes projects of Compose files.
type Service struct{ Config }

// New returns the service.
func New(c Config) *Service { return &Service{c} }

// Request is a file and how to read it.
type Request struct {
	Text      string
	Variables map[string]string
	// Profiles are those whose services are taken along.
	Profiles []string
	// Name of the project; empty for the file's.
	Name string
	Type project.Type
	// AcceptUnsupported makes the project without the keys that are not carried
	// over.
	AcceptUnsupported bool
}

// Made is a project that was made of a file.
type Made struct {
	Plan
	Project   project.Project
	VersionID uuid.UUID
}

// Plan says what a file would become in the actor's team, and makes nothing.
// Errors: Invalid.
func (s *Service) Plan(ctx context.Context, r Request) (Plan, error) {
	if _, _, err := authz.Require(ctx, authz.ComposeImport); err != nil {
		return Plan{}, err
	}
	f, err := s.Reader.Read(ctx, r.Text, r.Variables)
	if err != nil {
		return Plan{}, err
	}
	if r.Name != "" {
		f.Name = r.Name
	}
	if f.Name == "" {
		return Plan{}, apperr.InvalidField("name", "", "is missing: neither the request nor the file names the project")
	}
	plan, err := Convert(f, r.Profiles)
	if err != nil {
		return Plan{}, err
	}
	have, err := s.Registries.List(ctx)
	if err != nil {
		return Plan{}, err
	}
	plan.place(have)
	return plan, nil
}

// Import makes a project of a file, all of it or nothing: the project, its
// version (a versioned project gets an incremental one) and its images with
// their configuration. Errors: Invalid; Conflict on the project's name;
// Precondition when keys are not carried over that the request does not accept
// to lose, and when the team has no registry for an image.
func (s *Service) Import(ctx context.Context, r Request) (Made, error) {
	plan, err := s.Plan(ctx, r)
	if err != nil {
		return Made{}, err
	}
	if err := plan.acceptable(r.AcceptUnsupported); err != nil {
		return Made{}, err
	}
	made := Made{Plan: plan}
	err = s.Store.InTx(ctx, func(ctx context.Context) error {
		if made.Project, err = s.Projects.Create(ctx, r.Type, project.Draft{Name: plan.Name}); err != nil {
			return err
		}
		if made.VersionID, err = s.Versions.Begin(ctx, made.Project); err != nil {
			return err
		}
		made.Project.VersionCount = 1
		if err := s.images(ctx, plan.Images, made.Project.ID, made.VersionID); err != nil {
			return err
		}
		return s.Audit.Record(ctx, authz.ComposeImport, map[string]any{
			"id": made.Project.ID, "name": made.Project.Name, "images": len(plan.Images), "unsupported": len(plan.Unsupported),
		})
	})
	return made, err
}

// acceptable tells why a plan can't be carried out.
func (p *Plan) acceptable(acceptUnsupported bool) error {
	if len(p.Missing) > 0 {
		return apperr.New(apperr.Precondition, "the team has no registry for images from %s; add it first", list(p.Missing)).
			WithField("compose", p.Missing[0])
	}
	if len(p.Unsupported) > 0 && !acceptUnsupported {
		paths := make([]string, len(p.Unsupported))
		for i, f := range p.Unsupported {
			paths[i] = f.Path
		}
		return apperr.New(apperr.Precondition,
			"not everything in the file can be carried over: %s; look at it with dryRun, and send acceptUnsupported to go without", list(paths)).
			WithField("acceptUnsupported", false)
	}
	return nil
}

// list names the first entries, and how many more there are.
func list(names []string) string {
	var text string
	for i, name := range names {
		if i == maxNamed {
			return fmt.Sprintf("%s and %d more", text, len(names)-i)
		}
		if i > 0 {
			text += ", "
		}
		text += name
	}
	return text
}

// place finds the registries of the images: of those that an image is below,
// the one that says most of its name.
func (p *Plan) place(have []registry.Registry) {
	seen := map[string]bool{}
	for i := range p.Images {
		from, best := &p.Images[i], -1
		for _, r := range have {
			if below, ok := r.Details.Below(from.Reference); ok && (best < 0 || len(below) < best) {
				from.RegistryID, from.RegistryName, from.Below, best = r.ID, r.Name, below, len(below)
			}
		}
		if place := registry.PlaceOf(from.Reference); best < 0 && !seen[place] {
			seen[place] = true
			p.Missing = append(p.Missing, place)
		}
	}
}

func (s *Service) images(ctx context.Context, from []Image, projectID, versionID uuid.UUID) error {
	// One after the other: each has its name of the file before the next one is
	// given a name by default, so that no two are in each other's way.
	for _, f := range from {
		added, err := s.Images.Add(ctx, projectID, versionID, []image.Addition{{RegistryID: f.RegistryID, Images: []string{f.Below}}})
		if err != nil {
			return fmt.Errorf("add the image of the service %s: %w", f.Service, err)
		}
		change := image.Change{Config: func(c *spec.Container) { *c = f.Config }}
		if err := s.Images.Update(ctx, projectID, versionID, added[0].ID, change); err != nil {
			return fmt.Errorf("configure the image of the service %s: %w", f.Service, err)
		}
	}
	return nil
}
