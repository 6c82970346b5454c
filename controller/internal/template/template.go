// Package template is about applications that are ready to be made a project:
// their images, how they fit together, and what a person still has to enter.
package template

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/image"
	"fairlead.dev/controller/internal/project"
	"fairlead.dev/controller/internal/registry"
	"fairlead.dev/shared/spec"
)

// Template is one application.
type Template struct {
	// ID is the name of its file, e.g. "gitea".
	ID   string
	Name string
	// Description says what has to be entered before the first start.
	Description  string
	Technologies []string
	Registries   []Registry
	// Images are in the order of start.
	Images []Image
	// Icon is an SVG picture.
	Icon []byte
}

// Registry is where some of a template's images come from.
type Registry struct {
	Name    string
	Details registry.Details
}

// Image is one image of a template.
type Image struct {
	// Registry is the name of one of the template's registries.
	Registry string
	// Reference is the image below the registry, with its tag.
	Reference string
	Config    spec.Container
}

// Library holds the templates there are.
type Library interface {
	// List returns all templates by id.
	List() []Template
	// Find returns one template; ok is false when there is none of that id.
	Find(id string) (t Template, ok bool)
}

// Store is the transaction that a project is made in.
type Store interface {
	InTx(ctx context.Context, fn func(ctx context.Context) error) error
}

// Teams, Registries, Projects, Versions and Images are the services that make what a
// template describes; they check that the actor may.
type (
	// Teams is team.Service.
	Teams interface {
		Enter(ctx context.Context, slug string) (context.Context, error)
	}
	// Registries is registry.Service.
	Registries interface {
		List(ctx context.Context) ([]registry.Registry, error)
		Create(ctx context.Context, w registry.Write) (registry.Registry, error)
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
	Library    Library
	Store      Store
	Teams      Teams
	Registries Registries
	Projects   Projects
	Versions   Versions
	Images     Images
}

// Service shows templates and makes projects of them.
type Service struct{ Config }

// New returns the service.
func New(c Config) *Service { return &Service{c} }
