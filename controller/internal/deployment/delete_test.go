package deployment_test

import (
	"sync"
	"testing"

	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

func TestDeleteEmptiesThePrefix(t *testing.T) {
	for _, phase := range []workload.Phase{workload.PhaseInProgress, workload.PhaseSuccessful, workload.PhaseFailed} {
		t.Run(string(phase), func(t *testing.T) {
			w := newWorld(t)
			d := w.create(w.version(w.project("shop"), "rolling", nil, "web"), "shop")
			w.deploy(d, phase)
			if err := w.Delete(w.ctx, d.ID); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Get(w.ctx, d.ID); !apperr.Is(err, apperr.NotFound) {
				t.Errorf("it is still there: %v", err)
			}
			a := w.assignment("shop")
			if a.Tombstone != "deployment.delete" || a.Deployment != nil || a.DeploymentID != d.ID || a.Generation != 2 {
				t.Fatalf("got assignment %+v", a)
			}

			w.report(d, workload.PhaseFailed, nil) // the agent tries again
			if w.assignment("shop").Tombstone == "" {
				t.Error("a removal that failed counts as done")
			}
			w.report(d, workload.PhaseRemoved, nil)
			if set := w.set(); len(set.Assignments) != 0 || set.Generation != 3 {
				t.Errorf("after the removal the set is %+v", set)
			}
		})
	}
}

func TestDeleteThatKeepsTheContainersEmptiesNothing(t *testing.T) {
	for _, phase := range []workload.Phase{workload.PhaseSuccessful, workload.PhaseFailed} {
		t.Run(string(phase), func(t *testing.T) {
			w := newWorld(t)
			d := w.create(w.version(w.project("shop"), "rolling", nil, "web"), "shop")
			w.deploy(d, phase)
			if err := w.DeleteKeeping(w.ctx, d.ID); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Get(w.ctx, d.ID); !apperr.Is(err, apperr.NotFound) {
				t.Errorf("it is still there: %v", err)
			}
			if set := w.set(); len(set.Assignments) != 0 || set.Generation != 2 {
				t.Errorf("the set is %+v", set)
			}
		})
	}
}

func TestDeleteThatKeepsTheContainersWaitsForTheRelease(t *testing.T) {
	w := newWorld(t)
	d := w.create(w.version(w.project("shop"), "rolling", nil, "web"), "shop")
	w.deploy(d, workload.PhaseInProgress)
	if err := w.DeleteKeeping(w.ctx, d.ID); !apperr.Is(err, apperr.Precondition) {
		t.Fatalf("in the middle of a release: %v", err)
	}
	if a := w.assignment("shop"); a.DeploymentID != d.ID || a.Deployment == nil {
		t.Errorf("got assignment %+v", a)
	}
	w.report(d, workload.PhaseSuccessful, nil)
	if err := w.DeleteKeeping(w.ctx, d.ID); err != nil {
		t.Error(err)
	}
}

func TestDeleteOfWhatDoesNotRun(t *testing.T) {
	w := newWorld(t)
	project := w.project("shop")
	v1 := w.version(project, "incremental", nil, "web")
	v2 := w.version(project, "incremental", &v1, "web")
	idle, first, second := w.create(v1, "idle"), w.create(v1, "shop"), w.create(v2, "shop")
	w.deploy(first, workload.PhaseSuccessful)
	w.deploy(second, workload.PhaseSuccessful)
	before := w.set()
	for _, d := range []deployment.Deployment{idle, first} {
		if err := w.Delete(w.ctx, d.ID); err != nil {
			t.Fatal(err)
		}
	}
	if set := w.set(); set.Generation != before.Generation || set.Assignments[0].DeploymentID != second.ID {
		t.Errorf("got set %+v, want %+v", set, before)
	}
}

func TestPrefixIsFreeAfterDelete(t *testing.T) {
	w := newWorld(t)
	d := w.create(w.version(w.project("shop"), "rolling", nil, "web"), "shop")
	w.deploy(d, workload.PhaseSuccessful)
	if err := w.Delete(w.ctx, d.ID); err != nil {
		t.Fatal(err)
	}
	// The node has not heard of it yet; the next release takes the prefix over.
	other := w.create(w.version(w.project("other"), "rolling", nil, "web"), "shop")
	w.start(other)
	if a := w.assignment("shop"); a.Tombstone != "" || a.DeploymentID != other.ID || a.Generation != 3 {
		t.Errorf("got assignment %+v", a)
	}
}

func TestDeleteOfATakeoverThatDidNotSucceedGivesThePrefixBack(t *testing.T) {
	for _, phase := range []workload.Phase{workload.PhaseFailed, workload.PhaseInProgress} {
		t.Run(string(phase), func(t *testing.T) {
			w := newWorld(t)
			project := w.project("shop")
			v1 := w.version(project, "incremental", nil, "web")
			v2 := w.version(project, "incremental", &v1, "web")
			first, second := w.create(v1, "shop"), w.create(v2, "shop")
			w.deploy(first, workload.PhaseSuccessful)
			served := w.assignment("shop").Deployment.Workloads[0]
			w.deploy(second, phase)
			if err := w.Delete(w.ctx, second.ID); err != nil {
				t.Fatal(err)
			}
			a := w.assignment("shop")
			if a.DeploymentID != first.ID || a.Deployment == nil || a.Deployment.Release != 2 || a.Deployment.Workloads[0].Hash != served.Hash {
				t.Fatalf("got assignment %+v", a)
			}
			w.wantState(first, deployment.InProgress)
			w.report(first, workload.PhaseSuccessful, nil)
			w.wantState(first, deployment.Successful)
			releases, err := w.Releases(w.ctx, first.ID)
			if err != nil || len(releases) != 2 || releases[0].Trigger != deployment.TriggerFallback || releases[1].Trigger != deployment.TriggerUser {
				t.Errorf("got releases %+v, %v", releases, err)
			}
		})
	}
}

func TestDeleteAndStartAtOnceLeaveNothingHalfDone(t *testing.T) {
	w := newWorld(t)
	version := w.version(w.project("shop"), "rolling", nil, "web")
	for range 5 {
		d := w.create(version, "shop")
		before := w.set().Generation
		var started, deleted error
		var both sync.WaitGroup
		both.Go(func() { _, started = w.Start(w.ctx, d.ID, nil) })
		both.Go(func() { deleted = w.Delete(w.ctx, d.ID) })
		both.Wait()
		if deleted != nil || started != nil && !apperr.Is(started, apperr.NotFound) {
			t.Fatalf("start: %v, delete: %v", started, deleted)
		}
		a, moved := w.assignment("shop"), w.set().Generation-before
		if a.Deployment != nil || started == nil && (moved != 2 || a.DeploymentID != d.ID) || started != nil && moved != 0 {
			t.Errorf("start: %v; the generation moved by %d to %+v", started, moved, a)
		}
	}
}
