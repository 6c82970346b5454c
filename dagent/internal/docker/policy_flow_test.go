package docker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/container"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

const tag = "registry.test/program:1"

// inMemory runs a test with an engine in memory on which a release runs.
func inMemory(t *testing.T, old []spec.Workload, test func(t *testing.T, m *memory, d *docker.Driver)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		d := docker.New(m, docker.Options{})
		if err := d.Apply(t.Context(), deploymentOf(t, 1, old, spec.Policy{}), quiet()); err != nil {
			t.Fatal(err)
		}
		m.mutations = nil
		test(t, m, d)
	})
}

func TestRedeployOfWhatRunsChangesNothing(t *testing.T) {
	var all []spec.Workload
	for i := range 50 {
		all = append(all, from(tag, named(fmt.Sprintf("web-%d", i), greet("one"))))
	}
	inMemory(t, all, func(t *testing.T, m *memory, d *docker.Driver) {
		again := deploymentOf(t, 2, all, spec.Policy{DrainSeconds: 60})
		for i := range again.Workloads {
			again.Workloads[i].InstanceID += "-of-the-next-version"
		}
		began, digests := time.Now(), 0
		err := d.Apply(t.Context(), again, workload.ReporterFunc(func(e workload.Event) {
			if e.Digest != "" {
				digests++
			}
		}))
		if err != nil || len(m.mutations) != 0 {
			t.Errorf("Apply: %v, with the calls %q; want none", err, m.mutations)
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("Apply waited for %s although there was nothing to wait for", waited)
		}
		if digests != 50 {
			t.Errorf("told of %d digests, want all", digests)
		}
	})
}

func TestATagThatStandsForAnotherImageMakesNewContainers(t *testing.T) {
	old := []spec.Workload{from(tag, web()), from("registry.test/other:1", named("db"))}
	inMemory(t, old, func(t *testing.T, m *memory, d *docker.Driver) {
		was, moved := m.digestOf(tag), "sha256:"+strings.Repeat("ab", 32)
		m.digests[tag] = moved
		next := deploymentOf(t, 2, old, spec.Policy{})
		plan, err := d.Plan(t.Context(), next)
		if err != nil {
			t.Fatal(err)
		}
		if w := plan.Workloads[0]; w.Action != workload.ActionReplace || w.DigestNow != was || w.DigestThen != moved || !slices.Equal(w.Changes, []string{"image"}) {
			t.Errorf("web is planned as %+v", w)
		}
		if plan.Workloads[1].Action != workload.ActionKeep {
			t.Errorf("db is planned as %+v", plan.Workloads[1])
		}
		if err := d.Apply(t.Context(), next, quiet()); err != nil {
			t.Fatal(err)
		}
		if plan, err = d.Plan(t.Context(), next); err != nil || !plan.Empty() {
			t.Errorf("afterwards the plan is %+v, %v", plan, err)
		}
	})
}

// Of a container that came up while nobody could tell its digest, nobody can
// say that it runs the one that is asked for.
func TestAPinnedImageIsNotTakenOnTrust(t *testing.T) {
	old := []spec.Workload{from(tag, web())}
	inMemory(t, old, func(t *testing.T, m *memory, d *docker.Driver) {
		for _, c := range m.containers {
			delete(c.config.Labels, "dev.fairlead.image-digest")
			c.config.Image = tag
		}
		next := deploymentOf(t, 2, old, spec.Policy{})
		next.Workloads[0].Image.Reference = tag + "@" + m.digestOf(tag) // under the hash of the tag, as a rollback has it
		plan, err := d.Plan(t.Context(), next)
		if err != nil || plan.Workloads[0].Action != workload.ActionReplace {
			t.Errorf("it is planned as %+v, %v", plan, err)
		}
	})
}

func TestPlanSaysWhatChangesAndWhyThereIsDowntime(t *testing.T) {
	data := func(c *spec.Container) { c.Volumes = []spec.Volume{{Name: "data", Path: "/data"}} }
	old := []spec.Workload{from(tag, web(greet("one"), publishes(8080))), from(tag, named("db", data)), from(tag, named("gone"))}
	inMemory(t, old, func(t *testing.T, _ *memory, d *docker.Driver) {
		limit := func(c *spec.Container) {
			c.ResourceConfig = &spec.ResourceConfig{Limits: &spec.Resources{Memory: "64Mi"}}
		}
		next := deploymentOf(t, 2, []spec.Workload{from(tag, web(greet("a secret"))), from(tag, named("db", data, limit)), from(tag, named("new", publishes(8080)))}, spec.Policy{})
		plan, err := d.Plan(t.Context(), next)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []struct {
			action            workload.Action
			changes, downtime string
		}{
			{workload.ActionRecreate, "environment.GREETING ports", "host port 8080/tcp is published by p-web, and p-new needs it"},
			{workload.ActionRecreate, "resourceConfig", "volume p_db_data may be mounted by one container at a time"},
			{workload.ActionCreate, "", ""},
			{workload.ActionRetire, "", ""},
		} {
			w := plan.Workloads[i]
			if w.Action != want.action || strings.Join(w.Changes, " ") != want.changes || strings.Join(w.Downtime, "; ") != want.downtime {
				t.Errorf("%s is planned as %+v, want %+v", w.Name, w, want)
			}
		}
		if text := fmt.Sprintf("%+v", plan); strings.Contains(text, "a secret") {
			t.Errorf("the plan tells a value: %s", text)
		}
	})
}

func TestPolicyDecidesWhatBecomesOfAnUnhealthyRelease(t *testing.T) {
	old := []spec.Workload{from(checkedImage, named("api")), from(tag, web(greet("one")))}
	next := []spec.Workload{from(checkedImage, named("api", health("bad"))), from(tag, web(greet("two")))}
	for policy, want := range map[spec.OnFailure]struct {
		fails, back bool
	}{
		"":                     {true, true},
		spec.OnFailureRollback: {true, true},
		spec.OnFailureKeep:     {true, false},
		spec.OnFailureNotify:   {false, false},
	} {
		t.Run("policy "+string(policy), func(t *testing.T) {
			inMemory(t, old, func(t *testing.T, m *memory, d *docker.Driver) {
				dep := deploymentOf(t, 2, next, spec.Policy{OnFailure: policy})
				warned := false
				err := d.Apply(t.Context(), dep, workload.ReporterFunc(func(e workload.Event) { warned = warned || e.Level == workload.LevelWarn }))
				var failure *workload.Failure
				if fails := errors.As(err, &failure); fails != want.fails || fails && failure.RolledBack != want.back {
					t.Errorf("Apply: %v, %+v; want it to fail: %v, rolled back: %v", err, failure, want.fails, want.back)
				}
				if failure != nil && (failure.Step != workload.StepHealth || failure.ProbeOutput != "it is bad") {
					t.Errorf("failure card %+v", failure)
				}
				if warned == want.back {
					t.Errorf("warned: %v", warned)
				}
				serves := dep
				if want.back {
					serves = deploymentOf(t, 1, old, spec.Policy{})
				}
				for _, w := range serves.Workloads {
					c, err := m.find("p-" + w.Name())
					if err != nil || c.config.Labels["dev.fairlead.spec-hash"] != w.Hash {
						t.Errorf("%s is %+v, %v; want that of release %d", w.Name(), c, err, serves.Release)
					}
				}
			})
		})
	}
}

func TestPolicyBoundsTheWaitForHealth(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, _ *memory, d *docker.Driver) {
		waiting := func(c *spec.Container) { c.ExpectedState = &spec.ExpectedState{State: spec.StateExited} }
		began := time.Now()
		err := d.Apply(t.Context(), deploymentOf(t, 2, []spec.Workload{from(tag, web(waiting))}, spec.Policy{HealthWindowSeconds: 300}), quiet())
		if waited := time.Since(began); err == nil || waited != 300*time.Second {
			t.Errorf("Apply: %v after %s, want it to fail after 300 s", err, waited)
		}
	})
}

func TestOldContainersAreDrained(t *testing.T) {
	old := []spec.Workload{from(tag, web(greet("one"))), from(tag, named("db", greet("one"), publishes(8080)))}
	next := []spec.Workload{from(tag, web(greet("two"))), from(tag, named("db", greet("two"), publishes(8080)))}
	inMemory(t, old, func(t *testing.T, m *memory, d *docker.Driver) {
		times := map[string]time.Time{}
		m.watch = func() { times[m.mutations[len(m.mutations)-1]] = time.Now() }
		if err := d.Apply(t.Context(), deploymentOf(t, 2, next, spec.Policy{DrainSeconds: 30}), quiet()); err != nil {
			t.Fatal(err)
		}
		if drained := times["stop p-web.previous"].Sub(times["rename to p-web"]); drained != 30*time.Second {
			t.Errorf("web was stopped %s after its successor took its name, want 30 s; calls %q", drained, m.mutations)
		}
	})
}

func TestWorkloadsWaitForThoseBeforeThem(t *testing.T) {
	all := []spec.Workload{from(checkedImage, named("db")), from(tag, web()), from(tag, named("api")), from(tag, named("job", args("exit", "0"), func(c *spec.Container) {
		c.ExpectedState = &spec.ExpectedState{State: spec.StateExited}
	})), from(tag, named("last"))}
	for _, test := range []struct {
		parallelism int32
		// before are pairs of calls, the first of which comes first; together are
		// pairs that are made at the same time.
		before, together [][2]string
	}{
		{0, [][2]string{{"start p-db.next", "start p-web.next"}, {"start p-job.next", "start p-last.next"}}, [][2]string{{"start p-web.next", "start p-api.next"}}},
		{1, [][2]string{{"start p-web.next", "create p-api.next"}, {"start p-api.next", "create p-job.next"}}, nil},
		{2, nil, [][2]string{{"create p-db.next", "create p-web.next"}}},
	} {
		t.Run(fmt.Sprint("parallelism ", test.parallelism), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				times := map[string]time.Time{}
				m.before = func(call string) error {
					<-time.After(time.Second) // each call takes its time, so that order shows
					return nil
				}
				m.watch = func() { times[m.mutations[len(m.mutations)-1]] = time.Now() }
				if err := docker.New(m, docker.Options{}).Apply(t.Context(), deploymentOf(t, 1, all, spec.Policy{Parallelism: test.parallelism}), quiet()); err != nil {
					t.Fatal(err)
				}
				for _, pair := range test.before {
					if !times[pair[0]].Before(times[pair[1]]) {
						t.Errorf("%s at %v, %s at %v; want one after the other", pair[0], times[pair[0]], pair[1], times[pair[1]])
					}
				}
				for _, pair := range test.together {
					if !times[pair[0]].Equal(times[pair[1]]) {
						t.Errorf("%s at %v, %s at %v; want both at once", pair[0], times[pair[0]], pair[1], times[pair[1]])
					}
				}
			})
		})
	}
}

// looping is an engine that runs containers again before anybody hears that they
// ended.
type looping struct{ *memory }

func (l looping) ContainerInspect(ctx context.Context, key string) (container.InspectResponse, error) {
	seen, err := l.memory.ContainerInspect(ctx, key)
	if err == nil && seen.State.Running {
		seen.RestartCount = 1
	}
	return seen, err
}

func TestAnExitCodeThatNobodyKnowsIsNotTold(t *testing.T) {
	m := newMemory()
	err := docker.New(looping{m}, docker.Options{}).Apply(t.Context(), deploymentOf(t, 1, []spec.Workload{from(tag, web())}, spec.Policy{}), quiet())
	var failure *workload.Failure
	if !errors.As(err, &failure) || failure.Step != workload.StepHealth || failure.ExitCode != nil {
		t.Errorf("failure %+v, want one of step health without an exit code", failure)
	}
}
