package specpb

import (
	"slices"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
)

// DiffSet returns the DELTA that makes the target of the base; both are FULL
// and have their hash. ok is false when no delta can: the lineages differ, the
// generation does not rise, or a prefix went without having had a tombstone.
// The target must then be sent whole.
//
// Two assignments are the same when SetHash sees no difference and they agree
// on whether a removal is confirmed; so the base may be an OutlineSet. The
// delta shares its assignments with the target.
func DiffSet(base, target *agentv1.AssignmentSet) (delta *agentv1.AssignmentSet, ok bool) {
	if base.GetLineage() == "" || base.GetLineage() != target.GetLineage() ||
		base.GetGeneration() == 0 || base.GetGeneration() >= target.GetGeneration() {
		return nil, false
	}
	delta = &agentv1.AssignmentSet{
		Lineage: target.GetLineage(), Generation: target.GetGeneration(), SetHash: target.GetSetHash(),
		BaseGeneration: base.GetGeneration(), BaseSetHash: base.GetSetHash(),
	}
	gone := make(map[string]*agentv1.Assignment, len(base.GetAssignments()))
	for _, a := range base.GetAssignments() {
		gone[a.GetPrefix()] = a
	}
	for _, a := range target.GetAssignments() {
		if old, known := gone[a.GetPrefix()]; !known || !sameAssignment(old, a) {
			delta.Assignments = append(delta.Assignments, a)
		}
		delete(gone, a.GetPrefix())
	}
	for prefix, a := range gone {
		if a.GetTombstone() == nil {
			return nil, false
		}
		delta.Forgotten = append(delta.Forgotten, prefix)
	}
	slices.SortFunc(delta.Assignments, byPrefix)
	slices.Sort(delta.Forgotten)
	return delta, true
}

// OutlineSet returns what must be remembered of a set that an agent holds to
// make the next DELTA to it and to tell what that removes: all that SetHash
// sees, and the workloads' names. It is a small part of the set and shares
// nothing with it but strings.
func OutlineSet(set *agentv1.AssignmentSet) *agentv1.AssignmentSet {
	outline := &agentv1.AssignmentSet{
		Lineage: set.GetLineage(), Generation: set.GetGeneration(), SetHash: set.GetSetHash(),
		Assignments: convert(set.GetAssignments(), outlineAssignment),
	}
	return outline
}

func outlineAssignment(a *agentv1.Assignment) *agentv1.Assignment {
	outline := &agentv1.Assignment{Prefix: a.GetPrefix(), Generation: a.GetGeneration(), RemovalConfirmed: a.GetRemovalConfirmed()}
	switch desired := a.GetDesired().(type) {
	case *agentv1.Assignment_Deployment:
		d := desired.Deployment
		outline.Desired = &agentv1.Assignment_Deployment{Deployment: &agentv1.Deployment{
			Id: d.GetId(), Prefix: d.GetPrefix(), Release: d.GetRelease(),
			Workloads: convert(d.GetWorkloads(), func(w *agentv1.Workload) *agentv1.Workload {
				outline := &agentv1.Workload{InstanceId: w.GetInstanceId(), Hash: w.GetHash()}
				if name := w.GetContainer().GetName(); name != "" {
					outline.Container = &agentv1.ContainerConfig{Name: &name}
				}
				return outline
			}),
		}}
	case *agentv1.Assignment_Tombstone:
		outline.Desired = &agentv1.Assignment_Tombstone{Tombstone: &agentv1.Tombstone{
			DeploymentId: desired.Tombstone.GetDeploymentId(), Act: desired.Tombstone.GetAct(),
		}}
	}
	return outline
}

// sameAssignment compares what SetHash sees, and whether a removal is
// confirmed.
func sameAssignment(a, b *agentv1.Assignment) bool {
	return a.GetRemovalConfirmed() == b.GetRemovalConfirmed() && slices.Equal(assignmentWords(a), assignmentWords(b))
}
