// Package update is about replacing nodes' agents by another build: one node's,
// or a team's in waves.
package update

import (
	"context"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/command"
	"fairlead.dev/controller/internal/node"
)

// Build is a signed build of the agent that this controller serves.
type Build struct {
	Version string
	// Digest is "sha256:" and hex.
	Digest    string
	Size      int64
	Path      string
	Signature []byte
	// Keys are the release keys, oldest first.
	Keys []Key
}

// Key is a release key, and the signature of the one before it.
type Key struct{ Public, Signature []byte }

// Library holds the builds.
type Library interface {
	// Build returns the newest build of the agent of such nodes for an
	// architecture, in Go's words; false when there is none.
	Build(kind node.Type, architecture string) (Build, bool)
}

// Told is what an agent says of its last update.
type Told struct {
	ID    uuid.UUID
	Phase node.UpdatePhase
	Error string
}

// Store keeps updates and rollouts; it joins the transaction in ctx.
type Store interface {
	InTx(ctx context.Context, fn func(ctx context.Context) error) error
	FindNode(ctx context.Context, teamID, id uuid.UUID) (node.Node, error)
	ListNodes(ctx context.Context, teamID uuid.UUID) ([]node.Node, error)
	// NodeBusy tells whether a deployment is in progress on the node.
	NodeBusy(ctx context.Context, nodeID uuid.UUID) (bool, error)
	InsertCommand(ctx context.Context, c command.Command) error
	AppendNodeEvent(ctx context.Context, nodeID uuid.UUID, event string, data map[string]any, at time.Time) error

	// InsertUpdate enters an update; Conflict while the node has another that
	// is not finished.
	InsertUpdate(ctx context.Context, u node.Update) error
	// LockUpdate returns an update of the node and keeps it as it is until the
	// transaction ends; NotFound when there is none.
	LockUpdate(ctx context.Context, nodeID, id uuid.UUID) (node.Update, error)
	// LockRunningUpdate returns the node's update that is not finished.
	LockRunningUpdate(ctx context.Context, nodeID uuid.UUID) (node.Update, error)
	// SaveUpdate changes where an update stands. The end of one that is part of
	// a rollout is told to whoever takes rollouts on.
	SaveUpdate(ctx context.Context, u node.Update) error

	// InsertRollout enters a rollout with its nodes and tells whoever takes
	// rollouts on; Conflict while the team has another that is not finished.
	InsertRollout(ctx context.Context, r Rollout) error
	// FindRollout returns a rollout with its nodes and where they stand.
	FindRollout(ctx context.Context, teamID, id uuid.UUID) (Rollout, error)
	ListRollouts(ctx context.Context, teamID uuid.UUID, skip, take int) ([]Rollout, int, error)
	// LockRollout is FindRollout of any team, kept as it is until the
	// transaction ends.
	LockRollout(ctx context.Context, id uuid.UUID) (Rollout, error)
	// SaveRollout changes where a rollout stands, and tells whoever takes
	// rollouts on.
	SaveRollout(ctx context.Context, r Rollout) error
	// SkipNode leaves a node out, and tells whoever takes rollouts on.
	SkipNode(ctx context.Context, rolloutID, nodeID uuid.UUID, why string) error
	// ListRunningRollouts returns the ids of rollouts that are not finished.
	ListRunningRollouts(ctx context.Context) ([]uuid.UUID, error)
}

// Config is what a Service needs.
type Config struct {
	Store    Store
	Commands *command.Service
	Library  Library
	Audit    *audit.Log
	// Hints tell that there may be something to do for a rollout.
	Hints <-chan struct{}
	Now   func() time.Time
}

// Service updates agents.
type Service struct{ Config }

// New returns the service.
func New(c Config) *Service { return &Service{c} }
