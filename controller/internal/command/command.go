// Package command is about one-off acts on a node: they are asked for, carried
// out at most once, and are never part of what a node should run.
package command

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/misuse"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Operation is what a command does.
type Operation string

// Operations.
const (
	Start    Operation = "start"
	Stop     Operation = "stop"
	Restart  Operation = "restart"
	Delete   Operation = "delete"
	ReadLogs Operation = "read-logs"
	// Inspect reads what the engine knows of a container.
	Inspect Operation = "inspect"
	// Plan reads what applying a deployment would do.
	Plan Operation = "plan"
)

// Lifetime is how long a command may wait for its node and its result, a bit
// more than an engine takes to stop a container.
const Lifetime = 30 * time.Second

// pollPeriod backs up the hint that a result has come.
const pollPeriod = time.Second

// MaxLogLines bounds one reading of a log.
const MaxLogLines = 1000

// MaxInspection bounds what Inspect answers, in bytes.
const MaxInspection = 256 << 10

// Capabilities that agents must have announced for some of this.
const (
	capabilityInspect      = "inspect"
	capabilityPrecondition = "command-ack"
	capabilityPlan         = "plan"
)

// Command is one act.
type Command struct {
	ID        uuid.UUID
	NodeID    uuid.UUID
	Operation Operation
	Container workload.ContainerID
	// Tail is how many lines ReadLogs wants.
	Tail int
	// Update is the order of UpdateAgent.
	Update *Update
	// Deployment is what is planned; nil for other operations.
	Deployment *spec.Deployment
	Precondition
	Deadline  time.Time
	CreatedAt time.Time
	CreatedBy string
}

// Precondition must hold when the node begins the command; what is zero need
// not.
type Precondition struct {
	// EngineID is what the container's name stands for.
	EngineID string
	// Generation is of the set that the node's agent holds.
	Generation uint64
}

// Result is how a command ended.
type Result struct {
	ID uuid.UUID
	// Err is nil when it succeeded; it carries the kind the agent gave.
	Err   error
	Lines []workload.LogLine
	// Inspection is JSON without secrets.
	Inspection []byte
	// Plan is the answer to Plan.
	Plan *Planned
}

// Planned is what a node says that applying a deployment would do.
type Planned struct {
	workload.Plan
	// Hash is the agent's own, by which it knows the plan again.
	Hash string
}

// Store keeps commands; it joins the transaction in ctx.
type Store interface {
	InTx(ctx context.Context, fn func(ctx context.Context) error) error
	// InsertCommand adds a command and wakes its node's session.
	InsertCommand(ctx context.Context, c Command) error
	// ListPendingCommands returns a node's unfinished commands whose deadline
	// is ahead, oldest first.
	ListPendingCommands(ctx context.Context, nodeID uuid.UUID, now time.Time) ([]Command, error)
	// FinishCommand keeps the first result of a node's command and wakes who
	// waits for it.
	FinishCommand(ctx context.Context, nodeID uuid.UUID, r Result, now time.Time) error
	// FindCommandNode returns the node of a command; NotFound when it is gone.
	FindCommandNode(ctx context.Context, id uuid.UUID) (uuid.UUID, error)
	// FindResult returns a finished command's result; NotFound while there is
	// none.
	FindResult(ctx context.Context, id uuid.UUID) (Result, error)
	// NodeConnected tells whether a node of the team has its agent connected;
	// NotFound when the team has no such node.
	NodeConnected(ctx context.Context, teamID, nodeID uuid.UUID) (bool, error)
	// NodeCapabilities returns what the node's agent announced that it can.
	NodeCapabilities(ctx context.Context, nodeID uuid.UUID) ([]string, error)
	// ListContainers returns what was last seen on a node under a prefix.
	ListContainers(ctx context.Context, nodeID uuid.UUID, prefix *string) ([]workload.Container, error)
	AppendNodeEvent(ctx context.Context, nodeID uuid.UUID, event string, data map[string]any, at time.Time) error
}

// Waiter tells when something about a command may have happened.
type Waiter interface {
	// Wait returns a channel of hints for a command and a function to stop.
	Wait(commandID uuid.UUID) (hints <-chan struct{}, stop func())
}

// Config is what a Service needs.
type Config struct {
	Store  Store
	Waiter Waiter
	Audit  *audit.Log
	// Misuse is told of agents that answer other nodes' commands.
	Misuse *misuse.Log
	// Answered is told of results of commands that nobody may be waiting for;
	// nil for nobody.
	Answered func(ctx context.Context, nodeID uuid.UUID, r Result) error
	Now      func() time.Time
}

// Service asks nodes for acts.
type Service struct{ Config }

// New returns the service.
func New(c Config) *Service { return &Service{c} }

func (o Operation) action() authz.Action {
	switch o {
	case Delete:
		return authz.ContainerDelete
	case ReadLogs, Inspect:
		return authz.ContainerRead
	default:
		return authz.ContainerAct
	}
}

// Request asks for an act on a container of a node.
type Request struct {
	NodeID    uuid.UUID
	Operation Operation
	Container workload.ContainerID
	// Tail is how many lines ReadLogs wants.
	Tail int
	Precondition
}

// Do has a node carry out an act on one of its containers and waits for the
// result. Errors: NotFound for a node or container that is not there, Forbidden
// for a container that is not ours, Precondition when the node is unreachable or
// what the request asks for does not hold, Unsupported when the node's agent is
// too old for it, Unavailable when no result came in time (it may still have
// been done).
func (s *Service) Do(ctx context.Context, q Request) (Result, error) {
	team, who, err := authz.Require(ctx, q.Operation.action())
	if err != nil {
		return Result{}, err
	}
	if q.Operation == ReadLogs && (q.Tail < 1 || q.Tail > MaxLogLines) {
		return Result{}, apperr.InvalidField("take", q.Tail, "must be 1 to %d", MaxLogLines)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Result{}, err
	}
	hints, stop := s.Waiter.Wait(id)
	defer stop()
	now := s.Now()
	c := Command{
		ID: id, NodeID: q.NodeID, Operation: q.Operation, Container: q.Container, Tail: q.Tail, Precondition: q.Precondition,
		Deadline: now.Add(Lifetime), CreatedAt: now, CreatedBy: who.Ref(),
	}
	err = s.Store.InTx(ctx, func(ctx context.Context) error {
		if err := s.reachable(ctx, team.ID, q.NodeID); err != nil {
			return err
		}
		if err := s.able(ctx, q); err != nil {
			return err
		}
		if c.Container, err = s.named(ctx, q); err != nil {
			return err
		}
		if err := s.Store.InsertCommand(ctx, c); err != nil {
			return err
		}
		if q.Operation.action() == authz.ContainerRead {
			return nil
		}
		data := map[string]any{"operation": string(q.Operation) + "Container", "container": c.Container.Name, "prefix": c.Container.Prefix}
		if err := s.Store.AppendNodeEvent(ctx, q.NodeID, "containerCommand", data, now); err != nil {
			return err
		}
		data["node"] = q.NodeID
		return s.Audit.Record(ctx, q.Operation.action(), data)
	})
	if err != nil {
		return Result{}, err
	}
	return s.await(ctx, c, hints)
}

// named returns the container that is meant. One without a prefix is named as
// its engine names it, which for one of ours is prefix and name in one.
func (s *Service) named(ctx context.Context, q Request) (workload.ContainerID, error) {
	if q.Container.Prefix != "" {
		return q.Container, nil
	}
	list, err := s.Store.ListContainers(ctx, q.NodeID, nil)
	if err != nil {
		return q.Container, err
	}
	for _, seen := range list {
		if seen.Managed && spec.ContainerName(seen.ID.Prefix, seen.ID.Name) == q.Container.Name {
			return seen.ID, nil
		}
	}
	return q.Container, nil
}

// able returns an error when the node's agent would not understand the request:
// an older one would pass over a precondition.
func (s *Service) able(ctx context.Context, q Request) error {
	var needed []string
	if q.Operation == Inspect {
		needed = append(needed, capabilityInspect)
	}
	if q.Precondition != (Precondition{}) {
		needed = append(needed, capabilityPrecondition)
	}
	if len(needed) == 0 {
		return nil
	}
	has, err := s.Store.NodeCapabilities(ctx, q.NodeID)
	if err != nil {
		return err
	}
	for _, capability := range needed {
		if !slices.Contains(has, capability) {
			return apperr.New(apperr.Unsupported, "the node's agent is too old for this; update it").WithField("nodeId", q.NodeID)
		}
	}
	return nil
}

// reachable returns an error unless the team's node has its agent connected.
func (s *Service) reachable(ctx context.Context, teamID, nodeID uuid.UUID) error {
	connected, err := s.Store.NodeConnected(ctx, teamID, nodeID)
	switch {
	case apperr.Is(err, apperr.NotFound):
		return apperr.New(apperr.NotFound, "no such node").WithField("nodeId", nodeID)
	case err != nil:
		return err
	case !connected:
		return apperr.New(apperr.Precondition, "the node is unreachable").WithField("nodeId", nodeID)
	default:
		return nil
	}
}

func (s *Service) await(ctx context.Context, c Command, hints <-chan struct{}) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, Lifetime)
	defer cancel()
	poll := time.NewTicker(pollPeriod)
	defer poll.Stop()
	for {
		r, err := s.Store.FindResult(ctx, c.ID)
		if err == nil {
			return r, r.Err
		}
		if !apperr.Is(err, apperr.NotFound) && ctx.Err() == nil {
			return Result{}, err
		}
		select {
		case <-hints:
		case <-poll.C:
		case <-ctx.Done():
			return Result{}, apperr.New(apperr.Unavailable, "no answer from the node within %s%s", Lifetime, c.advice())
		}
	}
}

// advice is what to do when nobody knows whether the command was carried out.
func (c Command) advice() string {
	if c.Operation == Plan {
		return "; try again"
	}
	return "; look at the container before trying again"
}

// Pending returns what a node still has to do.
func (s *Service) Pending(ctx context.Context, nodeID uuid.UUID) ([]Command, error) {
	return s.Store.ListPendingCommands(ctx, nodeID, s.Now())
}

// Finish keeps a result that a node's agent sent; a second one for the same
// command changes nothing.
func (s *Service) Finish(ctx context.Context, nodeID uuid.UUID, r Result) error {
	asked, err := s.Store.FindCommandNode(ctx, r.ID)
	switch {
	case apperr.Is(err, apperr.NotFound):
		return nil
	case err != nil:
		return err
	case asked != nodeID:
		return s.Misuse.Note(ctx, nodeID, "command", r.ID)
	}
	if err := s.Store.FinishCommand(ctx, nodeID, r, s.Now()); err != nil || s.Answered == nil {
		return err
	}
	return s.Answered(ctx, nodeID, r)
}
