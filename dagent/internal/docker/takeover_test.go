package docker_test

import (
	"testing"

	"github.com/docker/docker/api/types/network"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// next makes a release of the deployment that comes after the site's own under
// the same prefix.
func (s *site) next(number int64, workloads ...spec.Workload) spec.Deployment {
	s.Helper()
	d := s.release(number, workloads...)
	d.ID += "-next"
	return d
}

func TestTakeoverMovesWhatOnlyOneMayHaveAndBack(t *testing.T) {
	s := newSite(t, quick())
	port, data := freePort(t), func(c *spec.Container) { c.Volumes = []spec.Volume{{Name: "data", Path: "/data"}} }
	s.apply(s.release(1, web(publishes(port)), named("db", data)))
	before := s.containers()

	failure := s.applyFails(s.next(1, web(publishes(port), greet("two")), named("db", data, args("exit", "1"))))
	if failure.Step != workload.StepHealth || !failure.RolledBack {
		t.Errorf("failure card %+v, want it rolled back", failure)
	}
	after := s.containers()
	for _, name := range []string{"web", "db"} {
		if c := after[name]; c.EngineID != before[name].EngineID || c.State != spec.StateRunning {
			t.Errorf("%s is %+v, want the old deployment's running again", name, c)
		}
	}
	if len(after["web"].Ports) == 0 {
		t.Errorf("web is %+v, want it to have its port again", after["web"])
	}

	s.apply(s.next(2, named("front", publishes(port)), named("db", data, greet("two"))))
	after = s.containers()
	for _, name := range []string{"front", "db"} {
		if c := after[name]; c.DeploymentID != s.id+"-next" || c.Release != 2 || c.State != spec.StateRunning {
			t.Errorf("%s is %+v, want the next deployment's", name, c)
		}
	}
	if c, there := after["web"]; there {
		t.Errorf("web is still there: %+v", c)
	}
}

func TestTakeoverRemovesNetworksNobodyUses(t *testing.T) {
	s := newSite(t, quick())
	front, back := "front-"+s.prefix, "back-"+s.prefix
	s.apply(s.release(1, web(func(c *spec.Container) { c.Networks = keys(front, back) })))
	s.apply(s.next(1, web(func(c *spec.Container) { c.Networks = keys(back) })))
	for name, want := range map[string]bool{front: false, back: true} {
		_, err := s.engine.NetworkInspect(t.Context(), name, network.InspectOptions{})
		if there := err == nil; there != want {
			t.Errorf("network %s is there: %v (%v), want %v", name, there, err, want)
		}
	}
}

// A takeover that is cut off is undone by whichever deployment comes next.
func TestInterruptedTakeoverIsPutRight(t *testing.T) {
	t.Parallel()
	for call := 1; ; call++ {
		s := newSite(t, swift())
		first := s.release(1, web(greet("one")), named("db", greet("one")))
		s.apply(first)
		fault := &faulty{Client: s.engine, calls: call, dead: true, lost: true}
		_ = docker.New(fault, swift()).Apply(t.Context(), s.next(1, web(greet("two")), named("db", greet("two"))), s)
		if fault.happened == "" {
			return // the whole of Apply was walked through
		}
		s.apply(first)
		found := s.containers()
		for _, w := range first.Workloads {
			if c := found[w.Name()]; c.SpecHash != w.Hash || c.State != spec.StateRunning {
				t.Errorf("cut off at %s: %s is %+v, want the first deployment's running", fault.happened, w.Name(), c)
			}
		}
		if len(found) != 2 {
			t.Errorf("cut off at %s: containers are %+v, want two", fault.happened, found)
		}
		s.forget()
	}
}

func TestReleaseThatSomebodyStoppedDoesNotServe(t *testing.T) {
	s := newSite(t, quick())
	s.apply(s.release(1, web(greet("one"))))
	if err := s.driver.Stop(t.Context(), s.containers()["web"].ID); err != nil {
		t.Fatal(err)
	}
	if failure := s.applyFails(s.next(1, web(args("exit", "1")))); failure.RolledBack {
		t.Errorf("failure card %+v, want it to say that nothing serves", failure)
	}
	if c := s.containers()["web"]; c.State != spec.StateExited {
		t.Errorf("web is %+v, want it stopped as it was", c)
	}
}
