package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/reconcile"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// scripted is a driver whose Apply is the test's to write.
type scripted struct {
	apply func(ctx context.Context, d spec.Deployment) error
	check error
	story []workload.Event // what Apply reports
	plan  func(ctx context.Context, d spec.Deployment) (workload.Plan, error)

	mu      sync.Mutex
	applied []string // "prefix/release" of each Apply
	removed []string
}

func (s *scripted) Check(spec.Deployment) error { return s.check }

func (s *scripted) Apply(ctx context.Context, d spec.Deployment, report workload.Reporter) error {
	for _, e := range s.story {
		report.Report(e)
	}
	s.mu.Lock()
	s.applied = append(s.applied, fmt.Sprintf("%s/%d", d.Prefix, d.Release))
	s.mu.Unlock()
	if s.apply == nil {
		return nil
	}
	return s.apply(ctx, d)
}

func (s *scripted) Plan(ctx context.Context, d spec.Deployment) (workload.Plan, error) {
	if s.plan == nil {
		return workload.Plan{}, nil
	}
	return s.plan(ctx, d)
}

func (s *scripted) Remove(_ context.Context, prefix string, _ workload.Reporter) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removed = append(s.removed, prefix)
	return nil
}

// told remembers what it is told.
type told struct {
	mu       sync.Mutex
	statuses []*agentv1.DeploymentStatus
	events   []*agentv1.DeploymentEvent
}

func (o *told) Status(s *agentv1.DeploymentStatus) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.statuses = append(o.statuses, s)
}

func (o *told) Event(e *agentv1.DeploymentEvent) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = append(o.events, e)
}

func (o *told) Restart() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.statuses = nil
}

// lines returns what people are told.
func (o *told) lines() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var lines []string
	for _, e := range o.events {
		lines = append(lines, e.GetLines()...)
	}
	return lines
}

// story returns the statuses of a prefix's deployment as "generation phase".
func (o *told) story() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var lines []string
	for _, s := range o.statuses {
		lines = append(lines, fmt.Sprintf("%d %s", s.GetGeneration(), s.GetPhase()))
	}
	return lines
}

type world struct {
	driver *scripted
	told   *told
	store  map[string]*agentv1.DeploymentStatus
	r      *reconcile.Reconciler
	// full is whether results cannot be stored.
	full atomic.Bool
	// begun is what is on the disk of it.
	begun map[string]uint64
}

// newWorld must be called inside a synctest bubble; the reconciler stops with
// the test.
func newWorld(t *testing.T, driver *scripted, known map[string]*agentv1.DeploymentStatus) *world {
	t.Helper()
	return newWorldThatBegan(t, driver, known, nil)
}

// newWorldThatBegan is newWorld after an agent that was ended in between.
func newWorldThatBegan(t *testing.T, driver *scripted, known map[string]*agentv1.DeploymentStatus, begun map[string]uint64) *world {
	t.Helper()
	w := &world{driver: driver, told: &told{}}
	w.r = reconcile.New(reconcile.Config{
		Driver: driver, Outbox: w.told, Results: maps.Clone(known),
		Store: func(m map[string]*agentv1.DeploymentStatus) error {
			if w.full.Load() {
				return errors.New("no space left on device")
			}
			w.store = maps.Clone(m)
			return nil
		},
		Begun: begun,
		StoreBegun: func(m map[string]uint64) error {
			w.begun = maps.Clone(m)
			return nil
		},
		Random: func() float64 { return 0.5 },
		Now:    time.Now,
		Log:    slog.New(slog.DiscardHandler),
	})
	return w
}

func (w *world) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

func target(prefix string, generation uint64) reconcile.Target {
	name := "web"
	d := spec.Normalize(spec.Deployment{
		ID: "id-" + prefix, Prefix: prefix, Release: int64(generation),
		Workloads: []spec.Workload{{Image: spec.Image{Reference: "web:1"}, Container: spec.Container{Name: &name}}},
	})
	return reconcile.Target{
		Prefix: prefix, DeploymentID: d.ID, Generation: generation, Release: d.Release, Deployment: &d,
	}
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func TestADeploymentIsAppliedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &scripted{}, nil)
		w.r.Set([]reconcile.Target{target("shop", 1)})
		w.run(t)
		synctest.Wait()
		w.r.Set([]reconcile.Target{target("shop", 1)})
		synctest.Wait()
		want(t, w.driver.applied, "shop/1")
		want(t, w.told.story(), "1 PHASE_PENDING", "1 PHASE_IN_PROGRESS", "1 PHASE_SUCCESSFUL")
		if w.store["shop"].GetPhase() != agentv1.Phase_PHASE_SUCCESSFUL {
			t.Fatalf("stored %v", w.store)
		}
	})
}

func TestWhatIsFinishedIsToldButNotDoneAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &scripted{}, map[string]*agentv1.DeploymentStatus{
			"shop": {DeploymentId: "id-shop", Generation: 4, Phase: agentv1.Phase_PHASE_FAILED},
		})
		w.r.Set([]reconcile.Target{target("shop", 4)})
		w.run(t)
		synctest.Wait()
		want(t, w.driver.applied)
		want(t, w.told.story(), "4 PHASE_FAILED")
	})
}

func TestANewGenerationEndsTheOldAttemptAndWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := 0
		driver := &scripted{}
		driver.apply = func(ctx context.Context, d spec.Deployment) error {
			busy++
			defer func() { busy-- }()
			if busy > 1 {
				t.Error("two attempts at once")
			}
			if d.Release == 1 {
				<-ctx.Done()
				time.Sleep(time.Minute) // takes its time to end, the bubble's
				return ctx.Err()
			}
			return nil
		}
		w := newWorld(t, driver, nil)
		w.run(t)
		w.r.Set([]reconcile.Target{target("shop", 1)})
		synctest.Wait()
		w.r.Set([]reconcile.Target{target("shop", 2)})
		w.r.Set([]reconcile.Target{target("shop", 3)})
		w.r.Set([]reconcile.Target{target("shop", 2)}) // late and old
		time.Sleep(2 * time.Minute)                    // of the bubble: no real time passes
		synctest.Wait()
		want(t, driver.applied, "shop/1", "shop/3")
		if got := w.told.story(); got[len(got)-1] != "3 PHASE_SUCCESSFUL" {
			t.Fatalf("story %q", got)
		}
	})
}

func TestPrefixesDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &scripted{apply: func(ctx context.Context, d spec.Deployment) error {
			if d.Prefix == "slow" {
				<-ctx.Done()
			}
			return ctx.Err()
		}}, nil)
		w.r.Set([]reconcile.Target{target("slow", 1)})
		w.run(t)
		synctest.Wait()
		w.r.Set([]reconcile.Target{target("fast", 2)}) // absence of slow ends nothing
		synctest.Wait()
		want(t, w.told.story(), "1 PHASE_PENDING", "1 PHASE_IN_PROGRESS", "2 PHASE_PENDING", "2 PHASE_IN_PROGRESS", "2 PHASE_SUCCESSFUL")
		if len(w.driver.removed) != 0 {
			t.Fatalf("removed %v", w.driver.removed)
		}
	})
}

func TestAnEngineThatIsAwayIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		w := newWorld(t, &scripted{apply: func(context.Context, spec.Deployment) error {
			if attempts++; attempts < 20 {
				return &workload.Failure{Step: workload.StepPull, Err: apperr.New(apperr.Unavailable, "the engine does not answer")}
			}
			return nil
		}}, nil)
		w.run(t)
		w.r.Set([]reconcile.Target{target("shop", 1)})
		time.Sleep(time.Hour) // of the bubble: no real time passes
		synctest.Wait()
		got := w.told.story()
		if got[len(got)-1] != "1 PHASE_SUCCESSFUL" || slices.Contains(got, "1 PHASE_FAILED") {
			t.Fatalf("story %q", got)
		}
		if len(w.told.events) != 19 || w.told.events[0].GetState() != "waiting" {
			t.Fatalf("%d events, the first %v", len(w.told.events), w.told.events)
		}
	})
}

func TestFailures(t *testing.T) {
	served := map[string]*agentv1.DeploymentStatus{"shop": {Generation: 1, Phase: agentv1.Phase_PHASE_SUCCESSFUL}}
	invalid := target("shop", 2)
	invalid.Deployment.Workloads[0].Container.Name = nil
	misplaced := target("blog", 2)
	misplaced.Prefix = "shop"
	unreadable := target("shop", 2)
	unreadable.Deployment, unreadable.Err = nil, apperr.New(apperr.Invalid, "too large")
	code := 3

	for _, c := range []struct {
		name   string
		target reconcile.Target
		driver *scripted
		known  map[string]*agentv1.DeploymentStatus
		want   *agentv1.Failure
	}{
		{"a failure card", target("shop", 2), &scripted{apply: func(context.Context, spec.Deployment) error {
			return &workload.Failure{Step: workload.StepHealth, Container: "shop-web", ExitCode: &code, Err: apperr.New(apperr.Precondition, "it ended")}
		}}, nil, &agentv1.Failure{Step: "health", Container: "shop-web", Kind: "precondition"}},
		{"another error", target("shop", 2), &scripted{apply: func(context.Context, spec.Deployment) error {
			return errors.New("odd")
		}}, nil, &agentv1.Failure{Step: "create", Kind: "internal"}},
		{"a panic", target("shop", 2), &scripted{apply: func(context.Context, spec.Deployment) error {
			panic("nil map")
		}}, nil, &agentv1.Failure{Step: "create", Kind: "internal"}},
		{"beyond the driver", target("shop", 2), &scripted{check: apperr.New(apperr.Unsupported, "no such key")}, served,
			&agentv1.Failure{Step: "check", Kind: "unsupported", RolledBack: true}},
		{"against the rules", invalid, &scripted{}, nil, &agentv1.Failure{Step: "check", Kind: "invalid"}},
		{"another prefix's", misplaced, &scripted{}, nil, &agentv1.Failure{Step: "check", Kind: "invalid"}},
		{"unreadable", unreadable, &scripted{}, nil, &agentv1.Failure{Step: "check", Kind: "invalid"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, c.driver, c.known)
				w.run(t)
				w.r.Set([]reconcile.Target{c.target})
				synctest.Wait()
				end := w.store["shop"]
				got := end.GetFailure()
				if end.GetPhase() != agentv1.Phase_PHASE_FAILED || got.GetStep() != c.want.GetStep() ||
					got.GetKind() != c.want.GetKind() || got.GetContainer() != c.want.GetContainer() || got.GetRolledBack() != c.want.GetRolledBack() {
					t.Fatalf("ended as %v, want the failure %v", end, c.want)
				}
			})
		})
	}
}

func TestATombstoneRemoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &scripted{}, nil)
		w.run(t)
		w.r.Set([]reconcile.Target{{Prefix: "shop", DeploymentID: "id-shop", Generation: 3}})
		synctest.Wait()
		want(t, w.driver.removed, "shop")
		want(t, w.told.story(), "3 PHASE_PENDING", "3 PHASE_IN_PROGRESS", "3 PHASE_REMOVED")
	})
}

func TestAnAttemptCutShortHasNoEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &scripted{apply: func(ctx context.Context, _ spec.Deployment) error {
			<-ctx.Done()
			return ctx.Err()
		}}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.r.Run(ctx) }()
		w.r.Set([]reconcile.Target{target("shop", 1)})
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		want(t, w.told.story(), "1 PHASE_PENDING", "1 PHASE_IN_PROGRESS")
		if w.store != nil {
			t.Fatalf("stored %v", w.store)
		}
	})
}

// TestAResultCountsOnceItIsStored: an end that was told and is not on the disk
// would be come to again after a restart, over what people did meanwhile.
func TestAResultCountsOnceItIsStored(t *testing.T) {
	tests := map[string]struct {
		then func(w *world)
		want []string
	}{
		"the disk has room again": {
			then: func(w *world) { w.full.Store(false) },
			want: []string{"1 PHASE_PENDING", "1 PHASE_IN_PROGRESS", "1 PHASE_SUCCESSFUL"},
		},
		"it stays full": {
			then: func(*world) {},
			want: []string{"1 PHASE_PENDING", "1 PHASE_IN_PROGRESS"},
		},
		"something newer is wanted meanwhile": {
			then: func(w *world) {
				w.r.Set([]reconcile.Target{target("shop", 2)})
				synctest.Wait()
				w.full.Store(false)
			},
			want: []string{"1 PHASE_PENDING", "1 PHASE_IN_PROGRESS", "2 PHASE_PENDING", "2 PHASE_IN_PROGRESS", "2 PHASE_SUCCESSFUL"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				driver := &scripted{}
				w := newWorld(t, driver, nil)
				w.full.Store(true)
				w.run(t)
				w.r.Set([]reconcile.Target{target("shop", 1)})
				synctest.Wait()
				want(t, w.told.story(), "1 PHASE_PENDING", "1 PHASE_IN_PROGRESS")
				if said := w.told.lines(); len(said) != 1 || !strings.Contains(said[0], "no space left") {
					t.Errorf("the user is told %q", said)
				}
				tt.then(w)
				time.Sleep(10 * time.Minute) // the bubble's time
				synctest.Wait()
				want(t, w.told.story(), tt.want...)
				driver.mu.Lock()
				defer driver.mu.Unlock()
				if len(slices.Compact(slices.Clone(driver.applied))) != len(driver.applied) {
					t.Errorf("the work was done again: %v", driver.applied)
				}
			})
		})
	}
}

// TestAnotherDatabaseCountsAnew: after a restart lower generations are newer,
// in memory, on disk, and over an attempt that was under way.
func TestAnotherDatabaseCountsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		driver := &scripted{apply: func(_ context.Context, d spec.Deployment) error {
			if d.Prefix == "slow" && d.Release == 8 {
				<-release // ends well, however late
			}
			return nil
		}}
		w := newWorld(t, driver, map[string]*agentv1.DeploymentStatus{
			"shop": {DeploymentId: "id-shop", Generation: 7, Phase: agentv1.Phase_PHASE_SUCCESSFUL},
		})
		w.r.Set([]reconcile.Target{target("shop", 7), target("slow", 8)})
		w.run(t)
		synctest.Wait()
		if err := w.r.Restart(); err != nil {
			t.Fatal(err)
		}
		if got := w.store["shop"]; got.GetGeneration() != 0 || got.GetPhase() != agentv1.Phase_PHASE_SUCCESSFUL {
			t.Errorf("after the restart %v is on disk", got)
		}
		w.r.Set([]reconcile.Target{target("shop", 2), target("slow", 3)})
		synctest.Wait()
		close(release)
		synctest.Wait()
		want(t, driver.applied, "slow/8", "shop/2", "slow/3")
		if a, b := w.store["shop"].GetGeneration(), w.store["slow"].GetGeneration(); a != 2 || b != 3 {
			t.Errorf("generations %d and %d are on disk", a, b)
		}
		w.r.Set([]reconcile.Target{target("shop", 1)}) // within the new one nothing goes back
		synctest.Wait()
		want(t, driver.applied, "slow/8", "shop/2", "slow/3")
	})
}

func TestARestartThatCannotBeStoredChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := reconcile.New(reconcile.Config{
			Driver: &scripted{}, Outbox: &told{}, Now: time.Now, Log: slog.New(slog.DiscardHandler),
			Store: func(map[string]*agentv1.DeploymentStatus) error { return errors.New("disk full") },
		})
		if err := r.Restart(); err == nil {
			t.Fatal("no error")
		}
	})
}

func TestWhatHappensLaterIsToldAsPartOfTheAssignmentsStory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &scripted{}, nil)
		w.r.Tell("shop", workload.Event{Lines: []string{"too early"}})
		w.r.Set([]reconcile.Target{target("shop", 4)})
		w.run(t)
		synctest.Wait()
		w.r.Tell("shop", workload.Event{Level: workload.LevelWarn, Lines: []string{"changed by hand"}})
		w.r.Tell("others", workload.Event{Lines: []string{"nobody's"}})
		events := w.told.events
		if len(events) != 1 || events[0].GetDeploymentId() != "id-shop" || events[0].GetGeneration() != 4 || events[0].GetRelease() != 4 || events[0].GetTime() == nil {
			t.Errorf("told %v", events)
		}
	})
}
