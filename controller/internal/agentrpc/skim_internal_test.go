package agentrpc

import (
	"testing"
	"time"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
)

func reportMessage(r *agentv1.StatusReport) *agentv1.AgentMessage {
	return &agentv1.AgentMessage{Body: &agentv1.AgentMessage_Status{Status: r}}
}

// listed is a report of one container.
func listed(sequence uint64, state string) *agentv1.StatusReport {
	return &agentv1.StatusReport{Sequence: sequence, SpoolId: "spool", Containers: &agentv1.ContainerList{
		ObservedAt: timestamppb.New(time.Unix(int64(sequence), 0)),
		Containers: []*agentv1.Container{{Prefix: "shop", Name: "web", EngineId: "1", Command: state}},
	}}
}

func receive(t *testing.T, h *heard, m *agentv1.AgentMessage) {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, h); err != nil {
		t.Fatal(err)
	}
	if !h.same && !h.heartbeat && !proto.Equal(h.message, m) {
		t.Fatalf("read %v, want %v", h.message, m)
	}
	h.remember()
}

func TestAReportOfTheSameListIsNotReadAgain(t *testing.T) {
	var h heard
	told := func(want bool, r *agentv1.StatusReport) {
		t.Helper()
		receive(t, &h, reportMessage(r))
		if h.same != want || want && h.sequence != r.GetSequence() {
			t.Errorf("report %d: same is %v of %d, want %v", r.GetSequence(), h.same, h.sequence, want)
		}
	}
	told(false, listed(1, "run"))
	told(true, listed(2, "run"))
	told(false, listed(3, "sleep"))
	told(true, listed(4, "sleep"))
	told(false, listed(5, "run"))

	// What says more is read.
	more := listed(6, "run")
	more.Facts = []*agentv1.Fact{{Sequence: 1}}
	told(false, more)
	more = listed(7, "run")
	more.Deployments = []*agentv1.DeploymentStatus{{DeploymentId: "1"}}
	told(false, more)
	more = listed(8, "run")
	more.Events = []*agentv1.DeploymentEvent{{DeploymentId: "1"}}
	told(false, more)
	told(true, listed(9, "run"))
	broken := listed(10, "run")
	broken.Containers.EngineError = "away"
	told(false, broken)
	told(false, &agentv1.StatusReport{Sequence: 11})
	told(false, listed(12, "run"))
	told(false, listed(0, "run"))     // refused
	told(false, listed(1<<63, "run")) // refused
	receive(t, &h, &agentv1.AgentMessage{Body: &agentv1.AgentMessage_Heartbeat{Heartbeat: &agentv1.Heartbeat{Sequence: 1}}})
	told(true, listed(13, "run"))
	none := &agentv1.StatusReport{Sequence: 14, Containers: &agentv1.ContainerList{}}
	told(false, none)
	told(true, none)
}

func TestAcknowledgementsAreWhatProtobufWouldWrite(t *testing.T) {
	c := newCodec()
	for _, n := range sequences() {
		for _, fact := range sequences() {
			data, err := c.Marshal(&committed{n, fact})
			if err != nil {
				t.Fatal(err)
			}
			var m agentv1.ControllerMessage
			if err := proto.Unmarshal(data.Materialize(), &m); err != nil || m.GetStatusAck() == nil ||
				m.GetStatusAck().GetSequence() != n || m.GetStatusAck().GetFactSequence() != fact {
				t.Errorf("%d, %d: read %v, %v", n, fact, &m, err)
			}
		}
	}
}

// FuzzSkim holds what is told of a report without reading it to the report.
func FuzzSkim(f *testing.F) {
	for _, r := range []*agentv1.StatusReport{
		listed(1, "run"), {Sequence: 2}, {}, {Sequence: 3, Containers: &agentv1.ContainerList{}},
		{Sequence: 4, Facts: []*agentv1.Fact{{}}, Containers: &agentv1.ContainerList{EngineError: "away"}},
	} {
		data, err := proto.Marshal(reportMessage(r))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, ok := skim(data)
		if !ok {
			return
		}
		var m agentv1.AgentMessage
		if err := proto.Unmarshal(data, &m); err != nil {
			return // such a list is never remembered
		}
		s := m.GetStatus()
		if s.GetContainers() == nil || s.GetSequence() != r.sequence || r.list == (listSum{}) ||
			r.bare && len(s.GetDeployments())+len(s.GetEvents())+len(s.GetFacts()) > 0 {
			t.Errorf("%x: skimmed %+v of %v", data, r, s)
		}
	})
}
