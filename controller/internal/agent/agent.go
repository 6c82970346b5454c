// Package agent is about the processes that serve nodes: how they get an
// identity, keep it and lose it, and what they tell.
package agent

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/groupcommit"
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
	ReasonCloned       = "cloned"
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
	// SpoolID and FactSequence are the newest fact that is committed.
	SpoolID      string
	FactSequence uint64
	// SealingKey is what secrets for its node are sealed to.
	SealingKey string
	// Quarantine is why the agent is sent nothing until somebody readmits it;
	// "" when it is.
	Quarantine string
	// LastSeen is when its last session ended, or when it enrolled if there
	// was none; the moment of asking while a session is open.
	LastSeen time.Time
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
	// FindDeletion returns the record of an agent's node being deleted.
	FindDeletion(ctx context.Context, agentID uuid.UUID) (Deletion, error)
	// RevokeAgent revokes the node's agent, if it has one.
	RevokeAgent(ctx context.Context, nodeID uuid.UUID, at time.Time) (bool, error)
	// RenewAgent notes how long an agent's newest certificate lasts.
	RenewAgent(ctx context.Context, id uuid.UUID, notAfter time.Time) error
	// RecoverAgent counts a recovery, and puts the agent in quarantine if the
	// reason is not empty.
	RecoverAgent(ctx context.Context, id uuid.UUID, quarantine string, at time.Time) error

	// OpenSessions binds agents that are not revoked to the keys they came
	// with, raises their epochs, and writes the nodes' history, unless a
	// session of another boot is open on a live replica. No agent is twice in
	// the list.
	OpenSessions(ctx context.Context, list []Opening) ([]Opened, error)
	// CloseSessions marks agents disconnected whose epoch is still the given
	// one, writes the nodes' history, and tells which.
	CloseSessions(ctx context.Context, list []Closing) ([]bool, error)
	// ClaimSessions marks sessions open on a replica that hold.
	ClaimSessions(ctx context.Context, replicaID uuid.UUID, list []Session) error
	// NoteSilence keeps since when agents were not heard of.
	NoteSilence(ctx context.Context, list []Silence) error
	// FindHolder returns the open session of a node's agent.
	FindHolder(ctx context.Context, nodeID uuid.UUID) (Holder, error)
	// FlagClone keeps that a second process used an agent's identity, and
	// reports whether that was not known in the time since.
	FlagClone(ctx context.Context, id uuid.UUID, address string, at, since time.Time) (Cloned, bool, error)
	// PutRefusal keeps why an agent was turned away, unless one of its node
	// was kept since a moment. An agent that is not there is ignored.
	PutRefusal(ctx context.Context, r Refusal, since time.Time) error

	// ListStandings returns where agents stand; those that are not there are
	// missing.
	ListStandings(ctx context.Context, ids []uuid.UUID) ([]Standing, error)
	// ListChanges returns what changed since an earlier look; with a lease it
	// also prolongs that, unless it has run out, and removes replicas whose
	// lease has.
	ListChanges(ctx context.Context, since uint64, lease *Lease) (Changes, error)

	// PutReplica enters a replica with a lease, in the place of any other of
	// its name.
	PutReplica(ctx context.Context, r Replica, lease time.Duration) error
	DeleteReplica(ctx context.Context, id uuid.UUID) error
	// CloseOrphans closes the sessions of replicas that are not there, and
	// returns how many.
	CloseOrphans(ctx context.Context, at, expectedUntil time.Time) (int, error)

	// LockEpoch keeps an agent's epoch as it is until the transaction ends,
	// and reports false when the epoch is not the agent's any more or it was
	// revoked.
	LockEpoch(ctx context.Context, id uuid.UUID, epoch int64) (bool, error)
	// KeepSealingKey notes what secrets for the agent's node are sealed to.
	KeepSealingKey(ctx context.Context, id uuid.UUID, epoch int64, key string) (bool, error)

	AppendNodeEvent(ctx context.Context, nodeID uuid.UUID, event string, data map[string]any, at time.Time) error
}

// Authority signs agents' certificates.
type Authority interface {
	Agent(agentID string, key *ecdsa.PublicKey, notBefore, notAfter time.Time) ([][]byte, error)
}

// Config is what a Service needs.
type Config struct {
	Store     Store
	Authority Authority
	Audit     *audit.Log
	Now       func() time.Time
	// Replica is this process.
	Replica Replica
	// ReadmitWithin is how long an agent may have been away to be readmitted
	// by itself when it recovers; 0 for DefaultReadmitWithin.
	ReadmitWithin time.Duration
}

// Service enrols agents and takes what they tell.
type Service struct {
	Config

	opening *groupcommit.Group[Opening, Opened]
	closing *groupcommit.Group[Closing, bool]
}

// New returns the service.
func New(c Config) *Service {
	c.ReadmitWithin = cmp.Or(c.ReadmitWithin, DefaultReadmitWithin)
	s := &Service{Config: c}
	s.group()
	return s
}
