package update

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/node"
	"fairlead.dev/shared/apperr"
)

// RolloutState is how a rollout stands.
type RolloutState string

// States of a rollout; all but the first are final.
const (
	RolloutRunning    RolloutState = "running"
	RolloutSuccessful RolloutState = "successful"
	// RolloutFailed: an update failed, so no further node is touched.
	RolloutFailed    RolloutState = "failed"
	RolloutCancelled RolloutState = "cancelled"
)

// Rollout replaces the agents of a team's nodes, wave after wave: the next one
// begins when every node of the last is well.
type Rollout struct {
	ID             uuid.UUID
	TeamID         uuid.UUID
	To             string
	AllowDowngrade bool
	State          RolloutState
	// Wave is the one that is under way, from 1, of Waves.
	Wave, Waves int
	// Error is why it stopped.
	Error      string
	CreatedAt  time.Time
	CreatedBy  string
	FinishedAt time.Time
	Nodes      []RolloutNode
}

// RolloutNode is a node in a rollout.
type RolloutNode struct {
	NodeID uuid.UUID
	Name   string
	Wave   int
	// Skipped is why the node was left out; "" when it was not.
	Skipped string
	// Update is the node's, once it began.
	Update node.Update
	// Live and Version are its agent's now.
	Live    node.Liveness
	Version string
}

// wavesOf splits so many nodes: one, 5 %, 25 %, all.
func wavesOf(nodes int) (sizes []int) {
	const some, many = 20, 4 // one of so many
	done := 0
	for _, upTo := range []int{1, (nodes + some - 1) / some, (nodes + many - 1) / many, nodes} {
		if upTo > done {
			sizes = append(sizes, upTo-done)
			done = upTo
		}
	}
	return sizes
}

// StartRollout begins to replace the agents of the team's nodes that are
// connected, can be updated and run another version than this controller has.
// Errors: Precondition when there are none; Conflict while there is another.
func (s *Service) StartRollout(ctx context.Context, o Options) (Rollout, error) {
	team, who, err := authz.Require(ctx, authz.NodeUpgrade)
	if err != nil {
		return Rollout{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Rollout{}, err
	}
	r := Rollout{
		ID: id, TeamID: team.ID, AllowDowngrade: o.AllowDowngrade, State: RolloutRunning, Wave: 1,
		CreatedAt: s.Now(), CreatedBy: who.Name,
	}
	err = s.Store.InTx(ctx, func(ctx context.Context) error {
		nodes, err := s.Store.ListNodes(ctx, team.ID)
		if err != nil {
			return err
		}
		r.Nodes, r.To = nil, ""
		for _, n := range nodes {
			build, err := s.fitting(n)
			if err != nil {
				continue // it is left out
			}
			if r.To = build.Version; n.Agent.Version != build.Version {
				r.Nodes = append(r.Nodes, RolloutNode{NodeID: n.ID, Name: n.Name})
			}
		}
		if len(r.Nodes) == 0 {
			return apperr.New(apperr.Precondition, "no node of the team is connected, can be updated and runs another version than this controller has")
		}
		first := 0
		sizes := wavesOf(len(r.Nodes))
		for wave, size := range sizes {
			for i := range size {
				r.Nodes[first+i].Wave = wave + 1
			}
			first += size
		}
		r.Waves = len(sizes)
		if err := s.Store.InsertRollout(ctx, r); err != nil {
			return err
		}
		return s.Audit.Record(ctx, authz.NodeUpgrade, map[string]any{"rollout": r.ID, "toVersion": r.To, "nodes": len(r.Nodes)})
	})
	return r, err
}

// Rollout returns one of the team's.
func (s *Service) Rollout(ctx context.Context, id uuid.UUID) (Rollout, error) {
	team, _, err := authz.Require(ctx, authz.NodeRead)
	if err != nil {
		return Rollout{}, err
	}
	return s.findRollout(ctx, team.ID, id)
}

func (s *Service) findRollout(ctx context.Context, teamID, id uuid.UUID) (Rollout, error) {
	r, err := s.Store.FindRollout(ctx, teamID, id)
	if apperr.Is(err, apperr.NotFound) {
		return r, apperr.New(apperr.NotFound, "no such rollout").WithField("rolloutId", id)
	}
	return r, err
}

// Rollouts returns a page of the team's rollouts, newest first, without their
// nodes, and how many there are, see page.Counted.
func (s *Service) Rollouts(ctx context.Context, skip, take int) ([]Rollout, int, error) {
	team, _, err := authz.Require(ctx, authz.NodeRead)
	if err != nil {
		return nil, 0, err
	}
	return s.Store.ListRollouts(ctx, team.ID, skip, take)
}

// CancelRollout ends a rollout: updates that are under way go on, no further
// one begins. Precondition when it is over.
func (s *Service) CancelRollout(ctx context.Context, id uuid.UUID) error {
	team, who, err := authz.Require(ctx, authz.NodeUpgrade)
	if err != nil {
		return err
	}
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		if _, err := s.findRollout(ctx, team.ID, id); err != nil {
			return err
		}
		r, err := s.Store.LockRollout(ctx, id)
		if err != nil {
			return err
		}
		if r.State != RolloutRunning {
			return apperr.New(apperr.Precondition, "the rollout is over: %s", r.State).WithField("rolloutId", id)
		}
		if err := s.finish(ctx, r, RolloutCancelled, "cancelled by "+who.Name); err != nil {
			return err
		}
		return s.Audit.Record(ctx, authz.NodeUpgrade, map[string]any{"rollout": id, "cancelled": true})
	})
}

func (s *Service) finish(ctx context.Context, r Rollout, state RolloutState, why string) error {
	r.State, r.Error, r.FinishedAt = state, why, s.Now()
	return s.Store.SaveRollout(ctx, r)
}

// lookEvery backs up the hints, and finds what no hint tells of: a node that
// was busy and is not any more, an update of which nothing is heard.
const lookEvery = time.Minute

// Run takes rollouts on until ctx ends: when it starts, at every hint, and now
// and then. Any controller may do a step of any rollout: they take turns by a
// lock.
func (s *Service) Run(ctx context.Context, note func(error)) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		ids, err := s.Store.ListRunningRollouts(ctx)
		if err != nil && ctx.Err() == nil {
			note(fmt.Errorf("look for rollouts: %w", err))
		}
		for _, id := range ids {
			if err := s.Advance(ctx, id); err != nil && ctx.Err() == nil {
				note(fmt.Errorf("go on with the rollout %s: %w", id, err))
			}
		}
		select {
		case <-s.Hints:
		case <-look.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// Advance does what there is to do for a rollout now: begins the updates of its
// wave, goes on to the next one when all of them are well, or stops.
func (s *Service) Advance(ctx context.Context, id uuid.UUID) error {
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		r, err := s.Store.LockRollout(ctx, id)
		if err != nil || r.State != RolloutRunning {
			return err
		}
		now := s.Now()
		done := true
		var failures []string
		for i := range r.Nodes {
			n := &r.Nodes[i]
			if n.Wave > r.Wave || n.Skipped != "" {
				continue
			}
			if n.Wave == r.Wave && n.Update.ID == uuid.Nil {
				done = false
				if err := s.beginOne(ctx, r, n); err != nil {
					return err
				}
				continue
			}
			switch why := unwell(*n, now); {
			case n.Update.Running(now):
				done = false
			case why != "":
				failures = append(failures, n.Name+": "+why)
			}
		}
		switch {
		case len(failures) > 0:
			return s.finish(ctx, r, RolloutFailed, strings.Join(failures[:min(len(failures), maxFailures)], "; "))
		case !done:
			return nil
		case r.Wave == r.Waves:
			return s.finish(ctx, r, RolloutSuccessful, "")
		default:
			r.Wave++
			return s.Store.SaveRollout(ctx, r)
		}
	})
}

// maxFailures are named in a rollout's error.
const maxFailures = 5

// returnWithin is how long a node may be away after its update before it counts
// as lost by it.
const returnWithin = time.Minute

// unwell is why a node whose update is over stops the rollout; "" when it is
// well.
func unwell(n RolloutNode, now time.Time) string {
	switch {
	case n.Update.Phase != node.UpdateSuccessful:
		return n.Update.Outcome(now)
	case n.Live != node.Connected && now.Sub(n.Update.FinishedAt) > returnWithin && now.Sub(n.Update.FinishedAt) < 2*returnWithin:
		return "its agent was updated and is gone since"
	default:
		return ""
	}
}

// beginOne begins a node's update. A node that went away since, or can't be
// updated any more, is left out: that is not the new build's fault. One that is
// busy gets its turn later.
func (s *Service) beginOne(ctx context.Context, r Rollout, n *RolloutNode) error {
	found, err := s.Store.FindNode(ctx, r.TeamID, n.NodeID)
	if err != nil {
		return err
	}
	if found.Agent.Version == r.To {
		return s.Store.SkipNode(ctx, r.ID, n.NodeID, "it runs this version already")
	}
	build, err := s.fitting(found)
	if err != nil {
		return s.Store.SkipNode(ctx, r.ID, n.NodeID, err.Error())
	}
	if build.Version != r.To {
		return s.finish(ctx, r, RolloutFailed, fmt.Sprintf("this controller has agents of version %s by now; start another rollout", build.Version))
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	_, err = s.begin(ctx, found, id, r.ID, r.CreatedBy, "system", Options{AllowDowngrade: r.AllowDowngrade})
	if apperr.Is(err, apperr.Precondition) {
		return nil // busy
	}
	return err
}

// State returns where the node stands in one word, and why if that is not well.
func (n RolloutNode) State(now time.Time) (word, why string) {
	switch {
	case n.Skipped != "":
		return "skipped", n.Skipped
	case n.Update.ID == uuid.Nil:
		return "waiting", ""
	case n.Update.Running(now):
		return "updating", ""
	case n.Update.Phase == node.UpdateSuccessful:
		return "successful", ""
	default:
		return "failed", n.Update.Outcome(now)
	}
}
