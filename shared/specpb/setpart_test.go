package specpb_test

import (
	"testing"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/specpb"
)

// TestHashOfPartsIsTheHashOfTheSet: what is kept of assignments hashes as they
// do, in any order.
func TestHashOfPartsIsTheHashOfTheSet(t *testing.T) {
	set := exampleSet()
	for n := len(set.Assignments); n >= 0; n-- {
		set.Assignments = set.Assignments[:n]
		var parts []specpb.SetPart
		for _, a := range set.GetAssignments() {
			parts = append(parts, specpb.SetPart{Prefix: a.GetPrefix(), Generation: a.GetGeneration(), Desired: desiredPart(a)})
		}
		if got, want := specpb.HashParts(set.GetLineage(), set.GetGeneration(), parts), specpb.SetHash(set); got != want {
			t.Errorf("%d assignments hash to %s in parts, to %s as a set", n, got, want)
		}
	}
}

func desiredPart(a *agentv1.Assignment) string {
	if d := a.GetDeployment(); d != nil {
		return specpb.DeploymentPart(d)
	}
	return specpb.TombstonePart(a.GetTombstone().GetDeploymentId(), a.GetTombstone().GetAct())
}
