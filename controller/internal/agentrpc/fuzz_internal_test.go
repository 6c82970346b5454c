package agentrpc

import (
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"fairlead.dev/controller/internal/bulkpb"
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

// FuzzAgentMessage: whatever an agent sends is read as protobuf reads it, also
// by the codec that reads heartbeats by hand, and can be converted.
func FuzzAgentMessage(f *testing.F) {
	const deployment = "01a1fafa-36ba-7001-81e4-cf50580a9ffa"
	for _, m := range []*agentv1.AgentMessage{
		{},
		{Body: &agentv1.AgentMessage_Heartbeat{Heartbeat: &agentv1.Heartbeat{}}},
		{Body: &agentv1.AgentMessage_Heartbeat{Heartbeat: &agentv1.Heartbeat{Sequence: 1 << 63}}},
		{Body: &agentv1.AgentMessage_Hello{Hello: &agentv1.Hello{BootId: "b", Capabilities: []string{"delta", ""}, Agent: &agentv1.AgentInfo{Version: "1"}}}},
		{Body: &agentv1.AgentMessage_CommandResult{CommandResult: &agentv1.CommandResult{Id: deployment, Error: "x", ErrorKind: "not-found", Inspection: []byte("{}")}}},
		{Body: &agentv1.AgentMessage_AssignmentsAck{AssignmentsAck: &agentv1.AssignmentsAck{Generation: 1<<64 - 1, Refusal: 99}}},
		{Body: &agentv1.AgentMessage_Status{Status: &agentv1.StatusReport{
			Sequence: 1, SpoolId: "s", Deployments: []*agentv1.DeploymentStatus{{DeploymentId: deployment, Phase: 2}},
			Events: []*agentv1.DeploymentEvent{{DeploymentId: deployment, Lines: []string{"\x00"}}},
			Facts:  []*agentv1.Fact{{Sequence: 1, What: &agentv1.Fact_Exit{Exit: &agentv1.ContainerExit{ExitCode: 1}}}, {Sequence: 2}},
		}}},
	} {
		f.Add(encoded(f, m))
	}
	f.Add([]byte{0x12, 0x02, 0x08, 0x80}) // a heartbeat cut short
	f.Add([]byte{0x12, 0x02, 0x08, 0x01, 0x12, 0x00})
	own := newCodec()
	f.Fuzz(func(t *testing.T, content []byte) {
		plain := &agentv1.AgentMessage{}
		plainErr := proto.Unmarshal(content, plain)
		var h heard
		err := own.Unmarshal(mem.BufferSlice{mem.SliceBuffer(content)}, &h)
		if (err == nil) != (plainErr == nil) {
			t.Fatalf("protobuf says %v, the codec %v", plainErr, err)
		}
		if err != nil {
			return
		}
		if h.heartbeat && (plain.GetHeartbeat() == nil || plain.GetHeartbeat().GetSequence() != h.sequence) {
			t.Fatalf("protobuf reads %v, the codec a heartbeat of %d", plain, h.sequence)
		}
		if !h.heartbeat && !proto.Equal(plain, h.message) {
			t.Fatalf("protobuf reads %v, the codec %v", plain, h.message)
		}
		infoFrom(plain.GetHello().GetAgent(), "address")
		cleaned(plain.GetHello().GetCapabilities())
		resultFrom(plain.GetCommandResult())
		if report := plain.GetStatus(); report != nil && specpb.CheckReport(report) == nil {
			_, _ = reportFrom(report)
		}
	})
}

// FuzzBulkUp: whatever an agent carries can be read or is refused.
func FuzzBulkUp(f *testing.F) {
	for _, m := range []*agentv1.BulkUp{
		{},
		{Body: &agentv1.BulkUp_Logs{Logs: &agentv1.LogBatch{Dropped: 1<<64 - 1, Lines: []*agentv1.LogLine{{Text: "x"}, {}}}}},
		{Body: &agentv1.BulkUp_Output{Output: &agentv1.ExecOutput{Stream: "stdout", Data: []byte("x")}}},
		{Body: &agentv1.BulkUp_End{End: &agentv1.BulkEnd{Error: "x", ErrorKind: "y"}}},
	} {
		f.Add(encoded(f, m))
	}
	f.Fuzz(func(_ *testing.T, content []byte) {
		m := &agentv1.BulkUp{}
		if proto.Unmarshal(content, m) == nil {
			_, _ = bulkpb.UpFrom(m)
		}
	})
}
