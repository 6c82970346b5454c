package agentrt

import (
	"fmt"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/reconcile"
	"fairlead.dev/shared/agentrt/internal/state"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/specpb"
)

// assignments is the set the node should run. It is used by one goroutine at a
// time: a session reads its stream alone, and sessions follow each other.
type assignments struct {
	dir        *state.Dir
	reconciler *reconcile.Reconciler
	set        *agentv1.AssignmentSet
}

// resume reads the set from the disk and hands it out, so that the node is
// made right whether or not the controller can be reached.
func resume(dir *state.Dir, reconciler *reconcile.Reconciler) (*assignments, error) {
	set, err := dir.Assignments()
	if err != nil {
		return nil, err
	}
	reconciler.Set(targets(set))
	return &assignments{dir: dir, reconciler: reconciler, set: set}, nil
}

// take checks a set, writes it to the disk, hands it out, and returns the
// answer. A set that is refused changes nothing.
func (a *assignments) take(set *agentv1.AssignmentSet) *agentv1.AssignmentsAck {
	ack := &agentv1.AssignmentsAck{Generation: set.GetGeneration(), SetHash: set.GetSetHash()}
	ack.Refusal, ack.Detail = a.judge(set)
	if ack.Detail != "" {
		return ack
	}
	if set.GetGeneration() == a.set.GetGeneration() {
		return ack // the same again: it is on the disk already
	}
	if err := a.dir.SetAssignments(set); err != nil {
		ack.Refusal, ack.Detail = agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_STORAGE, err.Error()
		return ack
	}
	a.set = set
	keep := make(map[string]bool, len(set.GetAssignments()))
	for _, assignment := range set.GetAssignments() {
		keep[assignment.GetPrefix()] = true
	}
	a.reconciler.Forget(keep)
	a.reconciler.Set(targets(set))
	return ack
}

// judge returns why the set must not be taken; an empty detail means that it
// may.
func (a *assignments) judge(set *agentv1.AssignmentSet) (agentv1.AssignmentsRefusal, string) {
	held := a.set
	switch {
	case set.GetLineage() == "" || held.GetLineage() != "" && held.GetLineage() != set.GetLineage():
		return agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_LINEAGE,
			fmt.Sprintf("the set is of lineage %q, this agent's is %q", set.GetLineage(), held.GetLineage())
	case specpb.SetHash(set) != set.GetSetHash():
		return agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_HASH,
			fmt.Sprintf("the set hashes to %s", specpb.SetHash(set))
	case set.GetGeneration() < held.GetGeneration(),
		set.GetGeneration() == held.GetGeneration() && set.GetSetHash() != held.GetSetHash():
		return agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_STALE,
			fmt.Sprintf("this agent holds generation %d, set %s", held.GetGeneration(), held.GetSetHash())
	}
	if err := specpb.CheckSet(set); err != nil {
		return agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_HASH, err.Error()
	}
	return agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_UNSPECIFIED, ""
}

// targets returns what each prefix should run. A deployment that cannot be read
// becomes a target that fails: it must not stand in the way of the others.
func targets(set *agentv1.AssignmentSet) []reconcile.Target {
	var list []reconcile.Target
	for _, a := range set.GetAssignments() {
		t := reconcile.Target{Prefix: a.GetPrefix(), Generation: a.GetGeneration()}
		switch desired := a.GetDesired().(type) {
		case *agentv1.Assignment_Deployment:
			t.DeploymentID, t.Release = desired.Deployment.GetId(), desired.Deployment.GetRelease()
			if d, err := specpb.DeploymentFromProto(desired.Deployment); err != nil {
				t.Err = err
			} else {
				t.Deployment = &d
			}
		case *agentv1.Assignment_Tombstone:
			t.DeploymentID = desired.Tombstone.GetDeploymentId()
		default:
			t.Err = apperr.New(apperr.Unsupported, "this agent does not know what is asked for the prefix %q; update it", a.GetPrefix())
		}
		list = append(list, t)
	}
	return list
}
