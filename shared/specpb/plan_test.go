package specpb_test

import (
	"reflect"
	"testing"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/specpb"
	"fairlead.dev/shared/workload"
)

func TestAPlanIsTheSameAfterTheWire(t *testing.T) {
	w := workload.PlannedWorkload{
		Name: "web", InstanceID: "i", Action: workload.ActionRecreate, ReplicasNow: 2, ReplicasThen: 3, Starts: true,
		Changes: []string{"environment.LEVEL"}, Image: "web:1", DigestNow: "sha256:1", DigestThen: "sha256:2",
		Downtime: []string{"port 80"}, Notes: []string{"metrics"}, SpecHash: "h", Containers: []string{"c"}, Hooks: []spec.HookKind{spec.HookPreDeploy},
	}
	for i := range reflect.ValueOf(w).NumField() {
		if reflect.ValueOf(w).Field(i).IsZero() {
			t.Fatalf("the test says nothing of %s", reflect.TypeOf(w).Field(i).Name)
		}
	}
	want := workload.Plan{Workloads: []workload.PlannedWorkload{w, {Name: "old", Action: workload.ActionRetire}}}
	got, hash, err := specpb.PlanFromProto(specpb.PlanToProto(want))
	if err != nil || !reflect.DeepEqual(got, want) || hash != want.Hash() || got.Hash() != hash {
		t.Errorf("got %+v with hash %s, %v", got, hash, err)
	}
}

func TestAPlanThatIsTooLargeIsRefused(t *testing.T) {
	for name, plan := range map[string]*agentv1.Plan{
		"none":           nil,
		"many workloads": {Workloads: make([]*agentv1.PlannedWorkload, 201)},
		"long text":      {Workloads: []*agentv1.PlannedWorkload{{Notes: []string{string(make([]byte, specpb.MaxTextBytes+1))}}}},
	} {
		if _, _, err := specpb.PlanFromProto(plan); !apperr.Is(err, apperr.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
