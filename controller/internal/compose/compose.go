// Package compose is about what a Compose project becomes: a project with one
// version and an image for each service, configured as the service is. A key
// of a service is either carried over or named, with its path; none is passed
// over in silence.
package compose

import (
	"fmt"

	"github.com/google/uuid"

	"fairlead.dev/shared/spec"
)

// File is a Compose file that was read: its variables are filled in, services
// that extend others of the file are complete, and short forms of ports,
// volumes, networks and dependencies are written out as the Compose
// specification's long forms. Commands are lists of words.
type File struct {
	// Name of the project in the file; may be empty.
	Name string
	// Services in the order of the file.
	Services []Definition
	// Top holds everything else of the file by its key: networks, volumes, ...
	Top map[string]any
	// Unsupported is what the reader had to leave out, Notes what it has to
	// tell.
	Unsupported, Notes []Finding
}

// Definition is one service of a file.
type Definition struct {
	Name string
	Keys map[string]any
}

// Finding says something of one key of a file.
type Finding struct {
	// Path is a JSON pointer: /services/web/privileged.
	Path   string
	Reason string
}

// Plan is what a file becomes.
type Plan struct {
	// Name of the project.
	Name string
	// Images in the order of their start: a service after those it depends on.
	Images []Image
	// Unsupported are the keys that are not carried over, Notes what is carried
	// over and yet worth to know.
	Unsupported, Notes []Finding
	// Missing are the places of images that the team has no registry for, such
	// as ghcr.io/acme. It is empty until registries were looked for.
	Missing []string
}

// Image is what a service becomes.
type Image struct {
	Service string
	// Reference is complete: host, repository, and tag or digest.
	Reference string
	// RegistryID is the team's registry that the image comes from, nil when
	// there is none; Below is the image below it, with tag or digest.
	RegistryID   uuid.UUID
	RegistryName string
	Below        string
	Config       spec.Container
}

// report collects findings.
type report struct{ unsupported, notes []Finding }

func (r *report) refuse(path, format string, args ...any) {
	r.unsupported = append(r.unsupported, Finding{path, fmt.Sprintf(format, args...)})
}

func (r *report) note(path, format string, args ...any) {
	r.notes = append(r.notes, Finding{path, fmt.Sprintf(format, args...)})
}
