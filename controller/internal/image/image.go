// Package image is about the images of versions: what is run, from which
// registry, in which order and with which configuration.
package image

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/registry"
	"fairlead.dev/controller/internal/storage"
	"fairlead.dev/controller/internal/version"
	"fairlead.dev/shared/spec"
)

// Image is one container image of a version.
type Image struct {
	ID        uuid.UUID
	VersionID uuid.UUID
	// Registry has no more than id, name and type filled in.
	Registry registry.Registry
	// Name is the repository below the registry, e.g. "group/app".
	Name string
	// Tag is a tag, a digest ("sha256:…") or both ("1.2@sha256:…").
	Tag string
	// Position is its place in the order of start; the first has 1.
	Position  int
	Config    spec.Container
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Addition asks for images of one registry.
type Addition struct {
	RegistryID uuid.UUID
	// Images are names with tags or digests, as registry.ParseImage reads them.
	Images []string
}

// Change is what to change of an image.
type Change struct {
	// Tag replaces the tag; nil leaves it.
	Tag *string
	// Config edits a copy of the configuration; nil leaves it.
	Config func(*spec.Container)
}

// Store keeps images; it joins the transaction in ctx. The Find and Lock
// methods return NotFound errors.
type Store interface {
	storage.Holder
	InTx(ctx context.Context, fn func(ctx context.Context) error) error
	FindVersion(ctx context.Context, teamID, projectID, id uuid.UUID) (version.Version, error)
	// LockVersion is FindVersion that keeps others from changing the version
	// and its images until the transaction ends.
	LockVersion(ctx context.Context, teamID, projectID, id uuid.UUID) (version.Version, error)
	FindRegistry(ctx context.Context, teamID, id uuid.UUID) (registry.Registry, error)

	// ListImages returns a version's images in the order of start.
	ListImages(ctx context.Context, versionID uuid.UUID) ([]Image, error)
	FindImage(ctx context.Context, versionID, id uuid.UUID) (Image, error)
	// InsertImages adds images, and an instance of each to every deployment of
	// their version.
	InsertImages(ctx context.Context, list []Image) error
	// UpdateImage writes tag and configuration.
	UpdateImage(ctx context.Context, i Image) error
	// DeleteImage removes an image and its instances.
	DeleteImage(ctx context.Context, versionID, id uuid.UUID) error
	// OrderImages gives the images of a version their positions, from 1, and
	// those that move another revision.
	OrderImages(ctx context.Context, versionID uuid.UUID, ids []uuid.UUID, at time.Time) error
}

// Service manages images.
type Service struct {
	store Store
	audit *audit.Log
	now   func() time.Time
}

// New returns the service.
func New(store Store, log *audit.Log, now func() time.Time) *Service {
	return &Service{store: store, audit: log, now: now}
}

// defaultName makes a container name that is not taken yet from an image's:
// its last part, as a DNS label, with a number behind it where one is needed.
func defaultName(imageName string, taken []string) string {
	base := label(imageName[strings.LastIndex(imageName, "/")+1:])
	name := base
	for n := 2; slices.Contains(taken, name); n++ {
		suffix := "-" + strconv.Itoa(n)
		name = strings.TrimRight(base[:min(len(base), maxDefaultName-len(suffix))], "-") + suffix
	}
	return name
}

// maxDefaultName leaves room for a prefix: the two together are a DNS label.
const maxDefaultName = spec.MaxNameLength / 2

// label makes a DNS label of a text.
func label(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		default:
			return '-'
		}
	}, strings.ToLower(text))
	text = strings.Trim(text, "-")
	text = strings.TrimRight(text[:min(len(text), maxDefaultName)], "-")
	if text == "" {
		return "container"
	}
	return text
}

// names returns the container names of a list but those of one image.
func names(list []Image, except uuid.UUID) []string {
	var found []string
	for _, i := range list {
		if i.ID != except && i.Config.Name != nil {
			found = append(found, *i.Config.Name)
		}
	}
	return found
}
