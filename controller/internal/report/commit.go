package report

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/workload"
)

// writing is one transaction's work.
type writing struct {
	advances   []Advance
	progress   []deployment.NodeProgress
	containers []NodeContainers
	facts      []NodeFact
	events     []NodeEvent
}

// commit writes a batch in one transaction, in which every agent's epoch and
// sequence are looked at first. Sessions that may not write are refused, and
// hold up nobody.
func (r *Recorder) commit(ctx context.Context, batch []*flight) error {
	ids := make([]uuid.UUID, len(batch))
	for i, f := range batch {
		ids[i] = f.line.session.AgentID
	}
	return r.Store.InTx(ctx, func(ctx context.Context) error {
		found, err := r.Store.LockReporters(ctx, ids)
		if err != nil {
			return err
		}
		var w writing
		for _, f := range batch {
			reporter, there := found[f.line.session.AgentID]
			if f.refused = mayWrite(f.line.session, reporter, there); f.refused == nil {
				f.prepare(&w, reporter, r)
			}
		}
		return r.store(ctx, w)
	})
}

func (r *Recorder) store(ctx context.Context, w writing) error {
	if len(w.progress) > 0 {
		if err := r.Progress.RecordNodes(ctx, w.progress); err != nil {
			return err
		}
	}
	if len(w.containers) > 0 {
		turns, err := r.turns(ctx, w.containers)
		if err != nil {
			return err
		}
		w.events = append(w.events, turns...)
		if err := r.Store.PutContainers(ctx, w.containers); err != nil {
			return err
		}
	}
	if len(w.facts) > 0 {
		if err := r.Store.AppendFacts(ctx, w.facts, MaxFacts); err != nil {
			return err
		}
	}
	if len(w.events) > 0 {
		if err := r.Store.AppendNodeEvents(ctx, w.events, r.Now()); err != nil {
			return err
		}
	}
	if len(w.advances) > 0 {
		return r.Store.AdvanceReporters(ctx, w.advances, r.Now())
	}
	return nil
}

// prepare adds to a transaction's work what is new of what was told, seen from
// what is known of the agent.
func (f *flight) prepare(w *writing, was Reporter, r *Recorder) {
	t, node := f.told, f.line.session.NodeID
	a := Advance{AgentID: f.line.session.AgentID, NodeID: node, Reporter: was}
	a.ContainersHash = nil // not rewritten
	changed := false
	f.compared = false

	if t.ack != nil {
		f.acknowledge(w, &a)
		changed = true
	}
	progress := deployment.NodeProgress{NodeID: node}
	// A report of a boot that is committed already is here because its answer
	// was lost: everything in it was written.
	if t.sequence > was.Sequence {
		a.Sequence = t.sequence
		progress.Statuses, progress.Events = t.latest(), t.events
		changed = f.addContainers(w, &a, was.ContainersHash) || changed
	}
	facts := f.newFacts(&a, r)
	for _, fact := range facts {
		w.facts = append(w.facts, NodeFact{NodeID: node, AgentID: a.AgentID, SpoolID: a.SpoolID, Fact: fact})
		if fact.Exit == nil {
			w.events = append(w.events, NodeEvent{node, EventFactsLost, map[string]any{"count": fact.Lost}})
		}
		if e, ok := fact.event(); ok {
			progress.Events = append(progress.Events, e)
		}
	}
	if len(progress.Statuses)+len(progress.Events) > 0 {
		w.progress = append(w.progress, progress)
	}
	f.sequence, f.spool, f.fact = a.Sequence, a.SpoolID, a.Fact
	if changed || len(facts) > 0 || len(progress.Statuses)+len(progress.Events) > 0 {
		w.advances = append(w.advances, a)
	}
}

// acknowledge notes which set the agent holds or refuses, and tells the node's
// history when that begins or ends to be a refusal.
func (f *flight) acknowledge(w *writing, a *Advance) {
	ack, node := f.told.ack, f.line.session.NodeID
	if ack.Refusal == "" {
		if a.Refusal != "" {
			w.events = append(w.events, NodeEvent{node, EventAccepted, map[string]any{"generation": ack.Generation}})
		}
		a.Applied = deployment.Held{Generation: ack.Generation, Hash: ack.Hash}
		a.Refusal, a.Refused, a.Accepted = "", 0, true
		return
	}
	if a.Refusal != ack.Refusal {
		w.events = append(w.events, NodeEvent{node, EventRefused, map[string]any{"generation": ack.Generation, "refusal": ack.Refusal}})
	}
	a.Refusal, a.Refused = ack.Refusal, ack.Generation
}

// addContainers adds what differs from what the database has.
func (f *flight) addContainers(w *writing, a *Advance, storedHash []byte) bool {
	t, node := f.told, f.line.session.NodeID
	if t.containers == nil {
		return false
	}
	f.compared = true
	stored := f.known
	if stored == nil && bytes.Equal(storedHash, t.digest.sum[:]) {
		return false
	}
	c := NodeContainers{NodeID: node, Changed: t.containers.List}
	gone := true // unless it is known what there was
	if stored != nil {
		if stored.sum == t.digest.sum { // changed and changed back
			return false
		}
		c.Changed, gone = t.digest.since(*stored, t.containers.List)
		c.Compared = true
	}
	if gone {
		c.Keep = engineIDs(t.containers.List)
	}
	if gone || len(c.Changed) > 0 {
		w.containers = append(w.containers, c)
	}
	if problem := t.containers.EngineError; (problem == "") != (a.EngineError == "") {
		if problem != "" {
			w.events = append(w.events, NodeEvent{node, EventEngineDown, map[string]any{"error": problem}})
		} else {
			w.events = append(w.events, NodeEvent{node, EventEngineUp, map[string]any{}})
		}
	}
	a.EngineError = t.containers.EngineError
	a.ContainersHash = bytes.Clone(t.digest.sum[:])
	return true
}

// newFacts returns the facts that are not committed yet and moves on to the
// last of them.
func (f *flight) newFacts(a *Advance, r *Recorder) []Fact {
	t := f.told
	if len(t.facts) == 0 {
		return nil
	}
	above := a.Fact
	if t.spool != a.SpoolID { // another spool begins anew
		above = 0
	}
	facts := saneFacts(t.facts, above, r.Now())
	if len(facts) == 0 {
		return nil
	}
	a.SpoolID, a.Fact = t.spool, facts[len(facts)-1].Sequence
	return facts
}

// event tells a fact in a deployment's log.
func (f Fact) event() (deployment.Event, bool) {
	id, err := uuid.Parse(f.DeploymentID)
	if f.Exit == nil || err != nil {
		return deployment.Event{}, false
	}
	level := workload.LevelWarn
	if f.Exit.Code == 0 && !f.Exit.OOMKilled && f.Exit.Reason == "" {
		level = workload.LevelInfo
	}
	lines := []string{f.String()}
	if level != workload.LevelInfo && len(f.Exit.LogTail) > 0 {
		lines = append(append(lines, "the last lines of its log:"), f.Exit.LogTail...)
	}
	return deployment.Event{DeploymentID: id, Release: f.Release, Event: workload.Event{
		Time: f.At, Level: level, InstanceID: f.InstanceID, Lines: lines,
	}}, true
}

// String tells the fact in a sentence.
func (f Fact) String() string {
	if f.Exit == nil {
		return fmt.Sprintf("%d facts were lost: the node's spool was full", f.Lost)
	}
	name := strings.TrimPrefix(f.Container.Prefix+"-"+f.Container.Name, "-")
	text := fmt.Sprintf("container %s exited with code %d", name, f.Exit.Code)
	if f.Exit.Unseen {
		text = fmt.Sprintf("container %s ended unseen and was started again", name)
	}
	if f.Exit.OOMKilled {
		text += ", out of memory"
	}
	if f.Exit.Restarts > 0 {
		text += fmt.Sprintf(" (restarted %d times)", f.Exit.Restarts)
	}
	if f.Exit.Reason != "" {
		text += ": " + f.Exit.Reason
	}
	return text
}

func engineIDs(list []workload.Container) []string {
	ids := make([]string, len(list))
	for i, c := range list {
		ids[i] = c.EngineID
	}
	return ids
}
