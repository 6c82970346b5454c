package docker_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/dagent/internal/enginetest"
	"fairlead.dev/shared/durable"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// agent has the driver watch the engine and list its containers, as an agent
// does, until stop is called.
func (s *site) agent(options docker.Options) (stop func()) {
	s.Helper()
	s.driver = docker.New(s.engine, options)
	driver := s.driver
	ctx, cancel := context.WithCancel(s.Context())
	hints := make(chan struct{}, 1)
	hint := func() {
		select {
		case hints <- struct{}{}:
		default:
		}
	}
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for ctx.Err() == nil {
			_ = driver.Watch(ctx, hint) // it is begun anew, however it ends
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	tasks.Go(func() {
		for {
			select {
			case <-hints:
				_, _ = driver.List(ctx) // the engine may be away
			case <-ctx.Done():
				return
			}
		}
	})
	stop = func() {
		cancel()
		tasks.Wait()
	}
	s.Cleanup(stop)
	return stop
}

// awaitRuns waits until the record of what runs is as it should be.
func (s *site) awaitRuns(path, what string, is func(docker.Runs) bool) {
	s.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		runs, err := recordOf(path).Load()
		if err != nil {
			s.Fatal(err)
		}
		if is(runs) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			s.Fatalf("the record of what runs is %+v, want %s", runs, what)
		}
	}
}

func (s *site) awaitRunning(path string, containers map[string]workload.Container, names ...string) {
	s.Helper()
	s.awaitRuns(path, "all that run, and the engine there", func(runs docker.Runs) bool {
		for _, name := range names {
			if !runs.Running[containers[name].EngineID].StartedAt.Equal(containers[name].StartedAt) {
				return false
			}
		}
		return runs.LostAt.IsZero() && len(runs.Running) == len(names)
	})
}

// recordOf is the record of what runs.
func recordOf(path string) *durable.Record[docker.Runs] {
	return durable.NewRecord[docker.Runs](path, "what runs")
}

func knowing(path string) docker.Options {
	options := quick()
	options.Runs = recordOf(path)
	return options
}

// What an engine takes along when it crashes is started again when it is back,
// also by an agent that the engine took along as well. What somebody stopped, or
// what was meant to end, stays as it is.
func TestWhatEndsWithTheEngineIsStartedAgain(t *testing.T) {
	t.Parallel()
	e := enginetest.Start(t, enginetest.Options{})
	path := filepath.Join(t.TempDir(), "runs.json")
	s := on(t, e, quick())
	stop := s.agent(knowing(path))
	never := spec.RestartNo
	s.apply(s.release(1, web(), named("db"), named("told"), named("stopped"),
		named("once", func(c *spec.Container) { c.RestartPolicy = &never }),
		named("job", args("exit", "0"), func(c *spec.Container) {
			c.ExpectedState = &spec.ExpectedState{State: spec.StateExited, TimeoutSeconds: 60}
		})))
	before := s.containers()
	s.awaitRunning(path, before, "web", "db", "told", "stopped", "once")
	if err := s.driver.Stop(t.Context(), workload.ContainerID{Prefix: s.prefix, Name: "told"}); err != nil {
		t.Fatal(err)
	}
	if err := s.engine.ContainerStop(t.Context(), before["stopped"].EngineID, container.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	e.Kill()
	s.awaitRuns(path, "the engine lost", func(runs docker.Runs) bool { return !runs.LostAt.IsZero() })
	stop()
	e.Resume()
	down := s.containers()
	if down["web"].State == spec.StateRunning {
		t.Log("this engine starts again itself what it ends when it is back")
	}
	s.agent(knowing(path))
	s.awaitServing(map[string]workload.Container{"web": before["web"], "db": before["db"]})
	now := s.containers()
	s.awaitRunning(path, now, "web", "db")
	for name, was := range before {
		switch is := now[name]; {
		case is.EngineID != was.EngineID:
			t.Errorf("%s is another container", name)
		case name == "web" || name == "db":
		case is.State != spec.StateExited:
			t.Errorf("%s is %s, want it left alone", name, is.State)
		}
	}

	// And a second time, by the same agent.
	e.Kill()
	s.awaitRuns(path, "the engine lost", func(runs docker.Runs) bool { return !runs.LostAt.IsZero() })
	e.Resume()
	s.awaitServing(map[string]workload.Container{"web": now["web"], "db": now["db"]})
}

// Somebody stops a container while the engine's events are not heard. Then it
// ended after they were lost, as with an engine that crashes, and is left alone.
func TestWhatIsStoppedWhileEventsAreLostStaysStopped(t *testing.T) {
	s := newSite(t, quick())
	d := newDoor(t)
	through, err := docker.Connect("unix://" + d.path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = through.Close() }()
	direct := s.engine
	s.engine = through
	defer func() { s.engine = direct }()
	path := filepath.Join(t.TempDir(), "runs.json")
	defer s.agent(knowing(path))()
	s.apply(s.release(1, web(), named("db")))
	before := s.containers()
	known := func(runs docker.Runs) bool {
		return runs.LostAt.IsZero() && !runs.Running[before["web"].EngineID].StartedAt.IsZero()
	}
	s.awaitRuns(path, "web running", known)
	d.shut()
	s.awaitRuns(path, "the engine lost", func(runs docker.Runs) bool { return !runs.LostAt.IsZero() })
	if err := direct.ContainerStop(t.Context(), before["web"].EngineID, container.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	d.open(t)
	s.awaitRuns(path, "the engine back, and web not running", func(runs docker.Runs) bool {
		return runs.LostAt.IsZero() && runs.Running[before["web"].EngineID].StartedAt.IsZero()
	})
	if is := s.containers(); is["web"].State != spec.StateExited || is["db"].State != spec.StateRunning {
		t.Errorf("web is %s and db %s, want web stopped and db running", is["web"].State, is["db"].State)
	}
}
