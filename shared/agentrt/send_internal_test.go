package agentrt

import (
	"testing"
	"time"

	"google.golang.org/grpc"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
)

// recorder is a stream that keeps what is sent.
type recorder struct {
	grpc.BidiStreamingClient[agentv1.AgentMessage, agentv1.ControllerMessage]
	sent []*agentv1.AgentMessage
}

func (r *recorder) Send(m *agentv1.AgentMessage) error {
	r.sent = append(r.sent, m)
	return nil
}

// TestWhatIsUrgentGoesFirst: a pong before everything, then acknowledgements,
// then results, and reports last.
func TestWhatIsUrgentGoesFirst(t *testing.T) {
	stream := &recorder{}
	s := newSession(t.Context(), patient(t, 0), nil, patient(t, 0).identity.Own, false)
	s.stream = stream
	beat := time.NewTicker(time.Hour)
	defer beat.Stop()
	w := &sender{
		session: s, beat: beat,
		results: []*agentv1.CommandResult{{Id: "r"}},
		reports: []*agentv1.StatusReport{{Sequence: 1}},
	}
	s.urgent <- &agentv1.AgentMessage{Body: &agentv1.AgentMessage_AssignmentsAck{AssignmentsAck: &agentv1.AssignmentsAck{}}}
	s.pongs <- 7
	for range 4 {
		if err := w.next(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if m := stream.sent; m[0].GetPong().GetNonce() != 7 || m[1].GetAssignmentsAck() == nil || m[2].GetCommandResult() == nil || m[3].GetStatus() == nil {
		t.Errorf("sent %v", m)
	}
}
