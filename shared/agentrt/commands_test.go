package agentrt_test

import (
	"strings"
	"testing"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/agentrttest"
	"fairlead.dev/shared/workload/workloadtest"
)

func stopWeb(id string) *agentv1.Command {
	return &agentv1.Command{Id: id, Act: &agentv1.Command_Container{Container: &agentv1.ContainerAct{
		Operation: agentv1.ContainerOperation_CONTAINER_OPERATION_STOP, Prefix: "shop", Name: "web",
	}}}
}

func isResult(id string) func(*agentv1.AgentMessage) bool {
	return func(m *agentv1.AgentMessage) bool { return m.GetCommandResult().GetId() == id }
}

func TestResultsAreToldOverRestartsUntilAcknowledged(t *testing.T) {
	stops := 0
	driver := workloadtest.NewFakeDriver(workloadtest.FakeOptions{Fail: func(op workloadtest.Op) error {
		if op.Name == "stop" {
			stops++
		}
		return nil
	}})
	c, n, p, s := enrolled(t, driver)
	s.HoldAcks()
	quiet := func() *agentrttest.Session {
		t.Helper()
		s := c.Accept(t)
		s.HoldAcks()
		s.Welcome(t, 0)
		return s
	}
	s.Assign(t, set(1, deployment("shop", 1)))
	s.AwaitPhase(t, "id-shop", 1, agentv1.Phase_PHASE_SUCCESSFUL)
	if r := s.Command(t, stopWeb("c1")); r.GetError() != "" {
		t.Fatalf("result %v", r)
	}

	c.Cut() // the acknowledgement is lost
	s = quiet()
	s.Await(t, "the result on the next session", isResult("c1"))

	p.quit()
	p = n.start()
	s = quiet()
	s.Await(t, "the result from the next process", isResult("c1"))
	s.Send(t, &agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_CommandResultAck{CommandResultAck: &agentv1.CommandResultAck{Id: "c1"}}})
	if r := s.Command(t, stopWeb("c2")); r.GetError() != "" { // the acknowledgement has come by now
		t.Fatalf("result %v", r)
	}

	p.quit()
	n.start()
	s = quiet()
	s.Await(t, "the result that was not acknowledged", isResult("c2"))
	for _, m := range s.Messages() {
		if m.GetCommandResult().GetId() == "c1" {
			t.Error("a result was told again after it had been acknowledged")
		}
	}
	if stops != 2 {
		t.Errorf("%d stops, want one for each command", stops)
	}
}

func TestCommandsAreCheckedAgainstWhatTheNodeHolds(t *testing.T) {
	_, _, _, s := enrolled(t, nil)
	s.Assign(t, set(3, deployment("shop", 3)))
	s.AwaitPhase(t, "id-shop", 3, agentv1.Phase_PHASE_SUCCESSFUL)
	late := stopWeb("c1")
	late.Precondition = &agentv1.Precondition{Generation: 2}
	if r := s.Command(t, late); r.GetErrorKind() != "precondition" {
		t.Errorf("result %v", r)
	}
	inspect := &agentv1.Command{Id: "c2", Act: &agentv1.Command_Inspect{Inspect: &agentv1.Inspect{Prefix: "shop", Name: "web"}}}
	if r := s.Command(t, inspect); !strings.Contains(string(r.GetInspection()), "GENERATION") {
		t.Errorf("result %v", r)
	}
}
