package outbox_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/outbox"
)

func status(id string, generation uint64, phase agentv1.Phase) *agentv1.DeploymentStatus {
	return &agentv1.DeploymentStatus{DeploymentId: id, Generation: generation, Phase: phase}
}

func line(id, text string) *agentv1.DeploymentEvent {
	return &agentv1.DeploymentEvent{DeploymentId: id, Level: agentv1.EventLevel_EVENT_LEVEL_INFO, Lines: []string{text}}
}

func TestStatusesKeepTheirLatestValue(t *testing.T) {
	o := outbox.New()
	o.Status(status("a", 1, agentv1.Phase_PHASE_PENDING))
	o.Status(status("b", 1, agentv1.Phase_PHASE_PENDING))
	o.Status(status("a", 2, agentv1.Phase_PHASE_IN_PROGRESS))
	o.Status(status("a", 1, agentv1.Phase_PHASE_FAILED)) // of an older generation: too late
	r := o.Cut()
	if r.GetSequence() != 1 || len(r.GetDeployments()) != 2 ||
		r.GetDeployments()[0].GetPhase() != agentv1.Phase_PHASE_IN_PROGRESS || r.GetDeployments()[0].GetGeneration() != 2 {
		t.Fatalf("report %v", r)
	}
	if o.Cut() != nil {
		t.Fatal("something was left")
	}
}

func TestReportsAreSentUnchangedUntilAcknowledged(t *testing.T) {
	o := outbox.New()
	o.Status(status("a", 1, agentv1.Phase_PHASE_IN_PROGRESS))
	first := proto.CloneOf(o.Cut())
	o.Status(status("a", 1, agentv1.Phase_PHASE_SUCCESSFUL))
	o.Cut()
	again := o.Unacked()
	if len(again) != 2 || !proto.Equal(again[0], first) || again[1].GetSequence() != 2 {
		t.Fatalf("to send again: %v", again)
	}
	o.Ack(1)
	if again = o.Unacked(); len(again) != 1 || again[0].GetSequence() != 2 || o.Empty() {
		t.Fatalf("after the first acknowledgement: %v", again)
	}
	o.Ack(2)
	if !o.Empty() {
		t.Fatal("not empty after the last acknowledgement")
	}
}

func TestAFullWindowCoalesces(t *testing.T) {
	o := outbox.New()
	sent := 0
	for generation := uint64(1); ; generation++ {
		o.Status(status("a", generation, agentv1.Phase_PHASE_PENDING))
		if o.Cut() == nil {
			break
		}
		sent++
	}
	o.Status(status("a", 1000, agentv1.Phase_PHASE_SUCCESSFUL))
	o.Ack(1)
	r := o.Cut()
	if r.GetSequence() != uint64(sent)+1 || len(r.GetDeployments()) != 1 || r.GetDeployments()[0].GetGeneration() != 1000 {
		t.Fatalf("report %v", r)
	}
}

func TestReportsHaveALimitAndAnEndComesLast(t *testing.T) {
	o := outbox.New()
	const n = outbox.MaxItems + 10
	for i := range n {
		o.Event(line("a", fmt.Sprint(i)))
	}
	o.Status(status("a", 1, agentv1.Phase_PHASE_SUCCESSFUL))
	first, second := o.Cut(), o.Cut()
	if len(first.GetEvents()) != outbox.MaxItems || len(first.GetDeployments()) != 0 {
		t.Fatalf("first report: %d events, %d statuses", len(first.GetEvents()), len(first.GetDeployments()))
	}
	if len(second.GetEvents()) != 10 || len(second.GetDeployments()) != 1 {
		t.Fatalf("second report: %d events, %d statuses", len(second.GetEvents()), len(second.GetDeployments()))
	}
	if got := second.GetEvents()[9].GetLines()[0]; got != fmt.Sprint(n-1) {
		t.Fatalf("the last line is %q", got)
	}
}

func TestLargeEventsEndAReportEarly(t *testing.T) {
	o := outbox.New()
	for range 3 {
		o.Event(line("a", strings.Repeat("x", 700<<10)))
	}
	for range 3 {
		if r := o.Cut(); len(r.GetEvents()) != 1 {
			t.Fatalf("%d large events in one report", len(r.GetEvents()))
		}
	}
}

func TestAFloodDropsTheOldestChatterAndSaysSo(t *testing.T) {
	o := outbox.New()
	o.Event(&agentv1.DeploymentEvent{DeploymentId: "a", Level: agentv1.EventLevel_EVENT_LEVEL_ERROR, Lines: []string{"kept"}})
	o.Event(&agentv1.DeploymentEvent{DeploymentId: "a", Level: agentv1.EventLevel_EVENT_LEVEL_INFO, State: "running"})
	const flood = 3 * outbox.MaxEvents
	for i := range flood {
		o.Event(line("a", fmt.Sprint(i)))
	}
	var all []*agentv1.DeploymentEvent
	for r := o.Cut(); r != nil; r = o.Cut() {
		all = append(all, r.GetEvents()...)
		o.Ack(r.GetSequence())
	}
	if len(all) > outbox.MaxEvents {
		t.Fatalf("%d events were kept", len(all))
	}
	if all[0].GetLines()[0] != "kept" || all[1].GetState() != "running" {
		t.Fatalf("the first events are %v, %v", all[0], all[1])
	}
	var dropped int
	if _, err := fmt.Sscanf(all[2].GetLines()[0], "%d lines dropped", &dropped); err != nil {
		t.Fatalf("no marker but %v", all[2])
	}
	lines := len(all) - 3
	if dropped+lines != flood {
		t.Fatalf("%d lines dropped and %d kept, %d were told", dropped, lines, flood)
	}
	if last := all[len(all)-1].GetLines()[0]; last != fmt.Sprint(flood-1) {
		t.Fatalf("the last line is %q", last)
	}
}

func TestAFloodOfImportantEventsIsBoundedToo(t *testing.T) {
	o := outbox.New()
	for range 2 * outbox.MaxEvents {
		o.Event(&agentv1.DeploymentEvent{DeploymentId: "a", Level: agentv1.EventLevel_EVENT_LEVEL_ERROR, Lines: []string{"x"}})
	}
	n := 0
	for r := o.Cut(); r != nil; r = o.Cut() {
		n += len(r.GetEvents())
		o.Ack(r.GetSequence())
	}
	if n > outbox.MaxEvents {
		t.Fatalf("%d events were kept", n)
	}
}

func TestContainersAreToldWhenTheyChange(t *testing.T) {
	list := func(second int64, states ...string) *agentv1.ContainerList {
		l := &agentv1.ContainerList{ObservedAt: &timestamppb.Timestamp{Seconds: second}}
		for _, s := range states {
			l.Containers = append(l.Containers, &agentv1.Container{State: s})
		}
		return l
	}
	o := outbox.New()
	for i, c := range []struct {
		list *agentv1.ContainerList
		told bool
	}{
		{list(1), true}, // the first list is news, even when it is empty
		{list(2), false},
		{list(3, "running"), true},
		{list(4, "running"), false},
		{list(5, "exited"), true},
	} {
		o.Containers(c.list)
		if r := o.Cut(); (r != nil) != c.told {
			t.Errorf("list %d: report %v", i, r)
		}
	}
	o.Containers(list(6, "running"))
	o.Containers(list(7, "exited")) // back again before anything was sent
	if r := o.Cut(); r != nil {
		t.Errorf("a change that went away was told: %v", r)
	}
}
