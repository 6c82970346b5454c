package agentrt_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/agentrttest"
	"fairlead.dev/shared/protocol"
	"fairlead.dev/shared/specpb"
)

const (
	pending    = agentv1.Phase_PHASE_PENDING
	successful = agentv1.Phase_PHASE_SUCCESSFUL
	removed    = agentv1.Phase_PHASE_REMOVED
	failed     = agentv1.Phase_PHASE_FAILED
)

// stored returns the set on the node's disk.
func (n *node) stored() *agentv1.AssignmentSet {
	n.t.Helper()
	s := &agentv1.AssignmentSet{}
	if err := proto.Unmarshal([]byte(n.read("assignments.pb")), s); err != nil {
		n.t.Fatal(err)
	}
	return s
}

func TestASetIsStoredAcknowledgedAndApplied(t *testing.T) {
	c, n, p, s := enrolled(t, nil)
	want := set(1, deployment("blog", 1), deployment("shop", 1))
	s.Assign(t, want)
	if ack := s.AwaitAck(t); ack.GetDetail() != "" || ack.GetGeneration() != 1 || ack.GetSetHash() != want.GetSetHash() {
		t.Fatalf("answer %v", ack)
	}
	if !proto.Equal(n.stored(), want) {
		t.Fatal("acknowledged before it was stored")
	}
	s.AwaitPhase(t, "id-shop", 1, successful)
	if ids := n.containers(); ids["shop-web"] == "" {
		t.Fatalf("containers %v", ids)
	}
	p.quit()

	n.start()
	if s = c.Welcome(t); s.Hello.GetLineage() != "lineage" || s.Hello.GetGeneration() != 1 || s.Hello.GetSetHash() != want.GetSetHash() {
		t.Fatalf("after a restart the agent says it holds %v", s.Hello)
	}
}

func TestSetsThatMustNotBeTaken(t *testing.T) {
	_, n, _, s := enrolled(t, nil)
	s.Assign(t, set(5, deployment("shop", 5)))
	s.AwaitAck(t)
	s.AwaitPhase(t, "id-shop", 5, successful)
	before, ids := n.stored(), n.containers()

	foreign := set(9, tombstone("shop", 9))
	foreign.Lineage = "another"
	foreign.SetHash = specpb.SetHash(foreign)
	nameless := set(9, tombstone("shop", 9))
	nameless.Lineage = ""
	nameless.SetHash = specpb.SetHash(nameless)
	forged := set(9, tombstone("shop", 9))
	forged.SetHash = before.GetSetHash()

	for _, c := range []struct {
		name string
		set  *agentv1.AssignmentSet
		want agentv1.AssignmentsRefusal
	}{
		{"of another database", foreign, agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_LINEAGE},
		{"of no database", nameless, agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_LINEAGE},
		{"an older one", set(4, tombstone("shop", 4)), agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_STALE},
		{"another of the same generation", set(5, tombstone("shop", 5)), agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_STALE},
		{"an empty older one", set(1), agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_STALE},
		{"one that hashes to something else", forged, agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_HASH},
		{"one that assigns a prefix twice", set(9, tombstone("shop", 9), deployment("shop", 9)), agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_HASH},
	} {
		s.Assign(t, c.set)
		if ack := s.AwaitAck(t); ack.GetRefusal() != c.want || ack.GetDetail() == "" {
			t.Errorf("%s: answer %v, want %s", c.name, ack, c.want)
		}
	}
	s.Assign(t, before) // the same again is no offence
	if ack := s.AwaitAck(t); ack.GetDetail() != "" {
		t.Errorf("the set it holds: %v", ack)
	}
	if !proto.Equal(n.stored(), before) || n.containers()["shop-web"] != ids["shop-web"] {
		t.Error("a refused set changed something")
	}
}

func TestASetThatCannotBeStoredIsNotTaken(t *testing.T) {
	_, n, _, s := enrolled(t, nil)
	if err := os.Mkdir(filepath.Join(n.dir, "assignments.pb"), 0o700); err != nil { // nothing can take its place
		t.Fatal(err)
	}
	s.Assign(t, set(1, deployment("shop", 1)))
	if ack := s.AwaitAck(t); ack.GetRefusal() != agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_STORAGE {
		t.Fatalf("answer %v", ack)
	}
	if ids := n.containers(); len(ids) != 0 {
		t.Fatalf("applied all the same: %v", ids)
	}
}

func TestAbsenceDeletesNothingButATombstoneDoes(t *testing.T) {
	_, n, _, s := enrolled(t, nil)
	s.Assign(t, set(1, deployment("blog", 1)))
	s.AwaitPhase(t, "id-blog", 1, successful)
	s.Assign(t, set(2, deployment("shop", 2)))
	s.AwaitPhase(t, "id-shop", 2, successful)
	if ids := n.containers(); ids["blog-web"] == "" || ids["shop-web"] == "" {
		t.Fatalf("containers %v", ids)
	}
	s.Assign(t, set(3, deployment("shop", 2), tombstone("blog", 3)))
	s.AwaitPhase(t, "id-blog", 3, removed)
	if ids := n.containers(); ids["blog-web"] != "" || ids["shop-web"] == "" {
		t.Fatalf("containers %v", ids)
	}
}

func TestOneBadDeploymentDoesNotStopTheOthers(t *testing.T) {
	_, _, _, s := enrolled(t, nil)
	bad := deployment("bad", 1)
	bad.GetDeployment().Workloads[0].Container.Name = nil
	s.Assign(t, set(1, bad, deployment("shop", 1)))
	var good, ended bool
	s.Await(t, "both ends", func(m *agentv1.AgentMessage) bool {
		for _, d := range m.GetStatus().GetDeployments() {
			good = good || d.GetDeploymentId() == "id-shop" && d.GetPhase() == successful
			ended = ended || d.GetDeploymentId() == "id-bad" && d.GetPhase() == failed && d.GetFailure().GetStep() == "check"
		}
		return good && ended
	})
}

func TestAFinishedGenerationIsNotDoneAgainAfterARestart(t *testing.T) {
	driver := newGated()
	driver.setOpen()
	c, n, p, s := enrolled(t, driver)
	s.Assign(t, set(1, deployment("shop", 1)))
	driver.awaitRelease(t, 1)
	s.AwaitPhase(t, "id-shop", 1, successful)
	p.quit()

	n.start()
	s = c.Welcome(t)
	s.AwaitPhase(t, "id-shop", 1, successful) // told again: the controller may not have it
	s.Assign(t, set(2, deployment("shop", 1), deployment("blog", 2)))
	driver.awaitRelease(t, 2) // and nothing before it
}

func TestANewGenerationEndsTheOldOne(t *testing.T) {
	driver := newGated()
	_, n, _, s := enrolled(t, driver)
	s.Assign(t, set(1, deployment("shop", 1)))
	driver.awaitRelease(t, 1)
	driver.setOpen()
	s.Assign(t, set(2, deployment("shop", 2)))
	driver.awaitRelease(t, 2)
	s.AwaitPhase(t, "id-shop", 2, successful)
	if ids := n.containers(); len(ids) != 1 {
		t.Fatalf("containers %v", ids)
	}
}

func TestAnAgentStoppedMidApplyGoesOnAfterwards(t *testing.T) {
	driver := newGated()
	c, n, p, s := enrolled(t, driver)
	s.Assign(t, set(1, deployment("shop", 1)))
	driver.awaitRelease(t, 1)
	c.Cut()
	p.quit()
	driver.setOpen()
	n.start()
	driver.awaitRelease(t, 1)
	s.Over(t)
	for {
		s := c.Welcome(t) // the agent may have opened one more before it was stopped
		if s.Hello.GetGeneration() == 1 {
			s.AwaitPhase(t, "id-shop", 1, successful)
			return
		}
	}
}

// awaitPhases waits until the deployments of the set have come to the phase, in
// whatever order.
func awaitPhases(t *testing.T, s *agentrttest.Session, of *agentv1.AssignmentSet, phase agentv1.Phase) {
	t.Helper()
	missing := map[string]uint64{}
	for _, a := range of.GetAssignments() {
		missing["id-"+a.GetPrefix()] = a.GetGeneration()
	}
	s.Await(t, "all "+phase.String(), func(m *agentv1.AgentMessage) bool {
		for _, d := range m.GetStatus().GetDeployments() {
			if d.GetPhase() == phase && d.GetGeneration() == missing[d.GetDeploymentId()] {
				delete(missing, d.GetDeploymentId())
			}
		}
		return len(missing) == 0
	})
}

// change returns the delta from the one set to the other.
func change(t *testing.T, from, to *agentv1.AssignmentSet) *agentv1.AssignmentSet {
	t.Helper()
	delta, ok := specpb.DiffSet(from, to)
	if !ok {
		t.Fatalf("no delta from %v to %v", from, to)
	}
	return delta
}

func TestAChangeIsTakenWhereItFitsAndAWholeSetAskedForWhereNot(t *testing.T) {
	c, n, p, s := enrolled(t, nil)
	if !slices.Contains(s.Hello.GetCapabilities(), protocol.Delta) {
		t.Fatalf("the agent announces %v", s.Hello.GetCapabilities())
	}
	first := set(1, deployment("blog", 1), deployment("shop", 1))
	second := set(2, deployment("blog", 1), deployment("shop", 2))
	third := set(3, tombstone("blog", 3), deployment("shop", 2))
	fourth := set(4, deployment("shop", 2))
	s.Assign(t, first)
	awaitPhases(t, s, first, successful)
	blog := n.containers()["blog-web"]

	s.Assign(t, change(t, first, second))
	if ack := s.AwaitAck(t); ack.GetDetail() != "" || ack.GetGeneration() != 2 || ack.GetSetHash() != second.GetSetHash() {
		t.Fatalf("answer %v", ack)
	}
	s.AwaitPhase(t, "id-shop", 2, successful)
	if !proto.Equal(n.stored(), second) || n.containers()["blog-web"] != blog {
		t.Fatalf("holds %v, containers %v", n.stored(), n.containers())
	}
	p.quit()

	n.start() // the base of the next change comes from the disk
	s = c.Welcome(t)
	if s.Hello.GetGeneration() != 2 || s.Hello.GetSetHash() != second.GetSetHash() {
		t.Fatalf("hello %v", s.Hello)
	}
	s.Assign(t, change(t, third, fourth)) // the one before it was withheld
	if ack := s.AwaitAck(t); ack.GetRefusal() != agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_BASE || !proto.Equal(n.stored(), second) {
		t.Fatalf("answer %v, holds %v", ack, n.stored())
	}
	s.Assign(t, third)
	s.AwaitAck(t)
	s.AwaitPhase(t, "id-blog", 3, removed)
	s.Assign(t, change(t, third, fourth))
	if ack := s.AwaitAck(t); ack.GetDetail() != "" || !proto.Equal(n.stored(), fourth) {
		t.Fatalf("answer %v, holds %v", ack, n.stored())
	}
}

func TestTooMuchIsNotRemovedAtOnce(t *testing.T) {
	_, n, _, s := enrolled(t, nil)
	var running, gone, agreed []*agentv1.Assignment
	for _, prefix := range []string{"a", "b", "c", "d"} {
		running = append(running, deployment(prefix, 1))
		gone = append(gone, tombstone(prefix, 2))
		confirmed := tombstone(prefix, 2)
		confirmed.RemovalConfirmed = true
		agreed = append(agreed, confirmed)
	}
	s.Assign(t, set(1, running...))
	s.AwaitAck(t)
	awaitPhases(t, s, set(1, running...), successful)
	before, stored := n.containers(), n.stored()
	for _, attempt := range []*agentv1.AssignmentSet{set(2, gone...), change(t, set(1, running...), set(2, gone...))} {
		s.Assign(t, attempt)
		ack := s.AwaitAck(t)
		if ack.GetRefusal() != agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_MASS_REMOVAL || !strings.Contains(ack.GetDetail(), "a, b, c, d") {
			t.Fatalf("answer %v", ack)
		}
	}
	if !maps.Equal(n.containers(), before) || !proto.Equal(n.stored(), stored) {
		t.Fatal("a refused set changed something")
	}
	s.Assign(t, set(2, agreed...))
	awaitPhases(t, s, set(2, agreed...), removed)
}

func TestAnotherDatabaseTakesOverWhenItSaysSo(t *testing.T) {
	c, n, p, s := enrolled(t, nil)
	old := set(7, deployment("blog", 6), deployment("shop", 7))
	s.Assign(t, old)
	awaitPhases(t, s, old, successful)
	before := n.containers()

	restored := set(3, deployment("shop", 3), deployment("wiki", 2))
	restored.Lineage, restored.ReplacesLineage = "restored", "lineage"
	restored.SetHash = specpb.SetHash(restored)
	s.Assign(t, restored)
	awaitPhases(t, s, restored, successful) // although what is known of the shop is newer
	if after := n.containers(); after["blog-web"] != before["blog-web"] {
		t.Fatal("absence removed something")
	}
	p.quit()
	n.start()
	s = c.Welcome(t)
	if s.Hello.GetLineage() != "restored" || s.Hello.GetGeneration() != 3 {
		t.Fatalf("hello %v", s.Hello)
	}
	s.AwaitPhase(t, "id-shop", 3, successful)
}

func TestASetThatCannotBeReadIsAskedForAgain(t *testing.T) {
	c, n, p, s := enrolled(t, nil)
	want := set(4, deployment("shop", 4))
	s.Assign(t, want)
	s.AwaitPhase(t, "id-shop", 4, successful)
	before := n.containers()
	p.quit()
	good := n.read("assignments.pb")
	for name, content := range map[string]string{"cut": good[:len(good)/2], "another": strings.Replace(good, "id-shop", "id-shoe", 1)} {
		if err := os.WriteFile(filepath.Join(n.dir, "assignments.pb"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		p = n.start()
		s = c.Welcome(t)
		if s.Hello.GetLineage() != "" || s.Hello.GetGeneration() != 0 || !n.has("assignments.broken") {
			t.Errorf("%s: hello %v", name, s.Hello)
		}
		s.Assign(t, want)
		s.AwaitPhase(t, "id-shop", 4, successful)
		if !maps.Equal(n.containers(), before) {
			t.Errorf("%s: containers %v, before %v", name, n.containers(), before)
		}
		p.quit()
	}
}
