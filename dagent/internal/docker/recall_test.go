package docker_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/spec"
)

// counted is an engine that counts the questions it is asked.
type counted struct {
	docker.Engine
	inspections, lists atomic.Int64
	// deaf is true when events are lost at once.
	deaf bool
}

func (c *counted) ContainerInspect(ctx context.Context, id string) (container.InspectResponse, error) {
	c.inspections.Add(1)
	return c.Engine.ContainerInspect(ctx, id)
}

func (c *counted) ContainerList(ctx context.Context, options container.ListOptions) ([]container.Summary, error) {
	c.lists.Add(1)
	return c.Engine.ContainerList(ctx, options)
}

func (c *counted) Events(ctx context.Context, options events.ListOptions) (<-chan events.Message, <-chan error) {
	if !c.deaf {
		return c.Engine.Events(ctx, options)
	}
	lost := make(chan error, 1)
	lost <- io.ErrUnexpectedEOF
	return nil, lost
}

// While the engine's events are heard, a list inspects what something happened
// to and nothing else.
func TestListInspectsOnlyWhatChanged(t *testing.T) {
	s := newSite(t, quick())
	engine := &counted{Engine: s.engine}
	s.driver = docker.New(engine, quick())
	always := spec.RestartAlways
	s.apply(s.release(1, web(func(c *spec.Container) { c.RestartPolicy = &always }), named("db"), named("cache")))

	s.containers()
	before := engine.inspections.Load()
	if s.containers(); engine.inspections.Load() == before {
		t.Error("nothing was inspected though nobody listens to the engine's events")
	}
	ctx, deafen := context.WithCancel(t.Context())
	heard, ended := make(chan struct{}, 100), make(chan error, 1)
	go func() { ended <- s.driver.Watch(ctx, func() { heard <- struct{}{} }) }()
	<-heard
	was := s.containers()["web"]
	// Other tests' containers may be on the engine; they change nothing of these.
	s.eventually("a list without inspections", func() (bool, any) {
		before := engine.inspections.Load()
		s.containers()
		return engine.inspections.Load() == before, engine.inspections.Load()
	})
	process, err := os.FindProcess(s.inspect("web").State.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	s.eventually("the restart", func() (bool, any) {
		now := s.containers()["web"]
		return now.RestartCount == 1 && now.State == spec.StateRunning && now.StartedAt.After(was.StartedAt), now
	})
	deafen()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	before = engine.inspections.Load()
	if s.containers(); engine.inspections.Load() < before+3 {
		t.Error("a list goes by what was known, though nobody listens any more")
	}
}

// What a deployment asks the engine does not grow with how long it waits: the
// engine is at its limit while containers start.
func TestManyContainersComeUpWithFewQuestions(t *testing.T) {
	const size = 50
	var all []spec.Workload
	for i := range size {
		all = append(all, from(tag, named(fmt.Sprintf("web-%d", i))))
	}
	synctest.Test(t, func(t *testing.T) {
		engine := &counted{Engine: newMemory()}
		d := docker.New(engine, docker.Options{StabilityWindow: 4 * time.Second})
		if err := d.Apply(t.Context(), deploymentOf(t, 1, all, spec.Policy{}), quiet()); err != nil {
			t.Fatal(err)
		}
		if n := engine.inspections.Load(); n > 2*size {
			t.Errorf("%d inspections for %d containers", n, size)
		}
		if n := engine.lists.Load(); n > 5 {
			t.Errorf("%d lists of containers", n)
		}
	})
}

// Where the engine's events are lost, containers are looked at more often.
func TestContainersComeUpWithoutEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := docker.New(&counted{Engine: newMemory(), deaf: true}, docker.Options{})
		began := time.Now()
		job := from(tag, named("job", args("exit", "0"), func(c *spec.Container) {
			c.ExpectedState = &spec.ExpectedState{State: spec.StateExited}
		}))
		if err := d.Apply(t.Context(), deploymentOf(t, 1, []spec.Workload{job}, spec.Policy{}), quiet()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("that a job has ended was noticed after %s", took)
		}
	})
}
