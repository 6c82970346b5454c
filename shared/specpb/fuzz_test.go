package specpb_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/specpb"
)

func encoded(f *testing.F, m proto.Message) []byte {
	f.Helper()
	content, err := proto.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	return content
}

// FuzzReport: whatever an agent reports can be read or is refused.
func FuzzReport(f *testing.F) {
	f.Add(encoded(f, &agentv1.StatusReport{Sequence: 1, SpoolId: "s",
		Deployments: []*agentv1.DeploymentStatus{{DeploymentId: "d", Phase: agentv1.Phase_PHASE_FAILED, Failure: &agentv1.Failure{Step: "pull", Kind: "internal"}}},
		Events:      []*agentv1.DeploymentEvent{{DeploymentId: "d", Level: agentv1.EventLevel_EVENT_LEVEL_INFO, Lines: []string{"x"}}},
		Containers:  &agentv1.ContainerList{Containers: []*agentv1.Container{{Name: "web", EngineId: "e", Ports: []*agentv1.ContainerPort{{Internal: 1}}}}},
	}))
	f.Add([]byte{0x12, 0x00, 0x1a, 0x00, 0x22, 0x02, 0x12, 0x00})
	f.Fuzz(func(_ *testing.T, content []byte) {
		report := &agentv1.StatusReport{}
		if proto.Unmarshal(content, report) != nil || specpb.CheckReport(report) != nil {
			return
		}
		for _, d := range report.GetDeployments() {
			_, _ = specpb.PhaseFromProto(d.GetPhase())
			specpb.FailureFromProto(d.GetFailure())
		}
		for _, e := range report.GetEvents() {
			specpb.EventFromProto(e)
		}
		for _, c := range report.GetContainers().GetContainers() {
			specpb.ObservedFromProto(c)
		}
	})
}
