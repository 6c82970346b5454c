package report_test

import (
	"slices"
	"testing"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/report"
	"fairlead.dev/shared/workload"
)

// TestAReportIsWrittenOnceHoweverOftenItComes: in its session, in the next, and
// in one that does not know what the one before has committed.
func TestAReportIsWrittenOnceHoweverOftenItComes(t *testing.T) {
	w := newWorld(t)
	s := w.node("one")
	tell := func(x *session, sequence uint64, line string) {
		t.Helper()
		x.tell(report.Report{Sequence: sequence, Events: []deployment.Event{{
			DeploymentID: uuid.New(), Release: 1, Event: workload.Event{Time: now(), Level: workload.LevelInfo, Lines: []string{line}},
		}}})
		x.await(sequence)
	}
	first := w.open(s)
	tell(first, 1, "one")
	tell(first, 1, "one")
	tell(first, 2, "two")
	next := w.open(w.again(s))
	tell(next, 1, "one")
	tell(next, 2, "two")
	tell(next, 3, "three")
	s.Epoch++
	forgetful := w.again(s)
	forgetful.StatusSequence = 0
	last := w.open(forgetful)
	tell(last, 3, "three")
	tell(last, 4, "four")

	w.progress.mu.Lock()
	defer w.progress.mu.Unlock()
	var lines []string
	for _, n := range w.progress.told {
		for _, e := range n.Events {
			lines = append(lines, e.Lines...)
		}
	}
	if !slices.Equal(lines, []string{"one", "two", "three", "four"}) {
		t.Errorf("written were %v", lines)
	}
}
