package agentrttest

import (
	"crypto/x509"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
)

// Ping asks whether the session is alive, and waits for the answer.
func (s *Session) Ping(t testing.TB, nonce uint64) {
	t.Helper()
	s.Send(t, &agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Ping{Ping: &agentv1.Ping{Nonce: nonce}}})
	s.Await(t, "a pong", func(m *agentv1.AgentMessage) bool { return m.GetPong().GetNonce() == nonce })
}

// Command sends a command that may begin for an hour, and waits for its result.
func (s *Session) Command(t testing.TB, command *agentv1.Command) *agentv1.CommandResult {
	t.Helper()
	if command.Deadline == nil {
		command.Deadline = timestamppb.New(time.Now().Add(time.Hour))
	}
	s.Send(t, &agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Command{Command: command}})
	return s.Await(t, "the result of "+command.GetId(), func(m *agentv1.AgentMessage) bool {
		return m.GetCommandResult().GetId() == command.GetId()
	}).GetCommandResult()
}

// Bulk asks the agent for a stream on the bulk connection.
func (s *Session) Bulk(t testing.TB, request *agentv1.BulkRequest) {
	t.Helper()
	s.Send(t, &agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_BulkRequest{BulkRequest: request}})
}

// Trust tells the agent which roots to trust, and waits for its answer.
func (s *Session) Trust(t testing.TB, roots ...*x509.Certificate) *agentv1.TrustAck {
	t.Helper()
	trust := &agentv1.Trust{}
	for _, root := range roots {
		trust.Roots = append(trust.Roots, root.Raw)
	}
	s.Send(t, &agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Trust{Trust: trust}})
	return s.Await(t, "the answer to the roots", func(m *agentv1.AgentMessage) bool { return m.GetTrustAck() != nil }).GetTrustAck()
}

// AwaitFact waits for the next fact that matches.
func (s *Session) AwaitFact(t testing.TB, what string, match func(*agentv1.Fact) bool) *agentv1.Fact {
	t.Helper()
	var found *agentv1.Fact
	s.Await(t, what, func(m *agentv1.AgentMessage) bool {
		for _, f := range m.GetStatus().GetFacts() {
			if found == nil && match(f) {
				found = f
			}
		}
		return found != nil
	})
	return found
}
