package deployment

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/misuse"
	"fairlead.dev/controller/internal/notification"
	"fairlead.dev/controller/internal/storage"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Store keeps deployments; it joins the transaction in ctx. The Find and Lock
// methods return NotFound errors, with a team for rows of another team too.
type Store interface {
	storage.Holder
	InTx(ctx context.Context, fn func(ctx context.Context) error) error

	// FindTarget returns the team's node, LockTarget locks a node until the
	// transaction ends.
	FindTarget(ctx context.Context, teamID, nodeID uuid.UUID) (Ref, error)
	LockTarget(ctx context.Context, nodeID uuid.UUID) error
	// LockTargets locks nodes, in the order of their ids.
	LockTargets(ctx context.Context, nodeIDs []uuid.UUID) error
	// LockSource returns the team's version and keeps it and its images as
	// they are until the transaction ends.
	LockSource(ctx context.Context, teamID, versionID uuid.UUID) (Source, error)
	// ListDescendants returns the versions that came after a version.
	ListDescendants(ctx context.Context, versionID uuid.UUID) ([]uuid.UUID, error)

	// InsertDeployment adds a deployment with an instance for each image.
	InsertDeployment(ctx context.Context, d Deployment, imageIDs []uuid.UUID) error
	UpdateDeployment(ctx context.Context, d Deployment) error
	SetDeploymentStates(ctx context.Context, list []StateChange, at time.Time) error
	// DeleteDeployment removes a deployment, its instances, releases and log.
	DeleteDeployment(ctx context.Context, id uuid.UUID) error
	FindDeployment(ctx context.Context, teamID, id uuid.UUID) (Deployment, error)
	// ReadDeployment is FindDeployment with all that is shown of it but what it
	// waits for, as of one moment.
	ReadDeployment(ctx context.Context, teamID, id uuid.UUID) (Detail, error)
	LockDeployment(ctx context.Context, id uuid.UUID) (Deployment, error)
	ListDeployments(ctx context.Context, teamID uuid.UUID) ([]Deployment, error)
	// ListPlaced returns the deployments on a node under a prefix.
	ListPlaced(ctx context.Context, nodeID uuid.UUID, prefix string) ([]Deployment, error)

	// ListInstances returns a deployment's instances in the order of start.
	ListInstances(ctx context.Context, deploymentID uuid.UUID) ([]Instance, error)
	FindInstance(ctx context.Context, deploymentID, id uuid.UUID) (Instance, error)
	UpdateInstance(ctx context.Context, id uuid.UUID, config spec.Container, at time.Time) error

	InsertRelease(ctx context.Context, r Release) error
	// SetOutcome notes how a release that has no outcome yet ended.
	SetOutcome(ctx context.Context, id uuid.UUID, e Ending) error
	// FindRelease returns a release without its spec.
	FindRelease(ctx context.Context, id uuid.UUID) (Release, error)
	FindReleaseByNumber(ctx context.Context, deploymentID uuid.UUID, number int64) (Release, error)
	// ReadRelease returns a release with its spec.
	ReadRelease(ctx context.Context, deploymentID uuid.UUID, number int64) (Release, error)
	// ListHeldReleases returns a deployment's releases that are held, with
	// their specs.
	ListHeldReleases(ctx context.Context, deploymentID uuid.UUID) ([]Release, error)
	// KeepPlan keeps a plan of a deployment, and drops its oldest ones; FindPlan
	// returns one by its hash.
	KeepPlan(ctx context.Context, deploymentID uuid.UUID, p Plan) error
	FindPlan(ctx context.Context, deploymentID uuid.UUID, hash string) (Plan, error)
	// PutHold holds a release, also one that is held already; DropHold ends
	// that, and is NotFound when it is not held.
	PutHold(ctx context.Context, releaseID uuid.UUID, h Hold) error
	DropHold(ctx context.Context, releaseID uuid.UUID) error
	// FindLatestRelease returns a deployment's newest release of an outcome.
	FindLatestRelease(ctx context.Context, deploymentID uuid.UUID, o Outcome) (Release, error)
	// ListReleases returns the newest releases, newest first, without specs.
	ListReleases(ctx context.Context, deploymentID uuid.UUID, limit int) ([]Release, error)

	// RaiseGeneration returns the node's next generation, and tells whoever
	// feeds the node's agent once the transaction is committed.
	RaiseGeneration(ctx context.Context, nodeID uuid.UUID) (uint64, error)
	PutAssignment(ctx context.Context, nodeID uuid.UUID, a Assignment, at time.Time) error
	// ForgetAssignment takes a prefix out of a node's set at a generation. That
	// it was there is kept until the node's agent holds a set without it.
	ForgetAssignment(ctx context.Context, nodeID uuid.UUID, prefix string, generation uint64) error
	// LeaveAssignment is ForgetAssignment of a prefix whose containers stay,
	// which the agent takes only with the next whole set.
	LeaveAssignment(ctx context.Context, nodeID uuid.UUID, prefix string, generation uint64) error
	// FindAssignment returns a prefix's assignment, FindAssignmentOf that of a
	// deployment, without what is to run; each deployment has at most one.
	FindAssignment(ctx context.Context, nodeID uuid.UUID, prefix string) (Assignment, error)
	FindAssignmentOf(ctx context.Context, nodeID, deploymentID uuid.UUID) (Assignment, error)
	// ReadSet returns a node's assignments as they are at one moment.
	ReadSet(ctx context.Context, nodeID uuid.UUID) (Set, error)
	// ReadStandings returns how agents stand, by agent, with what has to be
	// sent to them; agents and nodes that are not there are missing.
	ReadStandings(ctx context.Context, asks []Ask) (map[uuid.UUID]StandingRow, error)
	// SetDiverged notes why an agent is sent nothing, or with "" that it is
	// again; it reports false when the epoch is not the agent's any more.
	SetDiverged(ctx context.Context, agentID uuid.UUID, epoch int64, held Held, why string, at time.Time) (bool, error)
	// SetApplied notes which set the agent of a session holds.
	SetApplied(ctx context.Context, agentID uuid.UUID, epoch int64, held Held) error
	// FindNodeTeam returns a node's team and name.
	FindNodeTeam(ctx context.Context, nodeID uuid.UUID) (teamID uuid.UUID, name string, err error)
	// FindDivergence returns what is known of the agent of a node; NotFound when
	// it has none.
	FindDivergence(ctx context.Context, nodeID uuid.UUID) (Divergence, error)
	// AdoptSet raises the generation of a node and of all its assignments above
	// what its agent holds, lets the agent's lineage be replaced, and tells
	// whoever feeds the agent. It returns the generation.
	AdoptSet(ctx context.Context, nodeID uuid.UUID, d Divergence, confirmRemoval bool) (uint64, error)
	AppendNodeEvent(ctx context.Context, nodeID uuid.UUID, event string, data map[string]any, at time.Time) error
	// MeasureSet returns how many assignments a node has and about how many
	// bytes they take together.
	MeasureSet(ctx context.Context, nodeID uuid.UUID) (count, bytes int64, err error)

	AppendLog(ctx context.Context, entries []LogEntry) error
	// TrimLogs keeps each deployment's newest entries.
	TrimLogs(ctx context.Context, deploymentIDs []uuid.UUID, keep int) error
	// ListLogAfter returns the entries after a number, in ascending order.
	ListLogAfter(ctx context.Context, deploymentID uuid.UUID, number int64, limit int) ([]LogEntry, error)
	// FirstOfRelease returns the number before a release's first entry; 0 when
	// it has none.
	FirstOfRelease(ctx context.Context, deploymentID uuid.UUID, release int64) (int64, error)
	ListLog(ctx context.Context, deploymentID uuid.UUID, q LogQuery) ([]LogEntry, int, error)
	// KeepPlaced returns those of the places where there is such a deployment,
	// and keeps them until the transaction ends.
	KeepPlaced(ctx context.Context, places []Place) (map[Place]bool, error)
	// BeginReleases makes the pending releases of assignments that are still of
	// the generation ones in progress.
	BeginReleases(ctx context.Context, list []Begun, at time.Time) error
	// SucceedReleases makes the releases of assignments that are still of the
	// generation successful, unless they have another outcome. It locks their
	// deployments and returns them, without environment and policy.
	SucceedReleases(ctx context.Context, list []Succeeded, at time.Time) ([]Deployment, error)
	// ListBeside returns, for each of the deployments, the others on its node
	// under its prefix, as SucceedReleases does.
	ListBeside(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID][]Deployment, error)
	// ListForeign returns those of the places whose deployment is on another
	// node.
	ListForeign(ctx context.Context, places []Place) ([]Place, error)
	// ListStages returns how far the assignments of deployments are; those
	// without one are missing.
	ListStages(ctx context.Context, places []Place) (map[Place]Stage, error)
	// NodeCapabilities returns what a node's agent announced that it can;
	// NotFound when it has none.
	NodeCapabilities(ctx context.Context, nodeID uuid.UUID) ([]string, error)
	// NodeSealingKey returns what secrets for a node are sealed to; "" while
	// its agent has not told.
	NodeSealingKey(ctx context.Context, nodeID uuid.UUID) (string, error)
}

// Sealer makes values readable for one node only.
type Sealer interface {
	// Seal seals a value to a public key; Invalid when it is too long.
	Seal(publicKey, value string) (string, error)
	// Check returns an Invalid error for what is no sealed value.
	Check(sealed string) error
}

// LivenessInfo says how much of a node's agent can be seen.
type LivenessInfo struct {
	// Status is "connected", or another word when it can't be reached.
	Status string
	// Since is when that began; the zero time when it was never there.
	Since time.Time
}

// Config is what a Service needs.
type Config struct {
	Store  Store
	Audit  *audit.Log
	Logger *slog.Logger
	// Outbox is told of new deployments and how releases end; nil for nobody.
	Outbox *notification.Outbox
	// Misuse is told of agents that speak of other nodes' deployments; nil for
	// nobody.
	Misuse *misuse.Log
	Now    func() time.Time

	// Watch hints whenever a deployment may have changed, until stop is called.
	Watch func(deploymentID uuid.UUID) (hints <-chan struct{}, stop func())
	// Reference returns the complete reference of an image of a registry:
	// host, repository and tag or digest.
	Reference func(ctx context.Context, registryID uuid.UUID, name, tag string) (string, error)
	// Credentials returns what a node needs to log in to a registry; nil when
	// it takes no log-in, NotFound when the registry is gone. The actor is not
	// asked: agents have none.
	Credentials func(ctx context.Context, registryID uuid.UUID) (*spec.RegistryAuth, error)
	// Planner asks nodes for plans.
	Planner Planner
	// Digest asks a registry for the digest that a reference stands for now.
	// The actor is not asked. Nil when there is nobody to ask.
	Digest func(ctx context.Context, registryID uuid.UUID, reference string) (string, error)
	// StorageURL returns the address of a storage; NotFound when it is gone.
	StorageURL func(ctx context.Context, id uuid.UUID) (string, error)
	// StorageKeys returns what opens the storage at an address, in the clear;
	// nil when it takes no keys, NotFound when it is gone.
	StorageKeys func(ctx context.Context, id uuid.UUID, address string) (*spec.StorageKeys, error)
	Sealer      Sealer
	// Removal counts what a node loses when it goes from one set to another,
	// as its agent will. Assignments that confirm their removals don't count.
	Removal func(held, next []Assignment) Removal
	// Liveness returns what is known of the nodes' agents; a node may be
	// missing from it.
	Liveness func(ctx context.Context, nodeIDs []uuid.UUID) (map[uuid.UUID]LivenessInfo, error)
}

// Service manages deployments.
type Service struct{ Config }

// New returns the service.
func New(c Config) *Service { return &Service{c} }

// find returns a deployment of the team in ctx to who may take the action.
func (s *Service) find(ctx context.Context, action authz.Action, id uuid.UUID) (Deployment, error) {
	team, _, err := authz.RequireOn(ctx, action, id)
	if err != nil {
		return Deployment{}, err
	}
	d, err := s.Store.FindDeployment(ctx, team.ID, id)
	if apperr.Is(err, apperr.NotFound) {
		return Deployment{}, noSuchDeployment(id)
	}
	return d, err
}

// lock finds a deployment and locks its node and then it until the transaction
// in ctx ends.
func (s *Service) lock(ctx context.Context, action authz.Action, id uuid.UUID) (Deployment, error) {
	d, err := s.find(ctx, action, id)
	if err != nil {
		return Deployment{}, err
	}
	if err := s.Store.LockTarget(ctx, d.Node.ID); err != nil {
		return Deployment{}, err
	}
	d, err = s.Store.LockDeployment(ctx, id)
	if apperr.Is(err, apperr.NotFound) { // deleted while this waited
		return Deployment{}, noSuchDeployment(id)
	}
	return d, err
}

// become moves a deployment to another state and says so in its log, after more
// entries.
func (s *Service) become(ctx context.Context, d Deployment, next State, more ...LogEntry) error {
	return s.becomeAll(ctx, []change{{d, next}}, more...)
}

// change is a deployment on its way to another state.
type change struct {
	deployment Deployment
	next       State
}

// becomeAll is become for many deployments, each once.
func (s *Service) becomeAll(ctx context.Context, list []change, more ...LogEntry) error {
	now := s.Now()
	states := make([]StateChange, len(list))
	for i, c := range list {
		d := c.deployment
		if !d.State.canBecome(c.next) {
			return fmt.Errorf("deployment %s can't become %s from %s", d.ID, c.next, d.State)
		}
		states[i] = StateChange{d.ID, c.next}
		level := workload.LevelInfo
		if c.next == Failed {
			level = workload.LevelError
		}
		more = append(more, LogEntry{DeploymentID: d.ID, Release: d.Tries, Type: EntryState, Level: level, State: c.next, At: now})
	}
	if err := s.Store.SetDeploymentStates(ctx, states, now); err != nil {
		return err
	}
	return s.append(ctx, more...)
}

func noSuchDeployment(id uuid.UUID) error {
	return apperr.New(apperr.NotFound, "no such deployment").WithField("deploymentId", id)
}

func wrongState(d Deployment, what string) error {
	return apperr.New(apperr.Precondition, "a deployment that is %s can't be %s", d.State, what).
		WithField("status", string(d.State))
}
