// Package version is about the versions of projects: sets of images that are
// deployed together.
package version

import (
	"context"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/naming"
	"fairlead.dev/controller/internal/notification"
	"fairlead.dev/controller/internal/project"
)

// Type says how a version changes.
type Type string

// Types of versions.
const (
	// Rolling versions are edited in place.
	Rolling Type = "rolling"
	// Incremental versions are frozen by a deployment; a next one is made.
	Incremental Type = "incremental"
)

// Version is a set of images of a project.
type Version struct {
	ID        uuid.UUID
	ProjectID uuid.UUID
	// Parent is the version this one was increased from; the zero UUID for one
	// that was not.
	Parent    uuid.UUID
	Name      string
	Changelog string
	// Default: new versions of the project begin as a copy of this one.
	Default bool
	Facts
	CreatedAt time.Time
	CreatedBy string
	UpdatedAt time.Time
	UpdatedBy string
}

// Draft is what a caller may set of a version.
type Draft struct {
	Name      string
	Changelog string
}

// Deployment is what a version shows of one of its deployments.
type Deployment struct {
	ID         uuid.UUID
	Prefix     string
	State      deployment.State
	Note       string
	UpdatedAt  time.Time
	Node       deployment.Ref
	NodeStatus string
}

// Store keeps versions; it joins the transaction in ctx. The Find and Lock
// methods return NotFound errors; inserts and updates Conflicts on the name.
type Store interface {
	InTx(ctx context.Context, fn func(ctx context.Context) error) error
	FindProject(ctx context.Context, teamID, id uuid.UUID) (project.Project, error)
	LockProject(ctx context.Context, teamID, id uuid.UUID) (project.Project, error)
	// ReadProject returns a project and its versions, newest first, as of one
	// moment.
	ReadProject(ctx context.Context, teamID, id uuid.UUID) (project.Project, []Version, error)

	InsertVersion(ctx context.Context, v Version) error
	UpdateVersion(ctx context.Context, v Version) error
	// DeleteVersion returns a Precondition error on the id while a node is
	// asked to run any of it.
	DeleteVersion(ctx context.Context, id uuid.UUID) error
	FindVersion(ctx context.Context, teamID, projectID, id uuid.UUID) (Version, error)
	// LockVersion is FindVersion that keeps others from changing the version
	// and its images until the transaction ends.
	LockVersion(ctx context.Context, teamID, projectID, id uuid.UUID) (Version, error)
	// FindDefaultVersion returns the project's default version.
	FindDefaultVersion(ctx context.Context, projectID uuid.UUID) (Version, error)
	ListVersions(ctx context.Context, teamID, projectID uuid.UUID) ([]Version, error)
	// SetDefaultVersion makes one version of a project its only default.
	SetDefaultVersion(ctx context.Context, projectID, id uuid.UUID, at time.Time, by string) error
	// CopyContent gives a version without images those of another, with their
	// order and configuration, and of its deployments the newest of each place
	// (node and prefix) that is in one of the states, as ones in preparation:
	// environment, policy, note, instances and what these say of their own.
	CopyContent(ctx context.Context, from, to Version, states []deployment.State) error
	// ListVersionDeployments returns a version's deployments, newest first,
	// without their nodes' status.
	ListVersionDeployments(ctx context.Context, versionID uuid.UUID) ([]Deployment, error)
}

// Liveness returns what is known of the nodes' agents; a node may be missing
// from it.
type Liveness func(ctx context.Context, nodeIDs []uuid.UUID) (map[uuid.UUID]deployment.LivenessInfo, error)

// Service manages versions.
type Service struct {
	store    Store
	audit    *audit.Log
	liveness Liveness
	now      func() time.Time
	outbox   *notification.Outbox
}

// New returns the service.
func New(store Store, log *audit.Log, liveness Liveness, now func() time.Time) *Service {
	return &Service{store: store, audit: log, liveness: liveness, now: now}
}

// WithOutbox has an outbox told of new versions.
func (s *Service) WithOutbox(outbox *notification.Outbox) *Service {
	s.outbox = outbox
	return s
}

func (d Draft) normalize() (Draft, error) {
	var err error
	if d.Name, err = naming.Check(d.Name, 1); err != nil {
		return d, err
	}
	return d, project.CheckText("changelog", d.Changelog)
}
