package specpb_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/specpb"
)

func exampleSet() *agentv1.AssignmentSet {
	return &agentv1.AssignmentSet{
		Lineage: "l1", Generation: 9,
		Assignments: []*agentv1.Assignment{
			{Prefix: "shop", Generation: 8, Desired: &agentv1.Assignment_Deployment{Deployment: &agentv1.Deployment{
				Id: "d1", Prefix: "shop", Release: 4,
				Workloads: []*agentv1.Workload{
					{InstanceId: "i1", Hash: "h1", Image: &agentv1.Image{Reference: "web@sha256:1"}},
					{InstanceId: "i2", Hash: "h2"},
				},
			}}},
			{Prefix: "blog", Generation: 9, Desired: &agentv1.Assignment_Tombstone{Tombstone: &agentv1.Tombstone{DeploymentId: "d2", Act: "delete"}}},
		},
	}
}

// TestSetHashIsStable pins the hash: agents keep it on disk over updates.
func TestSetHashIsStable(t *testing.T) {
	const want = "c2f9f96d81ae7898e45a93f7dc7f600b3fa92d3c2a38974ff6af27e97375fecf"
	if got := specpb.SetHash(exampleSet()); got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
}

func TestSetHashSeesEveryDifferenceAndNothingElse(t *testing.T) {
	deployment := func(s *agentv1.AssignmentSet) *agentv1.Deployment { return s.GetAssignments()[0].GetDeployment() }
	for _, c := range []struct {
		name   string
		change func(*agentv1.AssignmentSet)
		same   bool
	}{
		{"nothing", func(*agentv1.AssignmentSet) {}, true},
		{"the order of assignments", func(s *agentv1.AssignmentSet) {
			s.Assignments[0], s.Assignments[1] = s.Assignments[1], s.Assignments[0]
		}, true},
		{"credentials", func(s *agentv1.AssignmentSet) {
			deployment(s).Workloads[0].Image.Auth = &agentv1.RegistryAuth{Password: "p"}
		}, true},
		{"the claimed hash", func(s *agentv1.AssignmentSet) { s.SetHash = "x" }, true},
		{"lineage", func(s *agentv1.AssignmentSet) { s.Lineage = "l2" }, false},
		{"generation", func(s *agentv1.AssignmentSet) { s.Generation++ }, false},
		{"an assignment's generation", func(s *agentv1.AssignmentSet) { s.Assignments[0].Generation++ }, false},
		{"a prefix", func(s *agentv1.AssignmentSet) { s.Assignments[0].Prefix = "other" }, false},
		{"the deployment", func(s *agentv1.AssignmentSet) { deployment(s).Id = "d9" }, false},
		{"the release", func(s *agentv1.AssignmentSet) { deployment(s).Release++ }, false},
		{"a workload's hash", func(s *agentv1.AssignmentSet) { deployment(s).Workloads[1].Hash = "h9" }, false},
		{"a workload's instance", func(s *agentv1.AssignmentSet) { deployment(s).Workloads[1].InstanceId = "i9" }, false},
		{"one workload less", func(s *agentv1.AssignmentSet) { deployment(s).Workloads = deployment(s).Workloads[:1] }, false},
		{"the order of workloads", func(s *agentv1.AssignmentSet) {
			w := deployment(s).Workloads
			w[0], w[1] = w[1], w[0]
		}, false},
		{"one assignment less", func(s *agentv1.AssignmentSet) { s.Assignments = s.Assignments[:1] }, false},
		{"the tombstone's act", func(s *agentv1.AssignmentSet) { s.Assignments[1].GetTombstone().Act = "other" }, false},
		{"the tombstone's deployment", func(s *agentv1.AssignmentSet) { s.Assignments[1].GetTombstone().DeploymentId = "other" }, false},
		{"a tombstone in place of a deployment", func(s *agentv1.AssignmentSet) {
			s.Assignments[0].Desired = &agentv1.Assignment_Tombstone{Tombstone: &agentv1.Tombstone{}}
		}, false},
		{"neither", func(s *agentv1.AssignmentSet) { s.Assignments[0].Desired = nil }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := exampleSet()
			c.change(set)
			before := proto.CloneOf(set)
			if got := specpb.SetHash(set) == specpb.SetHash(exampleSet()); got != c.same {
				t.Errorf("same hash is %v, want %v", got, c.same)
			}
			if !proto.Equal(set, before) {
				t.Error("the set was changed")
			}
		})
	}
}
