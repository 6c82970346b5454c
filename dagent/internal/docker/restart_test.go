package docker_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/docker/docker/client"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/dagent/internal/enginetest"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// on makes a site on an engine of the test's own.
func on(t *testing.T, e *enginetest.Engine, options docker.Options) *site {
	t.Helper()
	engine, err := client.NewClientWithOpts(client.WithHost(e.Host()), client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	if err := importImages(t.Context(), engine); err != nil {
		t.Fatal(err)
	}
	name := "t" + token()
	return &site{TB: t, engine: engine, driver: docker.New(engine, options), id: "deployment-" + name, prefix: name}
}

// An engine that is restarted, or crashes, takes its containers along or, with
// live restore, does not. Either way it is away meanwhile, not empty; and what was deployed
// serves again without a deploy.
func TestAnEngineThatIsRestarted(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		live bool
		end  func(*enginetest.Engine)
	}{
		{"with live restore", true, (*enginetest.Engine).Stop},
		{"without", false, (*enginetest.Engine).Stop},
		{"killed with live restore", true, (*enginetest.Engine).Kill},
		{"killed without", false, (*enginetest.Engine).Kill},
	} {
		t.Run(test.name, func(t *testing.T) { // one engine at a time: they start slowly beside each other
			e := enginetest.Start(t, enginetest.Options{LiveRestore: test.live})
			path := filepath.Join(t.TempDir(), "runs.json")
			s := on(t, e, quick())
			defer s.agent(knowing(path))()
			first := s.release(1, web(greet("one")), named("db"))
			s.apply(first)
			before := s.containers()
			s.awaitRunning(path, before, "web", "db")

			test.end(e)
			if list, err := s.driver.List(t.Context()); !apperr.Is(err, apperr.Unavailable) {
				t.Errorf("while the engine is away the list is %v, %v; want unavailable", list, err)
			}
			if _, err := s.driver.Plan(t.Context(), first); !apperr.Is(err, apperr.Unavailable) {
				t.Errorf("while the engine is away the plan fails with %v, want unavailable", err)
			}
			if failure := s.applyFails(first); !apperr.Is(failure, apperr.Unavailable) {
				t.Errorf("while the engine is away a deploy fails with %v, want unavailable", failure)
			}
			e.Resume()
			s.awaitServing(before)
			for name, was := range before {
				if is := s.containers()[name]; is.StartedAt.Equal(was.StartedAt) != test.live {
					t.Errorf("%s has run since %v, before since %v", name, is.StartedAt, was.StartedAt)
				}
			}
			next := s.release(2, web(greet("two")), named("db"))
			s.apply(next)
			if found := s.containers(); found["web"].Release != 2 || found["db"].EngineID != before["db"].EngineID {
				t.Errorf("containers are %+v, want a new web and the old db", found)
			}
		})
	}
}

// A deploy under which the engine is stopped, or killed, is put right when it is
// back.
func TestAnEngineThatGoesAwayUnderADeploy(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		live bool
		end  func(*enginetest.Engine)
	}{
		{"stopped", false, (*enginetest.Engine).Stop},
		{"killed", false, (*enginetest.Engine).Kill},
		{"killed with live restore", true, (*enginetest.Engine).Kill},
	} {
		t.Run(test.name, func(t *testing.T) { // one engine at a time: they start slowly beside each other
			e := enginetest.Start(t, enginetest.Options{LiveRestore: test.live})
			path := filepath.Join(t.TempDir(), "runs.json")
			s := on(t, e, quick())
			defer s.agent(knowing(path))()
			s.apply(s.release(1, web(greet("one")), named("db", greet("one")), named("kept")))
			before := s.containers()
			s.awaitRunning(path, before, "web", "db", "kept")
			next := s.release(2, web(greet("two")), named("db", greet("two")), named("kept"))
			fault := &faulty{Client: s.engine, calls: 4}
			fault.at = func() { test.end(e) }
			failure := docker.New(fault, quick()).Apply(t.Context(), next, s)
			if !apperr.Is(failure, apperr.Unavailable) && fault.happened == "" {
				t.Fatalf("Apply: %v, want it cut off", failure)
			}
			e.Resume()
			s.awaitServing(before)
			s.apply(next)
			found := s.containers()
			if len(found) != 3 || found["web"].Release != 2 || found["db"].Release != 2 {
				t.Errorf("containers are %+v, want release 2 alone", found)
			}
			if is, was := found["kept"], before["kept"]; is.EngineID != was.EngineID || test.live && !is.StartedAt.Equal(was.StartedAt) {
				t.Errorf("what was not changed is %+v, it was %+v", is, was)
			}
		})
	}
}

// awaitServing waits until the containers given run.
func (s *site) awaitServing(want map[string]workload.Container) {
	s.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		found := s.containers()
		serving := 0
		for name, was := range want {
			if is := found[name]; is.EngineID == was.EngineID && is.State == spec.StateRunning {
				serving++
			}
		}
		if serving == len(want) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			s.Fatalf("containers are %+v, want all of %+v running", found, want)
		}
	}
}
