// Package node is about deployment targets: what they are, how they are
// installed, and what was last seen of them.
package node

import (
	"context"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/naming"
	"fairlead.dev/controller/internal/notification"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

// Type is what kind of engine a node has.
type Type string

// Types of nodes.
const (
	Docker     Type = "docker"
	Kubernetes Type = "k8s"
)

const (
	maxDescriptionLength = 4000
	maxIconLength        = 100
)

// Node is a deployment target.
type Node struct {
	ID          uuid.UUID
	TeamID      uuid.UUID
	Name        string
	Description string
	Icon        string
	Type        Type
	CreatedAt   time.Time
	CreatedBy   string
	UpdatedAt   time.Time
	UpdatedBy   string
	// Agent is what is known of the agent that serves the node; its ID is the
	// zero UUID when there is none.
	Agent Agent
	// InUse tells that deployments are placed on the node. Lists tell neither
	// this nor the installation nor the last refusal.
	InUse bool
	// Installation is the live install script's; zero when there is none.
	Installation Installation
	// Update is the last replacement of the node's agent; the zero value when
	// there was none.
	Update Update
	// LastRefusal is why an agent of the node was last turned away.
	LastRefusal Refusal
}

// Refusal is why an agent was turned away; the zero value when none was.
type Refusal struct {
	Reason  string
	Message string
	Address string
	At      time.Time
}

// Agent is the part of an agent that shows on its node.
type Agent struct {
	ID            uuid.UUID
	Version       string
	Address       string
	EngineName    string
	EngineVersion string
	// Capabilities are what the agent announced that it can.
	Capabilities []string
	// Architecture is the engine's, in Go's words.
	Architecture   string
	Connected      bool
	ConnectedAt    time.Time
	DisconnectedAt time.Time
	SaidGoodbye    bool
	// SilentSince is when the agent of an open session was last heard of, once
	// it is overdue.
	SilentSince time.Time
	// ExpectedUntil is until when an agent whose session ended is expected
	// right back.
	ExpectedUntil time.Time
	// Quarantine is why the agent is sent nothing until somebody readmits it;
	// "" when it is.
	Quarantine   string
	QuarantineAt time.Time
	// Recoveries counts how often it came back after its certificate had
	// expired, the last time at RecoveredAt.
	Recoveries  int64
	RecoveredAt time.Time
	// ClonedAt is when a second process last used the agent's identity while
	// the first was connected, from ClonedAddress.
	ClonedAt      time.Time
	ClonedAddress string
	// Refusal is why the agent did not take its last assignments; "" if it did.
	Refusal   string
	RefusedAt time.Time
	// Diverged is why the agent is sent nothing: it holds assignments that this
	// controller has never wanted. "" when it is.
	Diverged   string
	DivergedAt time.Time
	// EngineError is why the node's engine does not answer; "" when it does.
	EngineError   string
	EngineErrorAt time.Time
}

// Event is one row of a node's own history.
type Event struct {
	Event string
	// Data is JSON.
	Data string
	At   time.Time
}

// EventQuery chooses a page of a node's history.
type EventQuery struct {
	From, To   time.Time
	Skip, Take int
	// Event is what happened, e.g. "connected"; "" is anything.
	Event string
	// User is the name of who did it; "" is anybody, or nobody.
	User string
	// Filter is a part of the event or of what is told of it, in any case.
	Filter string
}

// Store keeps nodes; it joins the transaction in ctx. FindNode returns NotFound
// for a node of another team.
type Store interface {
	InTx(ctx context.Context, fn func(ctx context.Context) error) error
	InsertNode(ctx context.Context, n Node) error
	FindNode(ctx context.Context, teamID, id uuid.UUID) (Node, error)
	// LockTarget keeps a node from changing until the transaction ends. It
	// returns NotFound errors.
	LockTarget(ctx context.Context, id uuid.UUID) error
	ListNodes(ctx context.Context, teamID uuid.UUID) ([]Node, error)
	UpdateNode(ctx context.Context, n Node) error
	SetNodeType(ctx context.Context, id uuid.UUID, t Type) error
	DeleteNode(ctx context.Context, id uuid.UUID) error
	// DismissAgent revokes the agent of a node that is about to be deleted, and
	// keeps on record that this is why, and whether the agent is to remove its
	// containers.
	DismissAgent(ctx context.Context, nodeID uuid.UUID, removeContainers bool, at time.Time) error

	// ReplaceInstallation puts a new installation in the place of the node's
	// unused one, if any.
	ReplaceInstallation(ctx context.Context, i Installation) error
	// FindInstallationScript returns the sealed script of the node's
	// installation that is neither used nor expired at now.
	FindInstallationScript(ctx context.Context, teamSlug string, nodeID uuid.UUID, now time.Time) ([]byte, error)
	// DeleteInstallation reports whether there was an unused one.
	DeleteInstallation(ctx context.Context, nodeID uuid.UUID) (bool, error)
	// RevokeAgent revokes the node's agent and reports whether there was one;
	// open sessions of it are told through NOTIFY.
	RevokeAgent(ctx context.Context, nodeID uuid.UUID, at time.Time) (bool, error)
	// ReadmitAgent ends the quarantine of the node's agent and reports whether
	// it was in one; its open session is told through NOTIFY.
	ReadmitAgent(ctx context.Context, nodeID uuid.UUID) (bool, error)

	// ReadContainers returns what was last seen on a node of the team, by prefix
	// and name; of one prefix unless that is nil. It returns NotFound errors.
	ReadContainers(ctx context.Context, teamID, nodeID uuid.UUID, prefix *string) ([]workload.Container, error)
	// MarkOfContainers returns a text that changes whenever what agents reported
	// of a node's containers does; "" while nothing was.
	MarkOfContainers(ctx context.Context, teamID, nodeID uuid.UUID) (string, error)
	AppendNodeEvent(ctx context.Context, nodeID uuid.UUID, event string, data map[string]any, at time.Time) error
	ListNodeEvents(ctx context.Context, nodeID uuid.UUID, q EventQuery) ([]Event, int, error)
}

// Config is what a Service needs.
type Config struct {
	Store    Store
	Audit    *audit.Log
	Sealer   Sealer
	Renderer Renderer
	Now      func() time.Time
	// Outbox is told of new nodes; nil for nobody.
	Outbox *notification.Outbox
	// TokenLifetime is how long an install script can be used.
	TokenLifetime time.Duration
}

// Service manages nodes.
type Service struct{ Config }

// New returns the service.
func New(c Config) *Service { return &Service{c} }

func (n *Node) validate() error {
	var err error
	if n.Name, err = naming.Check(n.Name, 1); err != nil {
		return err
	}
	switch {
	case len(n.Description) > maxDescriptionLength:
		return apperr.InvalidField("description", nil, "must be at most %d bytes", maxDescriptionLength)
	case len(n.Icon) > maxIconLength:
		return apperr.InvalidField("icon", nil, "must be at most %d bytes", maxIconLength)
	}
	return nil
}
