package specpb_test

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/specpb"
)

func TestWhatIsTooLargeIsRefusedByName(t *testing.T) {
	long := strings.Repeat("x", spec.MaxValueLength+1)
	name := "web"
	deployment := func(c spec.Container) *agentv1.Deployment {
		return specpb.DeploymentToProto(spec.Deployment{ID: "d", Workloads: []spec.Workload{{Container: spec.Container{Name: &name}}, {Container: c}}})
	}
	for _, c := range []struct {
		field string
		in    *agentv1.Deployment
	}{
		{"workloads", specpb.DeploymentToProto(spec.Deployment{Workloads: make([]spec.Workload, spec.MaxWorkloads+1)})},
		{"prefix", &agentv1.Deployment{Prefix: long}},
		{"workloads[1].container.environment.items", deployment(spec.Container{Environment: make([]spec.KeyValue, spec.MaxListEntries+1)})},
		{"workloads[1].container.args.items[0].key", deployment(spec.Container{Args: []spec.Key{{Key: long}}})},
		{"workloads[1].container.routing.domain", deployment(spec.Container{Routing: &spec.Routing{Domain: long}})},
	} {
		t.Run(c.field, func(t *testing.T) {
			_, err := specpb.DeploymentFromProto(c.in)
			var problem *apperr.Error
			if !errors.As(err, &problem) || problem.Kind != apperr.Invalid || problem.Field != c.field {
				t.Fatalf("got %v, want an invalid %s", err, c.field)
			}
		})
	}
}

func TestNoMessageIsNoDeployment(t *testing.T) {
	if _, err := specpb.DeploymentFromProto(nil); !apperr.Is(err, apperr.Invalid) {
		t.Errorf("deployment: %v", err)
	}
	if _, err := specpb.ContainerFromProto(nil); !apperr.Is(err, apperr.Invalid) {
		t.Errorf("container: %v", err)
	}
}

func TestCheckReport(t *testing.T) {
	for _, c := range []struct {
		name string
		in   *agentv1.StatusReport
		ok   bool
	}{
		{"the largest", &agentv1.StatusReport{
			Events:     make([]*agentv1.DeploymentEvent, specpb.MaxReportItems),
			Containers: &agentv1.ContainerList{Containers: make([]*agentv1.Container, specpb.MaxContainers)},
		}, true},
		{"too many events", &agentv1.StatusReport{Events: make([]*agentv1.DeploymentEvent, specpb.MaxReportItems+1)}, false},
		{"too many containers", &agentv1.StatusReport{Containers: &agentv1.ContainerList{
			Containers: make([]*agentv1.Container, specpb.MaxContainers+1),
		}}, false},
		{"too long a line", &agentv1.StatusReport{Events: []*agentv1.DeploymentEvent{
			{Lines: []string{strings.Repeat("x", specpb.MaxTextBytes+1)}},
		}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := specpb.CheckReport(c.in); (err == nil) != c.ok || err != nil && !apperr.Is(err, apperr.Invalid) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestCheckSet(t *testing.T) {
	if err := specpb.CheckSet(&agentv1.AssignmentSet{Assignments: []*agentv1.Assignment{{Prefix: "a"}, {Prefix: "b"}}}); err != nil {
		t.Errorf("two prefixes: %v", err)
	}
	if err := specpb.CheckSet(&agentv1.AssignmentSet{Assignments: []*agentv1.Assignment{{Prefix: "a"}, {Prefix: "a"}}}); !apperr.Is(err, apperr.Invalid) {
		t.Errorf("a prefix twice: %v", err)
	}
	if err := specpb.CheckSet(&agentv1.AssignmentSet{Assignments: make([]*agentv1.Assignment, specpb.MaxAssignments+1)}); !apperr.Is(err, apperr.Invalid) {
		t.Errorf("too many: %v", err)
	}
}

// FuzzDeploymentFromProto: whatever decodes can be encoded again without loss.
func FuzzDeploymentFromProto(f *testing.F) {
	seed, err := proto.Marshal(specpb.DeploymentToProto(filled[spec.Deployment]()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var p agentv1.Deployment
		if proto.Unmarshal(raw, &p) != nil {
			t.Skip("not a message")
		}
		first, err := specpb.DeploymentFromProto(&p)
		if err != nil {
			if !apperr.Is(err, apperr.Invalid) {
				t.Fatalf("refused as %v", err)
			}
			return
		}
		again, err := specpb.DeploymentFromProto(overTheWire(t, specpb.DeploymentToProto(first)))
		if err != nil {
			t.Fatal(err)
		}
		same(t, again, first)
	})
}

// FuzzStatusReport: nothing in a report can bring the reader down.
func FuzzStatusReport(f *testing.F) {
	f.Fuzz(func(t *testing.T, raw []byte) {
		var p agentv1.StatusReport
		if proto.Unmarshal(raw, &p) != nil || specpb.CheckReport(&p) != nil {
			t.Skip("not a report")
		}
		for _, d := range p.GetDeployments() {
			_ = specpb.FailureFromProto(d.GetFailure())
		}
		for _, e := range p.GetEvents() {
			_ = specpb.EventFromProto(e)
		}
		for _, c := range p.GetContainers().GetContainers() {
			overTheWire(t, specpb.ObservedToProto(specpb.ObservedFromProto(c)))
		}
	})
}
