package deployment

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Status is where a node says that an assignment is.
type Status struct {
	// DeploymentID is the assignment's or its tombstone's.
	DeploymentID uuid.UUID
	// Generation is the assignment's.
	Generation uint64
	Release    int64
	Phase      workload.Phase
	// Failure is set when Phase is failed.
	Failure *workload.Failure
	// Digests are what the images were resolved to, as Release.Digests, as far
	// as the release came.
	Digests map[string]string
}

// Event is something that happened on a node with a release.
type Event struct {
	DeploymentID uuid.UUID
	Generation   uint64
	Release      int64
	workload.Event
}

// NodeProgress is what one node's agent tells.
type NodeProgress struct {
	NodeID   uuid.UUID
	Statuses []Status
	Events   []Event
}

// RecordProgress is RecordNodes for one node.
func (s *Service) RecordProgress(ctx context.Context, nodeID uuid.UUID, statuses []Status, events []Event) error {
	return s.RecordNodes(ctx, []NodeProgress{{NodeID: nodeID, Statuses: statuses, Events: events}})
}

// RecordNodes takes what nodes' agents tell: events go into the logs, statuses
// decide releases. It belongs into the transaction of the reports, which sees to
// it that each counts once and in order. What is about another node, a deleted
// deployment, or a generation that is not wanted any more is passed over; a
// release that has its outcome keeps it.
func (s *Service) RecordNodes(ctx context.Context, list []NodeProgress) error {
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		news, begun, err := s.news(ctx, list)
		if err != nil {
			return err
		}
		// Nodes before deployments, and in one order, as everybody locks them.
		if len(news) > 0 {
			nodes := make([]uuid.UUID, len(news))
			for i, n := range news {
				nodes[i] = n.NodeID
			}
			if err := s.Store.LockTargets(ctx, nodes); err != nil {
				return err
			}
		}
		if len(begun) > 0 {
			if err := s.Store.BeginReleases(ctx, begun, s.Now()); err != nil {
				return err
			}
		}
		if err := s.recordEvents(ctx, list); err != nil {
			return err
		}
		if err := s.succeed(ctx, news); err != nil {
			return fmt.Errorf("record which releases run: %w", err)
		}
		for _, n := range news {
			for _, status := range n.Statuses {
				if status.Phase == workload.PhaseSuccessful {
					continue // recorded with all others
				}
				if err := s.recordStatus(ctx, n.NodeID, status); err != nil {
					return fmt.Errorf("record status of deployment %s: %w", status.DeploymentID, err)
				}
			}
		}
		return s.noteForeign(ctx, list)
	})
}

// Place is a deployment on a node.
type Place struct {
	NodeID       uuid.UUID
	DeploymentID uuid.UUID
}

// Stage is how far the assignment of a deployment is.
type Stage struct {
	Generation uint64
	// Outcome is the release's; "" of a tombstone.
	Outcome Outcome
}

// Begun is an assignment that its node has begun with.
type Begun struct {
	Place
	Generation uint64
}

// news returns the nodes and statuses that say something new, in the order of
// the nodes' ids; most statuses are told again after a reconnection. Those that
// only say that a release was begun are returned by themselves: there is one of
// them for each start, and they need no node locked.
func (s *Service) news(ctx context.Context, list []NodeProgress) (news []NodeProgress, begun []Begun, err error) {
	var places []Place
	for _, n := range list {
		for _, status := range n.Statuses {
			places = append(places, Place{n.NodeID, status.DeploymentID})
		}
	}
	if len(places) == 0 {
		return nil, nil, nil
	}
	stages, err := s.Store.ListStages(ctx, places)
	if err != nil {
		return nil, nil, err
	}
	for _, n := range list {
		fresh := NodeProgress{NodeID: n.NodeID}
		for _, status := range n.Statuses {
			at := Place{n.NodeID, status.DeploymentID}
			switch stage, found := stages[at]; {
			case !found || !stage.moves(status):
			case stage.Outcome != "" && status.Phase == workload.PhaseInProgress:
				begun = append(begun, Begun{at, status.Generation})
			default:
				fresh.Statuses = append(fresh.Statuses, status)
			}
		}
		if len(fresh.Statuses) > 0 {
			news = append(news, fresh)
		}
	}
	slices.SortFunc(news, func(a, b NodeProgress) int { return bytes.Compare(a.NodeID[:], b.NodeID[:]) })
	return news, begun, nil
}

// moves reports whether a status would change anything.
func (g Stage) moves(status Status) bool {
	switch {
	case g.Generation != status.Generation:
		return false
	case g.Outcome == "":
		return status.Phase == workload.PhaseRemoved
	case g.Outcome.Final(), g.Outcome == OutcomeInProgress && status.Phase == workload.PhaseInProgress:
		return false
	default:
		return status.Phase != workload.PhasePending
	}
}

// recordEvents writes the events of deployments that are still on their nodes.
func (s *Service) recordEvents(ctx context.Context, list []NodeProgress) error {
	var places []Place
	for _, n := range list {
		for _, e := range n.Events {
			places = append(places, Place{n.NodeID, e.DeploymentID})
		}
	}
	if len(places) == 0 {
		return nil
	}
	here, err := s.Store.KeepPlaced(ctx, places)
	if err != nil {
		return err
	}
	var entries []LogEntry
	for _, n := range list {
		for _, e := range n.Events {
			if here[Place{n.NodeID, e.DeploymentID}] {
				entries = append(entries, s.entries(e)...)
			}
		}
	}
	return s.append(ctx, entries...)
}

// entries returns what an event adds to the log: its lines, the state a
// container came to, or both.
func (s *Service) entries(e Event) []LogEntry {
	entry := LogEntry{DeploymentID: e.DeploymentID, Release: e.Release, Level: e.Level, At: e.Time}
	if now := s.Now(); e.Time.IsZero() || e.Time.After(now) {
		entry.At = now // the node's clock is wrong
	}
	if id, err := uuid.Parse(e.InstanceID); err == nil {
		entry.InstanceID = id
	}
	var list []LogEntry
	if len(e.Lines) > 0 {
		lines := entry
		lines.Type, lines.Lines = EntryLog, boundLines(e.Lines)
		list = append(list, lines)
	}
	if slices.Contains(spec.ContainerState("").Values(), e.State) && entry.InstanceID != uuid.Nil {
		state := entry
		state.Type, state.Container, state.Reason = EntryContainerState, e.State, boundText(e.Reason, maxReasonBytes)
		list = append(list, state)
	}
	return list
}

// recordStatus records what one status says, unless that is that a release runs.
func (s *Service) recordStatus(ctx context.Context, nodeID uuid.UUID, status Status) error {
	a, err := s.Store.FindAssignmentOf(ctx, nodeID, status.DeploymentID)
	if apperr.Is(err, apperr.NotFound) || err == nil && a.Generation != status.Generation {
		return nil
	}
	if err != nil {
		return err
	}
	if a.ReleaseID == uuid.Nil {
		return s.recordRemoval(ctx, nodeID, a, status.Phase)
	}
	r, err := s.Store.FindRelease(ctx, a.ReleaseID)
	if err != nil || r.Outcome.Final() {
		return err
	}
	if status.Phase == workload.PhaseFailed {
		return s.fail(ctx, r, status.Failure, boundDigests(status.Digests))
	}
	return nil
}

// recordRemoval drops a tombstone that did its work. The node's set is another
// one then, so its generation rises.
func (s *Service) recordRemoval(ctx context.Context, nodeID uuid.UUID, a Assignment, phase workload.Phase) error {
	if phase != workload.PhaseRemoved {
		return nil
	}
	generation, err := s.Store.RaiseGeneration(ctx, nodeID)
	if err != nil {
		return err
	}
	return s.Store.ForgetAssignment(ctx, nodeID, a.Prefix, generation)
}

func (s *Service) fail(ctx context.Context, r Release, card *workload.Failure, digests map[string]string) error {
	card = boundFailure(card)
	if err := s.Store.SetOutcome(ctx, r.ID, Ending{Outcome: OutcomeFailed, Failure: card, Digests: digests, At: s.Now()}); err != nil {
		return err
	}
	d, err := s.Store.LockDeployment(ctx, r.DeploymentID)
	if err != nil {
		return err
	}
	entry := LogEntry{
		DeploymentID: d.ID, Release: r.Number, Type: EntryLog, Level: workload.LevelError,
		Lines: describe(r.Number, card), At: s.Now(),
	}
	if id, err := uuid.Parse(card.InstanceID); err == nil {
		entry.InstanceID = id
	}
	if err := s.become(ctx, d, Failed, entry); err != nil {
		return err
	}
	return s.Outbox.Add(ctx, endedMessage(d, r.Number, card))
}
