package deployment_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

func TestPhasesDecideTheRelease(t *testing.T) {
	tests := map[workload.Phase]struct {
		state    deployment.State
		outcome  deployment.Outcome
		finished bool
	}{
		workload.PhasePending:    {deployment.InProgress, deployment.OutcomePending, false},
		workload.PhaseInProgress: {deployment.InProgress, deployment.OutcomeInProgress, false},
		workload.PhaseSuccessful: {deployment.Successful, deployment.OutcomeSuccessful, true},
		workload.PhaseFailed:     {deployment.Failed, deployment.OutcomeFailed, true},
		workload.PhaseRemoved:    {deployment.InProgress, deployment.OutcomePending, false},
	}
	for phase, want := range tests {
		t.Run(string(phase), func(t *testing.T) {
			w := newWorld(t)
			d := w.create(w.version(w.project("shop"), "rolling", nil, "web"), "shop")
			w.deploy(d, phase)
			w.wantState(d, want.state)
			releases, err := w.Releases(w.ctx, d.ID)
			if err != nil {
				t.Fatal(err)
			}
			if r := releases[0]; r.Outcome != want.outcome || r.FinishedAt.IsZero() == want.finished {
				t.Errorf("got outcome %s at %v, want %s", r.Outcome, r.FinishedAt, want.outcome)
			}
			if w.assignment("shop").Deployment == nil {
				t.Error("the assignment is gone")
			}
		})
	}
}

func TestOutcomeIsFinal(t *testing.T) {
	w := newWorld(t)
	d := w.create(w.version(w.project("shop"), "rolling", nil, "web"), "shop")
	w.deploy(d, workload.PhaseSuccessful)
	entries := len(w.log(d))
	for _, phase := range []workload.Phase{workload.PhaseSuccessful, workload.PhaseFailed, workload.PhaseInProgress} {
		w.report(d, phase, nil)
		w.wantState(d, deployment.Successful)
	}
	if got := len(w.log(d)); got != entries {
		t.Errorf("the log grew from %d to %d entries", entries, got)
	}
}

func TestFailureCardIsKept(t *testing.T) {
	w := newWorld(t)
	d := w.create(w.version(w.project("shop"), "rolling", nil, "web"), "shop")
	w.start(d)
	instance := uuid.New()
	w.report(d, workload.PhaseFailed, &workload.Failure{
		Step: workload.StepHealth, InstanceID: instance.String(), Container: "shop-web", ExitCode: ptr(137), OOMKilled: true,
		ProbeOutput: "connection refused\x00", LogTail: []string{"out of memory", "bye"}, RolledBack: true,
		Err: apperr.New(apperr.Unsupported, "it did not become healthy"),
	})
	releases, err := w.Releases(w.ctx, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	card := releases[0].Failure
	if card == nil || card.Step != workload.StepHealth || card.InstanceID != instance.String() || card.Container != "shop-web" ||
		card.ExitCode == nil || *card.ExitCode != 137 || !card.OOMKilled || card.ProbeOutput != "connection refused\uFFFD" ||
		!slices.Equal(card.LogTail, []string{"out of memory", "bye"}) || !card.RolledBack ||
		card.Err.Error() != "it did not become healthy" || !apperr.Is(card.Err, apperr.Unsupported) {
		t.Errorf("got card %+v", card)
	}
	entries := w.log(d)
	told := entries[len(entries)-2]
	text := strings.Join(told.Lines, "\n")
	for _, want := range []string{"release 1 failed: health shop-web: it did not become healthy", "137", "memory", "connection refused", "serves on", "bye"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log does not say %q: %s", want, text)
		}
	}
	if told.Level != workload.LevelError || told.InstanceID != instance || entries[len(entries)-1].State != deployment.Failed {
		t.Errorf("got log %+v", entries)
	}
}

func TestSuccessDisplacesWhatHadThePrefix(t *testing.T) {
	w := newWorld(t)
	project := w.project("shop")
	v1 := w.version(project, "incremental", nil, "web")
	v2 := w.version(project, "incremental", &v1, "web")
	v3 := w.version(project, "incremental", &v2, "web")
	unrelated := w.version(project, "rolling", nil, "web")
	first, second, third, other := w.create(v1, "shop"), w.create(v2, "shop"), w.create(v3, "shop"), w.create(unrelated, "shop")
	elsewhere := w.create(v1, "elsewhere")
	w.deploy(elsewhere, workload.PhaseSuccessful)

	w.deploy(other, workload.PhaseSuccessful)
	w.deploy(first, workload.PhaseSuccessful)
	w.wantState(other, deployment.Obsolete)
	w.deploy(second, workload.PhaseFailed)
	w.wantState(first, deployment.Successful)
	w.deploy(second, workload.PhaseSuccessful)
	w.wantState(first, deployment.Obsolete)
	w.wantState(third, deployment.Preparing)

	w.deploy(first, workload.PhaseSuccessful) // back to what was
	w.wantState(second, deployment.Downgraded)
	w.wantState(third, deployment.Preparing)
	w.deploy(third, workload.PhaseSuccessful)
	w.wantState(first, deployment.Obsolete)
	w.wantState(second, deployment.Obsolete)
	w.wantState(elsewhere, deployment.Successful)
	last := w.log(first)
	if e := last[len(last)-1]; e.State != deployment.Obsolete {
		t.Errorf("the log of what was displaced ends with %+v", e)
	}
}

func TestStatusOfOthersIsPassedOver(t *testing.T) {
	w := newWorld(t)
	d := w.create(w.version(w.project("shop"), "rolling", nil, "web"), "shop")
	w.start(d)
	generation := w.assignment("shop").Generation
	tests := map[string]struct {
		node   uuid.UUID
		status deployment.Status
	}{
		"of another node":          {w.newNode("other"), deployment.Status{DeploymentID: d.ID, Generation: generation, Phase: workload.PhaseFailed}},
		"of an unknown deployment": {w.node, deployment.Status{DeploymentID: uuid.New(), Generation: generation, Phase: workload.PhaseFailed}},
		"of an older generation":   {w.node, deployment.Status{DeploymentID: d.ID, Generation: generation - 1, Phase: workload.PhaseFailed}},
		"of a later generation":    {w.node, deployment.Status{DeploymentID: d.ID, Generation: generation + 1, Phase: workload.PhaseFailed}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			event := deployment.Event{DeploymentID: test.status.DeploymentID, Event: workload.Event{Lines: []string{"forged"}}}
			var events []deployment.Event
			if test.node != w.node || test.status.DeploymentID != d.ID {
				events = append(events, event)
			}
			if err := w.RecordProgress(t.Context(), test.node, []deployment.Status{test.status}, events); err != nil {
				t.Fatal(err)
			}
			w.wantState(d, deployment.InProgress)
			if entries := w.log(d); len(entries) != 1 {
				t.Errorf("got log %+v", entries)
			}
		})
	}
}

func TestEventsGoIntoTheLog(t *testing.T) {
	w := newWorld(t)
	d := w.create(w.version(w.project("shop"), "rolling", nil, "web"), "shop")
	instance := uuid.New()
	at := now().Add(-time.Hour)
	many := make([]string, deployment.MaxLogLines+50)
	for i := range many {
		many[i] = fmt.Sprint("line ", i)
	}
	err := w.RecordProgress(t.Context(), w.node, nil, []deployment.Event{
		{DeploymentID: d.ID, Release: 3, Event: workload.Event{
			Time: at, Level: workload.LevelWarn, InstanceID: instance.String(), Lines: []string{"started"}, State: spec.StateRunning, Reason: "running",
		}},
		{DeploymentID: d.ID, Release: 3, Event: workload.Event{Time: now().Add(time.Hour), Level: workload.LevelInfo, Lines: many}},
		{DeploymentID: d.ID, Release: 3, Event: workload.Event{Lines: []string{"nul \x00 and \xff " + strings.Repeat("ä", deployment.MaxLineBytes)}}},
		{DeploymentID: d.ID, Release: 3, Event: workload.Event{InstanceID: instance.String(), State: "imaginary"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	entries := w.log(d)
	if len(entries) != 4 {
		t.Fatalf("got %d entries, want 4: %+v", len(entries), entries)
	}
	lines, state := entries[0], entries[1]
	if lines.Type != deployment.EntryLog || !slices.Equal(lines.Lines, []string{"started"}) || lines.Level != workload.LevelWarn ||
		lines.InstanceID != instance || lines.Release != 3 || !lines.At.Equal(at) {
		t.Errorf("got lines %+v", lines)
	}
	if state.Type != deployment.EntryContainerState || state.Container != spec.StateRunning || state.Reason != "running" || state.InstanceID != instance {
		t.Errorf("got state %+v", state)
	}
	if got := entries[2]; len(got.Lines) != deployment.MaxLogLines || got.Lines[0] != "line 0" || got.At.After(now()) {
		t.Errorf("got %d lines at %s", len(got.Lines), got.At)
	}
	if got := entries[3].Lines[0]; len(got) > deployment.MaxLineBytes || !strings.HasPrefix(got, "nul \uFFFD and \uFFFD ä") || !strings.HasSuffix(got, "ä") {
		t.Errorf("got line of %d bytes: %.40q…", len(got), got)
	}
}

func TestLogKeepsTheNewest(t *testing.T) {
	w := newWorld(t)
	version := w.version(w.project("shop"), "rolling", nil, "web")
	d, other := w.create(version, "shop"), w.create(version, "other")
	w.exec(`insert into deployment_events (deployment_id, release, type, level, lines, created_at)
		select d, 1, 'log', 'info', '[]', now() from unnest($1::uuid[]) d, generate_series(1, $2)`,
		[]uuid.UUID{d.ID, other.ID}, deployment.MaxLogEntries)
	event := deployment.Event{DeploymentID: d.ID, Release: 2, Event: workload.Event{Lines: []string{"newest"}}}
	if err := w.RecordProgress(t.Context(), w.node, nil, []deployment.Event{event, event}); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[uuid.UUID]int{d.ID: 2, other.ID: 0} {
		entries, total, err := w.Log(w.ctx, id, deployment.LogQuery{Take: 10})
		if err != nil || total != deployment.MaxLogEntries {
			t.Errorf("got %d entries, %v; want %d", total, err, deployment.MaxLogEntries)
		}
		newest := 0
		for _, e := range entries {
			if e.Release == 2 {
				newest++
			}
		}
		if newest != want {
			t.Errorf("got %d new entries, want %d", newest, want)
		}
	}
}

func TestLogPagesFromTheNewest(t *testing.T) {
	w := newWorld(t)
	d := w.create(w.version(w.project("shop"), "rolling", nil, "web"), "shop")
	var events []deployment.Event
	for i := range int64(5) {
		events = append(events, deployment.Event{DeploymentID: d.ID, Release: 1 + i/3, Event: workload.Event{Lines: []string{fmt.Sprint(i)}}})
	}
	if err := w.RecordProgress(t.Context(), w.node, nil, events); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		query deployment.LogQuery
		want  []string
		total int
	}{
		"the newest":      {deployment.LogQuery{Take: 2}, []string{"3", "4"}, 5},
		"the page before": {deployment.LogQuery{Skip: 2, Take: 2}, []string{"1", "2"}, 5},
		"the last page":   {deployment.LogQuery{Skip: 4, Take: 2}, []string{"0"}, 5},
		"beyond the end":  {deployment.LogQuery{Skip: 9, Take: 2}, nil, 5},
		"of one try":      {deployment.LogQuery{Take: 9, Try: 1}, []string{"0", "1", "2"}, 3},
		"of no such try":  {deployment.LogQuery{Take: 9, Try: 7}, nil, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			entries, total, err := w.Log(w.ctx, d.ID, test.query)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range entries {
				got = append(got, e.Lines...)
			}
			if !slices.Equal(got, test.want) || total != test.total {
				t.Errorf("got %v of %d, want %v of %d", got, total, test.want, test.total)
			}
		})
	}
	for field, query := range map[string]deployment.LogQuery{"skip": {Skip: -1, Take: 1}, "take": {Take: 1001}, "try": {Take: 1, Try: -1}} {
		_, _, err := w.Log(w.ctx, d.ID, query)
		wantError(t, err, apperr.Invalid, field)
	}
}
