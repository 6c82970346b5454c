package agentrt_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/agentrt/agentrttest"
	"fairlead.dev/shared/protocol"
	"fairlead.dev/shared/workload/workloadtest"
)

// reports returns the status reports among messages.
func reports(messages []*agentv1.AgentMessage) []*agentv1.StatusReport {
	var found []*agentv1.StatusReport
	for _, m := range messages {
		if r := m.GetStatus(); r != nil {
			found = append(found, r)
		}
	}
	return found
}

func TestWhatWasNotAcknowledgedIsSentAgainInOrder(t *testing.T) {
	c, n, _, s := enrolled(t, nil)
	s.HoldAcks()
	for generation := uint64(1); generation <= 3; generation++ {
		s.Assign(t, set(generation, deployment("shop", generation)))
		s.AwaitPhase(t, "id-shop", generation, successful)
	}
	before := reports(s.Messages())
	c.Cut()
	s.Over(t)

	s = c.Accept(t)
	committed := before[0].GetSequence()
	s.Welcome(t, committed)
	s.Assign(t, set(4, deployment("shop", 4)))
	s.AwaitPhase(t, "id-shop", 4, successful)
	again := reports(s.Messages())
	var sequences []uint64
	for i, r := range again {
		sequences = append(sequences, r.GetSequence())
		if want := committed + 1 + uint64(i); r.GetSequence() != want {
			t.Fatalf("sequences %v after %d was committed", sequences, committed)
		}
		if old := slices.IndexFunc(before, func(b *agentv1.StatusReport) bool { return b.GetSequence() == r.GetSequence() }); old >= 0 && !proto.Equal(before[old], r) {
			t.Errorf("report %d changed:\nwas %v\nis  %v", r.GetSequence(), before[old], r)
		}
	}
	if last := before[len(before)-1].GetSequence(); again[len(again)-1].GetSequence() <= last {
		t.Errorf("sequences %v do not reach beyond %d", sequences, last)
	}
	if n.containers()["shop-web"] == "" {
		t.Error("the container is gone")
	}
}

func TestTheContainersAreToldWhenTheyChange(t *testing.T) {
	driver := workloadtest.NewFakeDriver(workloadtest.FakeOptions{})
	driver.AddForeign("database")
	_, _, _, s := enrolled(t, driver)
	lists := func(want ...string) func(*agentv1.AgentMessage) bool {
		return func(m *agentv1.AgentMessage) bool {
			var names []string
			for _, c := range m.GetStatus().GetContainers().GetContainers() {
				names = append(names, c.GetPrefix()+"/"+c.GetName()+" "+c.GetState())
			}
			return slices.Equal(names, want)
		}
	}
	s.Await(t, "the first list", lists("/database running"))
	s.Assign(t, set(1, deployment("shop", 1)))
	s.Await(t, "the list with the new container", lists("/database running", "shop/web running"))
	driver.Exit("shop-web", 3)
	s.Await(t, "the list with the ended container", lists("/database running", "shop/web exited"))
}

func TestCommands(t *testing.T) {
	c, n, _, s := enrolled(t, nil)
	s.Assign(t, set(1, deployment("shop", 1)))
	s.AwaitPhase(t, "id-shop", 1, successful)
	remove := &agentv1.Command{Id: "c1", Act: &agentv1.Command_Container{Container: &agentv1.ContainerAct{
		Operation: agentv1.ContainerOperation_CONTAINER_OPERATION_DELETE, Prefix: "shop", Name: "web",
	}}}
	logs := s.Command(t, &agentv1.Command{Id: "c0", Act: &agentv1.Command_ReadLogs{ReadLogs: &agentv1.ReadLogs{Prefix: "shop", Name: "web", Tail: 10}}})
	if logs.GetError() != "" || len(logs.GetLines()) == 0 {
		t.Errorf("logs: %v", logs)
	}
	if r := s.Command(t, remove); r.GetError() != "" || n.containers()["shop-web"] != "" {
		t.Errorf("delete: %v", r)
	}
	if r := s.Command(t, &agentv1.Command{Id: "c2", Act: remove.GetAct()}); r.GetErrorKind() != "not-found" {
		t.Errorf("delete what is gone: %v", r)
	}
	c.Cut()
	s = c.Welcome(t)
	if r := s.Command(t, remove); r.GetError() != "" {
		t.Errorf("the same command on another session was carried out again: %v", r)
	}
}

func TestARevokedAgentStopsForGoodAndLeavesItsContainers(t *testing.T) {
	c, n, p, s := enrolled(t, nil)
	s.Assign(t, set(1, deployment("shop", 1)))
	s.AwaitPhase(t, "id-shop", 1, successful)
	before := n.containers()
	s.End(agentrttest.Refuse(codes.PermissionDenied, agentv1.RefusalReason_REFUSAL_REASON_REVOKED, 0))
	if err := p.wait(); !errors.Is(err, agentrt.ErrRevoked) {
		t.Fatalf("ended with %v", err)
	}
	if !n.has("revoked") || before["shop-web"] == "" || n.containers()["shop-web"] != before["shop-web"] {
		t.Errorf("containers %v, before %v", n.containers(), before)
	}

	p = n.start() // waits, and connects to nobody
	quiet, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	c.NoSession(t, quiet.Done())
	p.quit()

	c.WriteEnrolment(t, n.dir, "anew")
	n.start()
	if s = c.Welcome(t); s.AgentID != "agent-2" || s.Hello.GetGeneration() != 0 {
		t.Errorf("after a new enrolment: agent %s holds %v", s.AgentID, s.Hello)
	}
}

func TestTheAgentComesBack(t *testing.T) {
	busy := agentrttest.Refuse(codes.Unavailable, agentv1.RefusalReason_REFUSAL_REASON_BUSY, time.Millisecond)
	for name, end := range map[string]func(t *testing.T, c *agentrttest.Controller, s *agentrttest.Session){
		"after a cut":                    func(_ *testing.T, c *agentrttest.Controller, _ *agentrttest.Session) { c.Cut() },
		"after the controller hung up":   func(_ *testing.T, _ *agentrttest.Controller, s *agentrttest.Session) { s.End(nil) },
		"after the controller fell over": func(_ *testing.T, _ *agentrttest.Controller, s *agentrttest.Session) { s.End(errors.New("panic")) },
		"when the controller is busy":    func(_ *testing.T, _ *agentrttest.Controller, s *agentrttest.Session) { s.End(busy) },
		"from silence":                   func(_ *testing.T, _ *agentrttest.Controller, s *agentrttest.Session) { s.Silence() },
		"when it is asked to": func(t *testing.T, _ *agentrttest.Controller, s *agentrttest.Session) {
			s.Send(t, &agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Reconnect{Reconnect: &agentv1.Reconnect{AfterMs: 1, Reason: "moving"}}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, _, _, s := enrolled(t, nil)
			s.Assign(t, set(1, deployment("shop", 1)))
			s.AwaitPhase(t, "id-shop", 1, successful)
			end(t, c, s)
			again := c.Welcome(t)
			if again.Hello.GetBootId() != s.Hello.GetBootId() || again.Hello.GetGeneration() != 1 {
				t.Errorf("hello %v", again.Hello)
			}
			again.Assign(t, set(2, deployment("shop", 2)))
			again.AwaitPhase(t, "id-shop", 2, successful)
		})
	}
}

func TestAnAgentThatStopsSaysAllAndGoodbye(t *testing.T) {
	driver := newGated()
	driver.setOpen()
	_, _, p, s := enrolled(t, driver)
	s.Assign(t, set(1, deployment("shop", 1)))
	driver.awaitRelease(t, 1)
	p.quit()
	s.Await(t, "leaving", func(m *agentv1.AgentMessage) bool { return m.GetLeaving() != nil })
	messages := s.Messages()
	if messages[len(messages)-1].GetLeaving() == nil {
		t.Errorf("said more after leaving: %v", messages)
	}
	told := false
	for _, r := range reports(messages) {
		told = told || len(r.GetDeployments()) > 0
	}
	if !told {
		t.Errorf("left without telling how the deployment goes: %v", messages)
	}
}

func TestHealth(t *testing.T) {
	_, n, p, s := enrolled(t, nil)
	s.Assign(t, set(1))
	s.AwaitAck(t)
	deadline := time.Now().Add(agentrttest.Patience)
	for {
		until, err := agentrt.HealthyUntil(n.dir)
		if err != nil {
			t.Fatal(err)
		}
		if until.After(time.Now()) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("healthy until %v", until)
		}
		<-time.After(5 * time.Millisecond)
	}
	p.quit()
	if until, err := agentrt.HealthyUntil(n.dir); err != nil || !until.IsZero() {
		t.Errorf("after the end: healthy until %v, %v", until, err)
	}
}

// TestAPingIsAnsweredFirst: whatever else there is to say waits behind it.
func TestAPingIsAnsweredFirst(t *testing.T) {
	_, _, _, s := enrolled(t, nil)
	for nonce := uint64(1); nonce <= 20; nonce++ {
		s.Ping(t, nonce)
	}
	s.Assign(t, set(1, deployment("shop", 1), deployment("blog", 1)))
	s.Ping(t, 99)
}

func TestInQuarantineAnAgentOnlyTells(t *testing.T) {
	c, n, _, s := enrolled(t, nil)
	if !slices.Contains(s.Hello.GetCapabilities(), protocol.Quarantine) {
		t.Fatalf("the agent announces %v", s.Hello.GetCapabilities())
	}
	s.Assign(t, set(1, deployment("shop", 1)))
	s.AwaitPhase(t, "id-shop", 1, successful)
	before, stored := n.containers(), n.stored()
	c.Cut()

	s = c.Accept(t)
	s.WelcomeWith(t, func(w *agentv1.Welcome) { w.Quarantine = "it came back after a long time" })
	s.Assign(t, set(2, tombstone("shop", 2)))
	s.Send(t, &agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Command{Command: &agentv1.Command{
		Id: "c1", Act: &agentv1.Command_Container{Container: &agentv1.ContainerAct{
			Operation: agentv1.ContainerOperation_CONTAINER_OPERATION_DELETE, Prefix: "shop", Name: "web",
		}},
	}}})
	s.Ping(t, 1) // both were read
	driver, ok := n.driver.(*workloadtest.FakeDriver)
	if !ok {
		t.Fatalf("the driver is a %T", n.driver)
	}
	driver.AddForeign("database")
	s.Await(t, "the containers", func(m *agentv1.AgentMessage) bool {
		return len(m.GetStatus().GetContainers().GetContainers()) == 2
	})
	for _, m := range s.Messages() {
		if m.GetAssignmentsAck() != nil || m.GetCommandResult() != nil {
			t.Errorf("in quarantine the agent says %v", m)
		}
	}
	if n.containers()["shop-web"] != before["shop-web"] || !proto.Equal(n.stored(), stored) {
		t.Error("in quarantine something was taken")
	}
	c.Cut()

	s = c.Welcome(t)
	s.Assign(t, set(2, tombstone("shop", 2)))
	s.AwaitPhase(t, "id-shop", 2, removed)
}

func TestAClonedAgentServesOnAndStandsBack(t *testing.T) {
	c, n, _, s := enrolled(t, nil)
	s.Assign(t, set(1, deployment("shop", 1)))
	s.AwaitPhase(t, "id-shop", 1, successful)
	s.End(agentrttest.Refuse(codes.PermissionDenied, agentv1.RefusalReason_REFUSAL_REASON_CLONED, 0))
	quiet, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	c.NoSession(t, quiet.Done())
	if n.containers()["shop-web"] == "" {
		t.Error("the container is gone")
	}
}
