package specpb

import (
	"fmt"
	"slices"
	"strings"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
)

// A set may remove this many workloads at once without a confirmation, or this
// part of what the agent holds, whichever is more.
const (
	freeRemovals   = 3
	freeRemovalsOf = 5 // one in five
)

// Removal is what a set removes from what an agent holds.
type Removal struct {
	// Workloads is how many are removed without a confirmation, of Held that
	// the agent holds.
	Workloads int
	Held      int
	// Prefixes are those that lose some of them, in ascending order.
	Prefixes []string
}

// TooMany reports whether an agent would refuse it: more than 3, and more than
// 20 % of what it holds.
func (r Removal) TooMany() bool {
	return r.Workloads > freeRemovals && r.Workloads*freeRemovalsOf > r.Held
}

// RemovalOf counts what an agent loses when it goes from the one FULL set to
// the other: all workloads of a deployment that gets a tombstone, and those
// that the next release of their prefix does not have. Assignments whose
// removal is confirmed are not counted. A prefix that is absent keeps what it
// has. The held set may be an OutlineSet.
//
// A workload goes on when the next release has one of the same instance or of
// the same container name.
func RemovalOf(held, next *agentv1.AssignmentSet) Removal {
	after := make(map[string]*agentv1.Assignment, len(next.GetAssignments()))
	for _, a := range next.GetAssignments() {
		after[a.GetPrefix()] = a
	}
	var r Removal
	for _, a := range held.GetAssignments() {
		had := a.GetDeployment().GetWorkloads()
		r.Held += len(had)
		next, there := after[a.GetPrefix()]
		if !there || next.GetRemovalConfirmed() || next.GetDesired() == nil {
			continue
		}
		if lost := lostWorkloads(had, next.GetDeployment().GetWorkloads()); lost > 0 {
			r.Workloads += lost
			r.Prefixes = append(r.Prefixes, a.GetPrefix())
		}
	}
	slices.Sort(r.Prefixes)
	return r
}

func lostWorkloads(had, has []*agentv1.Workload) int {
	kept := make(map[string]bool, 2*len(has))
	for _, w := range has {
		kept["instance "+w.GetInstanceId()] = w.GetInstanceId() != ""
		kept["name "+w.GetContainer().GetName()] = w.GetContainer().GetName() != ""
	}
	lost := 0
	for _, w := range had {
		if !kept["instance "+w.GetInstanceId()] && !kept["name "+w.GetContainer().GetName()] {
			lost++
		}
	}
	return lost
}

// CheckRemoval returns a refusal, MASS_REMOVAL, when the next set removes too
// many workloads without a confirmation; else nil.
func CheckRemoval(held, next *agentv1.AssignmentSet) *SetRefusal {
	r := RemovalOf(held, next)
	if !r.TooMany() {
		return nil
	}
	return refuse(agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_MASS_REMOVAL,
		"%d of %d workloads would be removed, of the prefixes %s; whoever wants that must confirm it",
		r.Workloads, r.Held, naming(r.Prefixes))
}

// naming lists names, the first of them when there are many.
func naming(names []string) string {
	const most = 20
	if extra := len(names) - most; extra > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), extra)
	}
	return strings.Join(names, ", ")
}
