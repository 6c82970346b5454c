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
	"github.com/opencontainers/go-digest"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

func digestType(text string) digest.Digest { return digest.Digest(text) }

// shape is a change of a deployment: what there was, and what is asked for.
type shape struct {
	old, next []spec.Workload
	policy    spec.Policy
	// fails is true when next never becomes healthy.
	fails bool
}

func from(image string, w spec.Workload) spec.Workload {
	w.Image.Reference = image
	return w
}

func count(n int32) change { return func(c *spec.Container) { c.Replicas = &n } }

func health(state string) change {
	return func(c *spec.Container) {
		c.Environment = append(c.Environment, spec.KeyValue{Key: "HEALTH", Value: state})
	}
}

func shapes() map[string]shape {
	const image = "registry.test/program:1"
	web := func(changes ...change) spec.Workload { return from(image, web(changes...)) }
	db := func(changes ...change) spec.Workload { return from(image, named("db", changes...)) }
	checked := func(changes ...change) spec.Workload { return from(checkedImage, named("api", changes...)) }
	data := func(c *spec.Container) { c.Volumes = []spec.Volume{{Name: "data", Path: "/data"}} }
	shared := func(c *spec.Container) { c.Networks = keys("shared") }
	one, two := greet("one"), greet("two")
	return map[string]shape{
		"first":          {next: []spec.Workload{web(), db()}},
		"beside":         {old: []spec.Workload{web(one), db(one), checked(one)}, next: []spec.Workload{web(two), db(two), checked(two)}},
		"one of three":   {old: []spec.Workload{web(one), db(one), checked(one)}, next: []spec.Workload{web(one), db(two), checked(one)}},
		"port":           {old: []spec.Workload{web(one, publishes(8080)), db(one)}, next: []spec.Workload{web(two, publishes(8080)), db(two)}},
		"volume":         {old: []spec.Workload{web(one), db(one, data)}, next: []spec.Workload{web(two), db(two, data)}},
		"port moves":     {old: []spec.Workload{web(publishes(8080)), db(one)}, next: []spec.Workload{web(), db(publishes(8080))}},
		"retire":         {old: []spec.Workload{web(one), db(one)}, next: []spec.Workload{web(two)}},
		"more":           {old: []spec.Workload{web(count(2), shared)}, next: []spec.Workload{web(count(3), shared)}},
		"fewer":          {old: []spec.Workload{web(count(3))}, next: []spec.Workload{web(count(1))}},
		"several":        {old: []spec.Workload{web(count(3), one, shared), db(one)}, next: []spec.Workload{web(count(3), two, shared), db(one)}},
		"one to several": {old: []spec.Workload{web(one)}, next: []spec.Workload{web(count(2), one)}},
		"in order": {
			old: []spec.Workload{web(one, publishes(8080)), db(one), checked(one)}, next: []spec.Workload{web(two, publishes(8080)), db(two), checked(two)},
			policy: spec.Policy{Parallelism: 1, DrainSeconds: 5},
		},
		"failing":            {old: []spec.Workload{web(one), db(one)}, next: []spec.Workload{web(two), db(two, args("exit", "1"))}, fails: true},
		"failing, port":      {old: []spec.Workload{web(one, publishes(8080)), db(one)}, next: []spec.Workload{web(two, publishes(8080)), db(two, args("exit", "1"))}, fails: true},
		"failing, unhealthy": {old: []spec.Workload{checked(one), db(one, data)}, next: []spec.Workload{checked(two, health("bad")), db(two, data)}, fails: true},
		"failing, several":   {old: []spec.Workload{web(count(2), one)}, next: []spec.Workload{web(count(2), two, args("exit", "1"))}, fails: true},
		"failing first":      {next: []spec.Workload{web(), db(args("exit", "1"))}, fails: true},
	}
}

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
		old, next := deploymentOf(t, 1, shape.old, shape.policy), deploymentOf(t, 2, shape.next, shape.policy)
		if len(shape.old) > 0 {
			if err := docker.New(m, docker.Options{}).Apply(t.Context(), old, quiet()); err != nil {
				t.Fatal(err)
			}
		}
		plan, err := docker.New(m, docker.Options{}).Plan(t.Context(), next)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		call := k.left
		k.end = cancel
		at := func() string { return fmt.Sprintf("killed at call %d (%s), after it %v", call, k.at, k.after) }
		m.watch = func() { keepsPromise(t, m, plan, at) }
		k.arm(m)
		err = docker.New(m, docker.Options{}).Apply(ctx, next, quiet())
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
		}

		wanted := next
		if back {
			wanted = old
		}
		recreated := map[string]bool{}
		for _, w := range plan.Workloads {
			recreated[w.Name] = w.Action == workload.ActionRecreate
		}
		if plan, err = docker.New(m, docker.Options{}).Plan(t.Context(), wanted); err != nil {
			t.Fatalf("%s: then the plan: %v", at(), err)
		}
		for i, w := range plan.Workloads { // what is down is down, and putting it right is no better
			if recreated[w.Name] {
				plan.Workloads[i].Action = workload.ActionRecreate
			}
			plan.Workloads[i].ReplicasNow = min(w.ReplicasNow, m.wells()[w.Name])
		}
		err = docker.New(m, docker.Options{}).Apply(t.Context(), wanted, quiet())
		switch {
		case shape.fails && !back && len(shape.old) > 0 && (!errors.As(err, &failure) || !failure.RolledBack):
			t.Fatalf("%s: then %v, want the failure, rolled back", at(), err)
		case shape.fails && !back && !errors.As(err, &failure):
			t.Fatalf("%s: then %v, want the failure", at(), err)
		case (!shape.fails || back) && err != nil:
			t.Fatalf("%s: then %v", at(), err)
		}
		if shape.fails {
			wanted = old
		}
		isExactly(t, m, wanted, at)
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

// keepsPromise checks that no workload has fewer healthy containers than before
// and after the change, but where the plan tells of downtime. The engine is
// locked.
func keepsPromise(t *testing.T, m *memory, plan workload.Plan, at func() string) {
	t.Helper()
	well := m.wells()
	for _, w := range plan.Workloads {
		promised := min(w.ReplicasNow, w.ReplicasThen)
		if w.Action == workload.ActionRecreate || w.Action == workload.ActionRetire {
			promised = 0
		}
		if well[w.Name] < promised {
			t.Errorf("%s, at %s: %d containers of %s are well, the plan promised %d", at(), m.mutations[len(m.mutations)-1], well[w.Name], w.Name, promised)
		}
	}
}

// isExactly checks that the engine runs the deployment and nothing else but one
// failed container a workload.
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
		if strings.Contains(c.name, "-failed-") && c.status != container.StateRunning {
			continue
		}
		got[c.name] = c.config.Labels["dev.fairlead.spec-hash"]
		if !c.well() {
			t.Errorf("%s: %s is %s", at(), c.name, c.status)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("%s: there are %v, want %v\ncalls: %q", at(), got, want, m.mutations)
	}
}
