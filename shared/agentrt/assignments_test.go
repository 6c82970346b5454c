package agentrt_test

import (
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

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
	want := set(1, deployment("shop", 1), deployment("blog", 1))
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
