// Package agent is about the processes that serve nodes: how they get an
// identity, keep it and lose it, and what they tell.
package agent

import (
	"context"
	"crypto/ecdsa"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/workload"
)

// CertificateLifetime is how long an agent's certificate lasts; the agent
// renews it at half of that.
const CertificateLifetime = 24 * time.Hour

// skew is how far certificates are dated back, for another controller whose
// clock is behind.
const skew = 5 * time.Minute

// Reasons that errors of this package carry, for agents to act on.
const (
	ReasonTokenUnknown = "token-unknown"
	ReasonTokenUsed    = "token-used"
	ReasonTokenExpired = "token-expired"
	ReasonRevoked      = "revoked"
	ReasonReplaced     = "replaced"
)

// Agent is one identity that served or serves a node.
type Agent struct {
	ID     uuid.UUID
	NodeID uuid.UUID
	// KeyHash is of the key that the agent enrolled or last opened a session
	// with: a renewed key counts once it was used.
	KeyHash []byte
	// RevokedAt is the zero time while the identity is good.
	RevokedAt time.Time
	// Epoch is the fencing token: only the session that holds it may write.
	Epoch          int64
	BootID         string
	StatusSequence uint64
	// SealingKey is what secrets for its node are sealed to.
	SealingKey string
}

// Info is what an agent says of itself; nothing is decided by it.
type Info struct {
	Version       string
	NodeType      string
	EngineName    string
	EngineVersion string
	OS            string
	Architecture  string
	Hostname      string
	// Address is where its connection comes from, as the listener saw it.
	Address string
}

// Installation is a one-time token as enrolment sees it.
type Installation struct {
	ID        uuid.UUID
	NodeID    uuid.UUID
	NodeName  string
	NodeType  string
	TeamID    uuid.UUID
	ExpiresAt time.Time
	Consumed  bool
	// AgentID is who consumed it.
	AgentID uuid.UUID
}

// Store keeps agents; it joins the transaction in ctx. The Find methods return
// NotFound errors.
type Store interface {
	InTx(ctx context.Context, fn func(ctx context.Context) error) error
	// FindInstallation finds a token by its hash and locks it until the
	// transaction ends.
	FindInstallation(ctx context.Context, tokenHash []byte) (Installation, error)
	// ConsumeInstallation marks a token used by an agent and wipes its
	// script, unless it was used or has expired; it reports whether it did.
	ConsumeInstallation(ctx context.Context, id, agentID uuid.UUID, now time.Time) (bool, error)

	InsertAgent(ctx context.Context, a Agent, info Info, certificateNotAfter, at time.Time) error
	FindAgent(ctx context.Context, id uuid.UUID) (Agent, error)
	// NodeGeneration returns the generation of what the agent's node should
	// run.
	NodeGeneration(ctx context.Context, nodeID uuid.UUID) (uint64, error)
	// RevokeAgent revokes the node's agent, if it has one.
	RevokeAgent(ctx context.Context, nodeID uuid.UUID, at time.Time) (bool, error)
	// RenewAgent notes how long an agent's newest certificate lasts.
	RenewAgent(ctx context.Context, id uuid.UUID, notAfter time.Time) error
	// OpenSession binds an agent that is not revoked to the key it came with,
	// raises its epoch, and returns what it then is; NotFound for a revoked
	// one.
	OpenSession(ctx context.Context, id uuid.UUID, keyHash []byte, bootID string, info Info, at time.Time) (Agent, error)
	// The methods below write nothing and report false when the epoch is not
	// the agent's any more.
	CloseSession(ctx context.Context, id uuid.UUID, epoch int64, goodbye bool, at time.Time) (bool, error)
	AcknowledgeSet(ctx context.Context, id uuid.UUID, epoch int64, generation uint64, setHash, refusal string) (bool, error)
	// AdvanceStatus moves the status sequence on; it reports false when it is
	// there already.
	AdvanceStatus(ctx context.Context, id uuid.UUID, epoch int64, sequence uint64) (bool, error)
	// CloseAllSessions marks every agent disconnected, at the controller's
	// start: whoever is there will say so.
	CloseAllSessions(ctx context.Context, at time.Time) error

	// KeepSealingKey notes what secrets for the agent's node are sealed to.
	KeepSealingKey(ctx context.Context, id uuid.UUID, epoch int64, key string) (bool, error)

	ReplaceContainers(ctx context.Context, nodeID uuid.UUID, list []workload.Container, at time.Time) error
	AppendNodeEvent(ctx context.Context, nodeID uuid.UUID, event string, data map[string]any, at time.Time) error
}

// Progress takes what agents tell of deployments; it is called in the
// transaction of the report.
type Progress interface {
	RecordProgress(ctx context.Context, nodeID uuid.UUID, statuses []deployment.Status, events []deployment.Event) error
}

// Authority signs agents' certificates.
type Authority interface {
	Agent(agentID string, key *ecdsa.PublicKey, notBefore, notAfter time.Time) ([][]byte, error)
}

// Config is what a Service needs.
type Config struct {
	Store     Store
	Progress  Progress
	Authority Authority
	Now       func() time.Time
}

// Service enrols agents and takes what they tell.
type Service struct{ Config }

// New returns the service.
func New(c Config) *Service { return &Service{c} }
