package docker_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/docker/docker/api/types/container"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

var errKilled = errors.New("the agent is dead")

// killer ends an agent at one of its engine's calls.
type killer struct {
	mu    sync.Mutex
	left  int
	after bool // the call takes effect first
	once  bool // the call fails, and the agent lives
	at    string
	end   context.CancelFunc
}

func (k *killer) strike(call string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.at != "" {
		return k.dead()
	}
	if k.left--; k.left == 0 {
		k.at = call
		if !k.once {
			k.end()
		}
		return errKilled
	}
	return nil
}

func (k *killer) dead() error {
	if k.once {
		return nil
	}
	return errKilled
}

func (k *killer) arm(m *memory) {
	if k.after {
		m.after = k.strike
		m.before = func(string) error {
			k.mu.Lock()
			defer k.mu.Unlock()
			if k.at != "" {
				return k.dead()
			}
			return nil
		}
		return
	}
	m.before = k.strike
}

// The property of every deploy: whichever of its calls to the engine is the
// last one before the agent dies, there are never fewer healthy containers than
// the plan promised, then or later; and what comes next brings exactly the old
// release or exactly the new one.
func TestAnAgentThatDiesAtAnyCallConverges(t *testing.T) {
	for name, shape := range shapes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, after := range []bool{false, true} {
				for _, back := range []bool{false, true} {
					walk(t, func(call int) bool { return dieAt(t, shape, &killer{left: call, after: after}, back) })
				}
			}
		})
	}
}

// The same when a call fails, or only its answer is lost, and the agent lives:
// then it puts the old release back, or goes on to the new.
func TestACallThatFailsIsPutRight(t *testing.T) {
	for name, shape := range shapes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, after := range []bool{false, true} {
				walk(t, func(call int) bool { return dieAt(t, shape, &killer{left: call, after: after, once: true}, false) })
			}
		})
	}
}

// walk tries every call of an Apply.
func walk(t *testing.T, try func(call int) bool) {
	t.Helper()
	for call := 1; try(call); call++ {
		if t.Failed() {
			return
		}
	}
}

// dieAt kills the agent at a call and sees what becomes of it: the same release
// once more, or the old one. It returns false when there is no such call.
func dieAt(t *testing.T, shape shape, k *killer, back bool) (died bool) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		agent := func() *docker.Driver { return docker.New(m, docker.Options{Router: memoryRouter{m}}) }
		old, next := deploymentOf(t, 1, shape.old, shape.policy), deploymentOf(t, 2, shape.next, shape.policy)
		if len(shape.old) > 0 {
			if err := agent().Apply(t.Context(), old, quiet()); err != nil {
				t.Fatal(err)
			}
		}
		call := k.left
		at := func() string { return fmt.Sprintf("killed at call %d (%s), after it %v", call, k.at, k.after) }
		recreated := map[string]bool{}
		promise := func(d spec.Deployment) {
			t.Helper()
			plan, err := agent().Plan(t.Context(), d)
			if err != nil {
				t.Fatalf("%s: the plan: %v", at(), err)
			}
			p := promiseOf(m, plan, recreated)
			m.watch = func() { p.isKept(t, m, at) }
		}
		promise(next)
		ctx, cancel := context.WithCancel(t.Context())
		k.end = cancel
		k.arm(m)
		err := agent().Apply(ctx, next, quiet())
		cancel()
		synctest.Wait()
		died = k.at != ""
		m.before, m.after = nil, nil
		if !died {
			return
		}
		var failure *workload.Failure
		switch {
		case k.once && err == nil:
			isExactly(t, m, next, at)
		case k.once && errors.As(err, &failure) && failure.RolledBack:
			isExactly(t, m, old, at)
			if !strings.Contains(k.at, ".hook-") { // else it may be the call that was to take the hook away
				noHookWaits(t, m, at)
			}
		}

		wanted := next
		if back {
			wanted = deploymentOf(t, 3, shape.old, shape.policy)
		}
		promise(wanted)
		err = agent().Apply(t.Context(), wanted, quiet())
		switch {
		case shape.fails && !back && len(shape.old) > 0 && (!errors.As(err, &failure) || !failure.RolledBack):
			t.Fatalf("%s: then %v, want the failure, rolled back", at(), err)
		case shape.fails && !back && !errors.As(err, &failure):
			t.Fatalf("%s: then %v, want the failure", at(), err)
		case (!shape.fails || back) && err != nil:
			t.Fatalf("%s: then %v", at(), err)
		}
		switch {
		case shape.fails:
			hooksRan(t, m, next, spec.HookPostDeploy, 0, at)
		case !back:
			hooksRan(t, m, next, spec.HookPreDeploy, 1, at)
			hooksRan(t, m, next, spec.HookPostDeploy, 1, at)
		}
		if shape.fails {
			wanted = old
		}
		isExactly(t, m, wanted, at)
		noHookWaits(t, m, at)
	})
	return died
}

func quiet() workload.Reporter { return workload.ReporterFunc(func(workload.Event) {}) }

func deploymentOf(t *testing.T, release int64, workloads []spec.Workload, policy spec.Policy) spec.Deployment {
	t.Helper()
	d := spec.Normalize(spec.Deployment{ID: "d", Prefix: "p", Release: release, Workloads: slices.Clone(workloads), Policy: policy})
	if err := spec.Validate(d).Err(); err != nil {
		t.Fatal(err)
	}
	for i, w := range d.Workloads {
		d.Workloads[i].Hash = spec.Hash(w)
	}
	return d
}

// well reports whether a container runs and is not known to be unhealthy.
func (c *memoryContainer) well() bool {
	return c.status == container.StateRunning && !slices.Contains(c.config.Env, "HEALTH=bad")
}

// wells counts the containers of each workload that are well.
func (m *memory) wells() map[string]int {
	well := map[string]int{}
	for _, c := range m.containers {
		if c.well() {
			well[c.config.Labels["dev.fairlead.name"]]++
		}
	}
	return well
}

// promise is what a plan says will never be undercut, by workload.
type promise struct {
	// well is how many containers are well, led how many of them requests are
	// led to.
	well, led map[string]int
}

// promiseOf is what a plan promises: as many healthy containers as there are now
// and will be then, but where it tells of downtime. What is down already is
// down, and putting it right is no better: the workloads that any plan before
// recreates are kept in recreated.
func promiseOf(m *memory, plan workload.Plan, recreated map[string]bool) promise {
	p := promise{well: map[string]int{}, led: map[string]int{}}
	for _, w := range plan.Workloads {
		recreated[w.Name] = recreated[w.Name] || w.Action == workload.ActionRecreate
		if recreated[w.Name] || w.Action == workload.ActionRetire {
			continue
		}
		p.well[w.Name] = min(w.ReplicasNow, w.ReplicasThen, m.wells()[w.Name])
		p.led[w.Name] = min(p.well[w.Name], m.answering()[w.Name])
	}
	return p
}

// isKept checks a promise, and that no hook runs twice for a release. The engine
// is locked.
func (p promise) isKept(t *testing.T, m *memory, at func() string) {
	t.Helper()
	last := func() string { return m.mutations[len(m.mutations)-1] }
	well, answering := m.wells(), m.answering()
	for name, promised := range p.well {
		if well[name] < promised {
			t.Errorf("%s, at %s: %d containers of %s are well, the plan promised %d", at(), last(), well[name], name, promised)
		}
		if answering[name] < p.led[name] {
			t.Errorf("%s, at %s: %d containers of %s answer requests, the plan promised %d\ncalls: %q", at(), last(), answering[name], name, p.led[name], m.mutations)
		}
	}
	for hook, n := range m.hookRuns {
		if n > 1 {
			t.Errorf("%s, at %s: hook %s ran %d times", at(), last(), hook, n)
		}
	}
}

// hooksRan checks how often the hooks of a release ran.
func hooksRan(t *testing.T, m *memory, d spec.Deployment, kind spec.HookKind, want int, at func() string) {
	t.Helper()
	for _, w := range d.Workloads {
		n := m.hookRuns[fmt.Sprintf("%d %s %s", d.Release, w.Name(), kind)]
		if w.Hook(kind) != nil && n != want {
			t.Errorf("%s: the %s hook of %s ran %d times, want %d", at(), kind, w.Name(), n, want)
		}
	}
}

// noHookWaits checks that no hook is left that a later start would run.
func noHookWaits(t *testing.T, m *memory, at func() string) {
	t.Helper()
	for _, c := range m.containers {
		if c.config.Labels["dev.fairlead.hook"] != "" && c.status == container.StateCreated {
			t.Errorf("%s: %s waits to be run", at(), c.name)
		}
	}
}

// isExactly checks that the engine runs the deployment and nothing else but one
// failed container a workload and hooks that have ended; and that requests are led
// to all containers of workloads that are exposed, and to no others.
func isExactly(t *testing.T, m *memory, d spec.Deployment, at func() string) {
	t.Helper()
	want := map[string]string{}
	for _, w := range d.Workloads {
		name := spec.ContainerName(d.Prefix, w.Name())
		n := *w.Container.Replicas
		for i := range n {
			if n == 1 {
				want[name] = w.Hash
			} else {
				want[spec.ReplicaName(name, int(i)+1)] = w.Hash
			}
		}
	}
	got := map[string]string{}
	for _, c := range m.containers {
		ended := c.status != container.StateRunning
		if ended && (strings.Contains(c.name, "-failed-") || c.config.Labels["dev.fairlead.hook"] != "") {
			continue
		}
		got[c.name] = c.config.Labels["dev.fairlead.spec-hash"]
		if !c.well() {
			t.Errorf("%s: %s is %s", at(), c.name, c.status)
		}
	}
	for _, w := range d.Workloads {
		led, exposed := len(m.led[w.Name()]), *w.Container.Expose != spec.ExposeNone
		if answering := m.answering()[w.Name()]; answering != led || exposed && led != int(*w.Container.Replicas) || !exposed && led > 0 {
			t.Errorf("%s: requests to %s are led to %d containers, of which %d answer", at(), w.Name(), led, answering)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("%s: there are %v, want %v\ncalls: %q", at(), got, want, m.mutations)
	}
}
