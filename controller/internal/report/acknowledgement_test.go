package report_test

import (
	"testing"

	"fairlead.dev/controller/internal/report"
)

func TestAnswersToAssignmentsAreNoted(t *testing.T) {
	w := newWorld(t)
	s := w.node("node")
	w.exec("insert into forgotten_assignments (node_id, prefix, generation) values ($1, 'old', 4), ($1, 'new', 6)", s.NodeID)
	w.exec("insert into offered_sets (node_id, generation, set_hash) values ($1, 4, 'h4'), ($1, 5, 'h5'), ($1, 6, 'h6')", s.NodeID)
	w.exec("update agents set diverged = 'it did', diverged_at = now(), replaces_lineage = 'other'")
	x := w.open(s)
	say := func(a report.Acknowledgement) {
		t.Helper()
		if err := x.Acknowledge(a); err != nil {
			t.Fatal(err)
		}
	}
	sequence := uint64(0)
	settle := func() { // what is written after it was written with it or later
		t.Helper()
		sequence++
		x.tell(report.Report{Sequence: sequence, Containers: list(container(string(rune('a' + sequence))))})
		x.await(sequence)
	}
	state := func() string {
		t.Helper()
		return value[string](w, `select concat_ws(' ', applied_generation, applied_set_hash, refused_generation, refusal,
			refused_at is not null, diverged, diverged_at is not null, replaces_lineage) from agents`)
	}

	say(report.Acknowledgement{Generation: 5, Refusal: "too much"})
	settle()
	if got := state(); got != "0  5 too much t it did t other" {
		t.Errorf("after a refusal: %s", got)
	}
	say(report.Acknowledgement{Generation: 5, Refusal: "too much"}) // the same once more
	settle()
	say(report.Acknowledgement{Generation: 5, Hash: "h5"})
	settle()
	if got := state(); got != "5 h5 0  f  f " {
		t.Errorf("after it was taken: %s", got)
	}
	if got := value[string](w, "select string_agg(prefix, ',') from forgotten_assignments"); got != "new" {
		t.Errorf("traces are left of %s", got)
	}
	if got := value[string](w, "select string_agg(set_hash, ',') from offered_sets"); got != "h6" {
		t.Errorf("offers that are kept: %s", got)
	}
	if got := value[string](w, "select string_agg(event, ',' order by id) from node_events"); got != "assignmentsRefused,assignmentsAccepted" {
		t.Errorf("the history says %s", got)
	}
}

func TestAnswersOfManyAreWrittenTogether(t *testing.T) {
	w := idleWorld(t)
	const nodes = 3 * report.MaxReports
	var last *session
	for _, s := range w.fleet(nodes) {
		last = w.open(s)
		if err := last.Acknowledge(report.Acknowledgement{Generation: 7, Hash: "h"}); err != nil {
			t.Fatal(err)
		}
	}
	last.tell(report.Report{Sequence: 1, Containers: list()})
	w.run()
	last.await(1)
	if n := value[int](w, "select count(*) from agents where applied_generation = 7 and applied_set_hash = 'h'"); n != nodes {
		t.Errorf("%d of %d are noted", n, nodes)
	}
	if n := w.store.transactions.Load(); n > 2 {
		t.Errorf("it took %d transactions", n)
	}
}
