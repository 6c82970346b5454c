package specpb

import (
	"fmt"
	"slices"
	"strings"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
)

// SetRefusal is why an assignment set is not taken.
type SetRefusal struct {
	Reason agentv1.AssignmentsRefusal
	// Detail is for people.
	Detail string
}

// Error returns the detail.
func (r *SetRefusal) Error() string { return r.Detail }

func refuse(reason agentv1.AssignmentsRefusal, format string, args ...any) *SetRefusal {
	return &SetRefusal{reason, fmt.Sprintf(format, args...)}
}

// ApplySet returns the set an agent holds after it took another: the received
// one when that is FULL, the held one changed by it when it is a DELTA. Held is
// empty when the agent holds nothing. The very set that is held is no offence
// and changes nothing.
//
// The result is FULL, its assignments are in ascending order of prefix, and it
// shares them with the arguments, which are left as they are. Every error is a
// *SetRefusal; then nothing is to be changed:
//
//   - LINEAGE: the set is of another database than what is held, and is not
//     said to replace it.
//   - STALE: its generation is not greater. Generations of different lineages
//     are not compared.
//   - BASE: it is a DELTA, and not to what is held, or does not lead to what
//     it claims: the agent needs a FULL set.
//   - HASH: it is FULL and not what it claims, or against the protocol.
//   - MASS_REMOVAL: see CheckRemoval.
func ApplySet(held, received *agentv1.AssignmentSet) (*agentv1.AssignmentSet, error) {
	replaces, refusal := checkLineage(held, received)
	if refusal != nil {
		return nil, refusal
	}
	if !replaces && held.GetLineage() != "" {
		switch {
		case received.GetGeneration() == held.GetGeneration() && received.GetSetHash() == held.GetSetHash():
			return held, nil
		case received.GetGeneration() <= held.GetGeneration():
			return nil, refuse(agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_STALE,
				"the set is of generation %d, this agent holds %d, %s", received.GetGeneration(), held.GetGeneration(), held.GetSetHash())
		}
	}
	result := &agentv1.AssignmentSet{
		Lineage: received.GetLineage(), Generation: received.GetGeneration(), SetHash: received.GetSetHash(),
		Assignments: slices.Clone(received.GetAssignments()),
	}
	unfit := agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_HASH
	if received.GetBaseGeneration() != 0 {
		unfit = agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_BASE
		if result.Assignments, refusal = applyDelta(held, received); refusal != nil {
			return nil, refusal
		}
	}
	slices.SortFunc(result.Assignments, byPrefix)
	if err := CheckSet(result); err != nil {
		return nil, refuse(unfit, "%v", err)
	}
	if hash := SetHash(result); hash != received.GetSetHash() {
		return nil, refuse(unfit, "the set hashes to %s, not to %s", hash, received.GetSetHash())
	}
	if refusal := CheckRemoval(held, result); refusal != nil {
		return nil, refusal
	}
	return result, nil
}

// checkLineage reports whether the set replaces one of another lineage.
func checkLineage(held, received *agentv1.AssignmentSet) (replaces bool, refusal *SetRefusal) {
	switch {
	case received.GetLineage() == "":
	case held.GetLineage() == "", held.GetLineage() == received.GetLineage():
		return false, nil
	case received.GetReplacesLineage() == held.GetLineage():
		return true, nil
	}
	return false, refuse(agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_LINEAGE,
		"the set is of lineage %q, this agent's is %q", received.GetLineage(), held.GetLineage())
}

// applyDelta returns the assignments of the held set with those of the delta
// in their place, and without those it forgets.
func applyDelta(held, delta *agentv1.AssignmentSet) ([]*agentv1.Assignment, *SetRefusal) {
	const base = agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_BASE
	if held.GetLineage() != delta.GetLineage() || held.GetGeneration() != delta.GetBaseGeneration() || held.GetSetHash() != delta.GetBaseSetHash() {
		return nil, refuse(base, "the change is to generation %d, %s; this agent holds %d, %q",
			delta.GetBaseGeneration(), delta.GetBaseSetHash(), held.GetGeneration(), held.GetSetHash())
	}
	if err := CheckSet(delta); err != nil { // a prefix twice would hide in the map
		return nil, refuse(base, "%v", err)
	}
	result := make(map[string]*agentv1.Assignment, len(held.GetAssignments())+len(delta.GetAssignments()))
	for _, a := range held.GetAssignments() {
		result[a.GetPrefix()] = a
	}
	for _, prefix := range delta.GetForgotten() {
		if result[prefix].GetTombstone() == nil {
			return nil, refuse(base, "the change forgets the prefix %q, which has no tombstone", prefix)
		}
		delete(result, prefix)
	}
	for _, a := range delta.GetAssignments() {
		if slices.Contains(delta.GetForgotten(), a.GetPrefix()) {
			return nil, refuse(base, "the change both assigns and forgets the prefix %q", a.GetPrefix())
		}
		result[a.GetPrefix()] = a
	}
	list := make([]*agentv1.Assignment, 0, len(result))
	for _, a := range result {
		list = append(list, a)
	}
	return list, nil
}

func byPrefix(a, b *agentv1.Assignment) int { return strings.Compare(a.GetPrefix(), b.GetPrefix()) }
