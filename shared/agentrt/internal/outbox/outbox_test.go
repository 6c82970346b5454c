package outbox_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/outbox"
)

// facts is a spool in memory.
type facts struct {
	id    string
	list  []*agentv1.Fact
	acked uint64
	err   error
}

func (f *facts) ID() string { return f.id }

func (f *facts) Next(after uint64, most, _ int) (found []*agentv1.Fact, err error) {
	for _, fact := range f.list {
		if n := fact.GetSequence(); n > after && n > f.acked && len(found) < most {
			found = append(found, fact)
		}
	}
	return found, f.err
}

func (f *facts) Waiting(after uint64) bool { return uint64(len(f.list)) > max(after, f.acked) }

func (f *facts) Ack(n uint64) { f.acked = max(f.acked, n) }

func (f *facts) Opened(n uint64) error { f.Ack(n); return nil }

func (f *facts) add(n int) {
	for range n {
		f.list = append(f.list, &agentv1.Fact{Sequence: uint64(len(f.list) + 1)})
	}
}

func newOutbox() *outbox.Outbox { return outbox.New(&facts{id: "spool"}, func(error) {}) }

func status(id string, generation uint64, phase agentv1.Phase) *agentv1.DeploymentStatus {
	return &agentv1.DeploymentStatus{DeploymentId: id, Generation: generation, Phase: phase}
}

func line(id, text string) *agentv1.DeploymentEvent {
	return &agentv1.DeploymentEvent{DeploymentId: id, Level: agentv1.EventLevel_EVENT_LEVEL_INFO, Lines: []string{text}}
}

func TestStatusesKeepTheirLatestValue(t *testing.T) {
	o := newOutbox()
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
	o := newOutbox()
	o.Status(status("a", 1, agentv1.Phase_PHASE_IN_PROGRESS))
	first := proto.CloneOf(o.Cut())
	o.Status(status("a", 1, agentv1.Phase_PHASE_SUCCESSFUL))
	o.Cut()
	again := o.Unacked()
	if len(again) != 2 || !proto.Equal(again[0], first) || again[1].GetSequence() != 2 {
		t.Fatalf("to send again: %v", again)
	}
	o.Ack(1, 0)
	if again = o.Unacked(); len(again) != 1 || again[0].GetSequence() != 2 || o.Empty() {
		t.Fatalf("after the first acknowledgement: %v", again)
	}
	o.Ack(2, 0)
	if !o.Empty() {
		t.Fatal("not empty after the last acknowledgement")
	}
}

func TestAFullWindowCoalesces(t *testing.T) {
	o := newOutbox()
	sent := 0
	for generation := uint64(1); ; generation++ {
		o.Status(status("a", generation, agentv1.Phase_PHASE_PENDING))
		if o.Cut() == nil {
			break
		}
		sent++
	}
	o.Status(status("a", 1000, agentv1.Phase_PHASE_SUCCESSFUL))
	o.Ack(1, 0)
	r := o.Cut()
	if r.GetSequence() != uint64(sent)+1 || len(r.GetDeployments()) != 1 || r.GetDeployments()[0].GetGeneration() != 1000 {
		t.Fatalf("report %v", r)
	}
}

func TestReportsHaveALimitAndAnEndComesLast(t *testing.T) {
	o := newOutbox()
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
	o := newOutbox()
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
	o := newOutbox()
	o.Event(&agentv1.DeploymentEvent{DeploymentId: "a", Level: agentv1.EventLevel_EVENT_LEVEL_ERROR, Lines: []string{"kept"}})
	o.Event(&agentv1.DeploymentEvent{DeploymentId: "a", Level: agentv1.EventLevel_EVENT_LEVEL_INFO, State: "running"})
	const flood = 3 * outbox.MaxEvents
	for i := range flood {
		o.Event(line("a", fmt.Sprint(i)))
	}
	var all []*agentv1.DeploymentEvent
	for r := o.Cut(); r != nil; r = o.Cut() {
		all = append(all, r.GetEvents()...)
		o.Ack(r.GetSequence(), 0)
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
	o := newOutbox()
	for range 2 * outbox.MaxEvents {
		o.Event(&agentv1.DeploymentEvent{DeploymentId: "a", Level: agentv1.EventLevel_EVENT_LEVEL_ERROR, Lines: []string{"x"}})
	}
	n := 0
	for r := o.Cut(); r != nil; r = o.Cut() {
		n += len(r.GetEvents())
		o.Ack(r.GetSequence(), 0)
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
	o := newOutbox()
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

func TestFactsTravelInReportsUntilTheyAreAcknowledged(t *testing.T) {
	spool := &facts{id: "spool"}
	o := outbox.New(spool, func(err error) { t.Error(err) })
	numbers := func(r *agentv1.StatusReport) (text string) {
		for _, f := range r.GetFacts() {
			text += fmt.Sprint(f.GetSequence(), " ")
		}
		return text
	}
	spool.add(2)
	if r := o.Cut(); r != nil {
		t.Fatalf("to a controller that takes no facts: %v", r)
	}
	o.Opened(0, 0, true)
	first := o.Cut()
	if numbers(first) != "1 2 " || first.GetSpoolId() != "spool" {
		t.Fatalf("report %v", first)
	}
	spool.add(1)
	if r := o.Cut(); numbers(r) != "3 " {
		t.Fatalf("report %v", r)
	}
	if o.Empty() || o.Cut() != nil {
		t.Fatal("facts are cut once, and wait for their acknowledgement")
	}
	o.Ack(1, 2)
	o.Opened(1, 2, true) // the second report is under way still
	if r := o.Cut(); r != nil {
		t.Fatalf("cut again: %v", r)
	}
	o.Ack(2, 3)
	if !o.Empty() || spool.acked != 3 {
		t.Fatalf("acknowledged up to %d", spool.acked)
	}
}

func TestFactsThatAnOlderControllerIgnoredAreToldToTheNext(t *testing.T) {
	spool := &facts{id: "spool"}
	o := outbox.New(spool, func(err error) { t.Error(err) })
	spool.add(1)
	o.Opened(0, 0, true)
	o.Cut()
	o.Opened(0, 0, false) // a rollback to an older controller, which takes the report
	o.Ack(1, 0)
	o.Opened(1, 0, true)
	if r := o.Cut(); len(r.GetFacts()) != 1 {
		t.Fatalf("report %v", r)
	}
}

func TestAReportDoesNotNameFactsOfASpoolThatIsGone(t *testing.T) {
	spool := &facts{id: "old"}
	o := outbox.New(spool, func(err error) { t.Error(err) })
	spool.add(1)
	o.Opened(0, 0, true)
	o.Cut()
	spool.id = "new"
	o.Opened(0, 0, true)
	if r := o.Unacked(); len(r) != 1 || len(r[0].GetFacts()) != 0 {
		t.Fatalf("to send again: %v", r)
	}
	if r := o.Cut(); r.GetSpoolId() != "new" || len(r.GetFacts()) != 1 {
		t.Fatalf("report %v", r)
	}
}

func TestASpoolThatCannotBeReadHoldsNothingElseUp(t *testing.T) {
	told := 0
	o := outbox.New(&facts{err: errors.New("no such file")}, func(error) { told++ })
	o.Opened(0, 0, true)
	o.Status(status("a", 1, agentv1.Phase_PHASE_PENDING))
	if r := o.Cut(); len(r.GetDeployments()) != 1 || told == 0 {
		t.Fatalf("report %v, told %d times", r, told)
	}
}

func TestADatabaseThatWentBackIsToldTheContainersAgain(t *testing.T) {
	o := newOutbox()
	o.Containers(&agentv1.ContainerList{Containers: []*agentv1.Container{{Name: "web"}}})
	o.Cut()
	o.Ack(1, 0)
	o.Opened(1, 0, true)
	if r := o.Cut(); r != nil {
		t.Fatalf("told again: %v", r)
	}
	o.Opened(0, 0, true)
	if r := o.Cut(); len(r.GetContainers().GetContainers()) != 1 || r.GetSequence() != 2 {
		t.Fatalf("report %v", r)
	}
}

func TestAnOlderControllerIsNotToldThatANodeHasNoContainers(t *testing.T) {
	o := newOutbox()
	unseen := &agentv1.ContainerList{EngineError: "connection refused"} // since the agent began
	o.Containers(unseen)
	if r := o.Cut(); r != nil || !o.Empty() {
		t.Fatalf("report %v", r)
	}
	o.Opened(0, 0, true)
	o.Containers(unseen)
	if r := o.Cut(); r.GetContainers().GetEngineError() == "" {
		t.Fatalf("report %v", r)
	}
}

func TestAnEngineThatIsAwayIsToldOnce(t *testing.T) {
	o := newOutbox()
	o.Opened(0, 0, true)
	seen := []*agentv1.Container{{Name: "web"}}
	o.Containers(&agentv1.ContainerList{Containers: seen})
	o.Cut()
	for range 2 {
		o.Containers(&agentv1.ContainerList{Containers: seen, EngineError: "connection refused"})
	}
	if r := o.Cut(); r.GetContainers().GetEngineError() == "" {
		t.Fatalf("report %v", r)
	}
	o.Containers(&agentv1.ContainerList{Containers: seen, EngineError: "connection refused"})
	if r := o.Cut(); r != nil {
		t.Fatalf("told again: %v", r)
	}
}

func TestAFloodOfLargeEventsIsBounded(t *testing.T) {
	o := newOutbox()
	for i := range 2000 {
		e := line(fmt.Sprint(i), strings.Repeat("x", 60<<10))
		e.Level = agentv1.EventLevel_EVENT_LEVEL_ERROR
		o.Event(e)
	}
	size, dropped := 0, 0
	for r := o.Cut(); r != nil; r = o.Cut() {
		size += proto.Size(r)
		for _, e := range r.GetEvents() {
			if strings.Contains(e.GetLines()[0], "dropped") {
				dropped++
			}
		}
		o.Ack(r.GetSequence(), 0)
	}
	if size > 9<<20 || dropped == 0 {
		t.Fatalf("%d bytes waited, %d events tell of lines dropped", size, dropped)
	}
}
