package update

import (
	"context"
	"slices"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/command"
	"fairlead.dev/controller/internal/node"
	"fairlead.dev/shared/apperr"
)

// capability is what agents announce that can replace themselves.
const capability = "update"

// Events of a node's history.
const (
	eventUpdate    = "update"
	eventCompleted = "updateCompleted"
	eventFailed    = "updateFailed"
)

// Options are how an agent may be replaced.
type Options struct {
	// AllowDowngrade: an older version is meant.
	AllowDowngrade bool
}

// Start has a node's agent replaced by this controller's build of it, and
// returns once the agent has checked the order and taken it on; how it goes on
// is told by the node. Errors: NotFound for a node that is not there;
// Precondition while it is unreachable, busy or being updated, for an older
// version and where this controller has no build for it; Unsupported for an
// agent that cannot replace itself; and what the agent itself found wrong.
func (s *Service) Start(ctx context.Context, nodeID uuid.UUID, o Options) error {
	team, who, err := authz.Require(ctx, authz.NodeUpgrade)
	if err != nil {
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	wait, stop := s.Commands.Expect(id)
	defer stop()
	err = s.Store.InTx(ctx, func(ctx context.Context) error {
		n, err := s.Store.FindNode(ctx, team.ID, nodeID)
		if apperr.Is(err, apperr.NotFound) {
			return apperr.New(apperr.NotFound, "no such node").WithField("nodeId", nodeID)
		}
		if err != nil {
			return err
		}
		u, err := s.begin(ctx, n, id, uuid.Nil, who.Name, who.Ref(), o)
		if err != nil {
			return err
		}
		return s.Audit.Record(ctx, authz.NodeUpgrade, map[string]any{"id": n.ID, "name": n.Name, "fromVersion": u.From, "toVersion": u.To})
	})
	if err != nil {
		return err
	}
	_, err = wait(ctx)
	return err
}

// begin enters an update and its command.
func (s *Service) begin(ctx context.Context, n node.Node, id, rolloutID uuid.UUID, by, ref string, o Options) (node.Update, error) {
	now := s.Now()
	build, err := s.fitting(n)
	if err != nil {
		return node.Update{}, err
	}
	if err := s.endStale(ctx, n.ID); err != nil {
		return node.Update{}, err
	}
	busy, err := s.Store.NodeBusy(ctx, n.ID)
	if err != nil {
		return node.Update{}, err
	}
	if busy {
		return node.Update{}, apperr.New(apperr.Precondition, "a deployment is in progress on the node; wait for its end").WithField("nodeId", n.ID)
	}
	u := node.Update{
		ID: id, NodeID: n.ID, RolloutID: rolloutID, From: n.Agent.Version, To: build.Version, Phase: node.UpdateRequested,
		StartedAt: now, StartedBy: by, ChangedAt: now,
	}
	if err := s.Store.InsertUpdate(ctx, u); err != nil {
		return u, err
	}
	order := &command.Update{
		Version: build.Version, Digest: build.Digest, Size: build.Size, Path: build.Path, Signature: build.Signature, Downgrade: o.AllowDowngrade,
	}
	for _, key := range build.Keys {
		order.Keys = append(order.Keys, command.ReleaseKey(key))
	}
	err = s.Store.InsertCommand(ctx, command.Command{
		ID: id, NodeID: n.ID, Operation: command.UpdateAgent, Update: order, Deadline: now.Add(command.Lifetime), CreatedAt: now, CreatedBy: ref,
	})
	if err != nil {
		return u, err
	}
	return u, s.Store.AppendNodeEvent(ctx, n.ID, eventUpdate, map[string]any{"fromVersion": u.From, "toVersion": u.To, "startedBy": by}, now)
}

// fitting returns the build for a node whose agent can be replaced now.
func (s *Service) fitting(n node.Node) (Build, error) {
	live, _ := n.Agent.Liveness(s.Now())
	switch {
	case live != node.Connected:
		return Build{}, apperr.New(apperr.Precondition, "the node is unreachable").WithField("nodeId", n.ID)
	case n.Agent.Quarantine != "":
		return Build{}, apperr.New(apperr.Precondition, "the node's agent is in quarantine; readmit it first").WithField("nodeId", n.ID)
	}
	if !slices.Contains(n.Agent.Capabilities, capability) {
		return Build{}, apperr.New(apperr.Unsupported, "the node's agent cannot replace itself: make an install script for the node and run it there").WithField("nodeId", n.ID)
	}
	build, found := s.Library.Build(n.Type, n.Agent.Architecture)
	if !found {
		return Build{}, apperr.New(apperr.Precondition, "this controller has no agent for the architecture %q", n.Agent.Architecture).WithField("nodeId", n.ID)
	}
	return build, nil
}

// endStale makes room for an update where one was never finished; Precondition
// while it is under way.
func (s *Service) endStale(ctx context.Context, nodeID uuid.UUID) error {
	u, err := s.Store.LockRunningUpdate(ctx, nodeID)
	if apperr.Is(err, apperr.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	now := s.Now()
	if u.Running(now) {
		return apperr.New(apperr.Precondition, "the node's agent is being updated to %s already", u.To).WithField("nodeId", nodeID)
	}
	return s.end(ctx, u, node.UpdateFailed, u.Outcome(now))
}

// Answered is told how a node answered a command; one that it refused to take
// on has failed.
func (s *Service) Answered(ctx context.Context, nodeID uuid.UUID, r command.Result) error {
	if r.Err == nil {
		return nil
	}
	return s.Told(ctx, nodeID, Told{ID: r.ID, Phase: node.UpdateFailed, Error: r.Err.Error()})
}

// Told takes what a node's agent says of its last update. What is known already,
// or is of no update of the node, changes nothing.
func (s *Service) Told(ctx context.Context, nodeID uuid.UUID, t Told) error {
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		u, err := s.Store.LockUpdate(ctx, nodeID, t.ID)
		if apperr.Is(err, apperr.NotFound) {
			return nil
		}
		if err != nil || u.Phase == t.Phase && u.Error == t.Error {
			return err
		}
		if t.Phase.Final() {
			return s.end(ctx, u, t.Phase, t.Error)
		}
		if !u.FinishedAt.IsZero() { // said before it was over
			return nil
		}
		u.Phase, u.ChangedAt = t.Phase, s.Now()
		return s.Store.SaveUpdate(ctx, u)
	})
}

// end writes down how an update ended.
func (s *Service) end(ctx context.Context, u node.Update, phase node.UpdatePhase, why string) error {
	now := s.Now()
	u.Phase, u.Error, u.ChangedAt, u.FinishedAt = phase, why, now, now
	if err := s.Store.SaveUpdate(ctx, u); err != nil {
		return err
	}
	event, data := eventCompleted, map[string]any{"startedBy": u.StartedBy, "fromVersion": u.From, "toVersion": u.To}
	if phase == node.UpdateFailed {
		event, data["error"] = eventFailed, why
	}
	return s.Store.AppendNodeEvent(ctx, u.NodeID, event, data, now)
}
