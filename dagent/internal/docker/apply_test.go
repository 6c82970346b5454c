package docker_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

func TestFailedContainerIsKeptForInspection(t *testing.T) {
	s := newSite(t, quick())
	s.apply(s.release(1, web(greet("one"))))
	for release := int64(2); release <= 3; release++ {
		failure := s.applyFails(s.release(release, web(greet(fmt.Sprint(release)), args("exit", "3"))))
		if failure.Container != s.prefix+"-web" || failure.Step != workload.StepHealth || failure.ExitCode == nil || *failure.ExitCode != 3 {
			t.Errorf("failure card %+v", failure)
		}
	}
	found := s.containers()
	kept, ok := found["web-failed-3"]
	// The engine had started it again, perhaps: stopped while a program begins,
	// it ends with a code of the runtime's.
	if len(found) != 2 || !ok || kept.State != spec.StateExited || kept.ExitCode == 0 || kept.Release != 3 {
		t.Errorf("containers are %+v, want web and the last failed one, stopped", found)
	}
	if policy := s.inspect("web-failed-3").HostConfig.RestartPolicy.Name; policy != container.RestartPolicyDisabled {
		t.Errorf("the failed container restarts %s", policy)
	}
	s.apply(s.release(4, web(greet("four"))))
	if found := s.containers(); len(found) != 2 || found["web"].Release != 4 {
		t.Errorf("containers are %+v, want web of release 4 and the failed one", found)
	}
}

func TestAContainerWithoutMemorySaysSo(t *testing.T) {
	s := newSite(t, quick())
	no := spec.RestartNo
	limited := func(c *spec.Container) {
		c.ResourceConfig = &spec.ResourceConfig{Limits: &spec.Resources{Memory: "48Mi"}}
		c.RestartPolicy = &no
	}
	failure := s.applyFails(s.release(1, web(limited, args("devour"))))
	if !failure.OOMKilled || failure.ExitCode == nil || *failure.ExitCode != 137 || !strings.Contains(failure.Error(), "out of memory") {
		t.Errorf("failure card %+v, want it to tell of the memory", failure)
	}
	// What the program writes as errors is among them somewhere.
	if tail := failure.LogTail; len(tail) != 50 || slices.Contains(tail, "bite 10") || !slices.Contains(tail, "bite 60") {
		t.Errorf("%d lines are on the card: %q, want the last 50", len(tail), tail)
	}
}

func TestHostPortMovesToTheNewContainerAndBack(t *testing.T) {
	s := newSite(t, quick())
	port := freePort(t)
	s.apply(s.release(1, web(publishes(port), greet("one"))))
	s.apply(s.release(2, web(publishes(port), greet("two"))))
	c := s.containers()["web"]
	if c.Release != 2 || !slices.Contains(c.Ports, workload.Port{Internal: 80, External: port, Protocol: "tcp"}) {
		t.Errorf("web is %+v, want release 2 with port %d", c, port)
	}
	failure := s.applyFails(s.release(3, web(publishes(port), args("exit", "1"))))
	if !failure.RolledBack {
		t.Errorf("failure card %+v, want it rolled back", failure)
	}
	if got := s.containers()["web"]; got.EngineID != c.EngineID || got.State != spec.StateRunning || len(got.Ports) == 0 {
		t.Errorf("web is %+v, want %s running with its port", got, c.EngineID)
	}
	// The port goes from one workload to another, whose own name is new.
	s.apply(s.release(4, named("front", publishes(port))))
	if found := s.containers(); found["front"].State != spec.StateRunning || found["web"].EngineID != "" {
		t.Errorf("containers are %+v, want front instead of web", found)
	}
}

func TestHostPortInUseNamesItsOwner(t *testing.T) {
	s := newSite(t, quick())
	port := freePort(t)
	s.apply(s.release(1, web()))
	owner := "foreign-" + s.prefix
	addForeign(t, s.engine, owner, mapping(port))
	failure := s.applyFails(s.release(2, web(publishes(port))))
	if failure.Step != workload.StepCheck || !apperr.Is(failure, apperr.Conflict) || !failure.RolledBack {
		t.Errorf("failure card %+v, want a conflict before anything was touched", failure)
	}
	for _, want := range []string{fmt.Sprint(port), owner} {
		if !strings.Contains(failure.Error(), want) {
			t.Errorf("failure %q does not name %s", failure, want)
		}
	}
	if c := s.containers()["web"]; c.Release != 1 || c.State != spec.StateRunning {
		t.Errorf("web is %+v, want release 1 running", c)
	}
}

func TestVolumeKeepsItsContent(t *testing.T) {
	s := newSite(t, quick())
	data := func(c *spec.Container) { c.Volumes = []spec.Volume{{Name: "data", Path: "/data"}} }
	fill := func(c *spec.Container) {
		c.InitContainers = []spec.InitContainer{{
			Name: "fill", Image: programImage, Args: keys("write", "/in/note", "kept"),
			Volumes: []spec.VolumeLink{{Name: "data", Path: "/in"}},
		}}
	}
	s.apply(s.release(1, web(data, fill)))
	if !strings.Contains(s.story(), "fill: ready") {
		t.Errorf("the story lacks the init container's output:\n%s", s.story())
	}
	s.apply(s.release(2, web(data, args("cat", "/data/note"))))
	if log := s.log("web"); !slices.Contains(log, "kept") {
		t.Errorf("web wrote %q, want the note of release 1", log)
	}
	if err := s.driver.Remove(t.Context(), s.prefix, s); err != nil {
		t.Fatal(err)
	}
	if volumes := s.volumes(t.Context()); !slices.Equal(volumes, []string{s.prefix + "_web_data"}) {
		t.Errorf("volumes are %q, want the data kept", volumes)
	}
}

func TestFailingInitContainerStopsTheRelease(t *testing.T) {
	s := newSite(t, quick())
	data := func(c *spec.Container) { c.Volumes = []spec.Volume{{Name: "data", Path: "/data"}} }
	s.apply(s.release(1, web(data)))
	before := s.containers()["web"]
	failure := s.applyFails(s.release(2, web(data, func(c *spec.Container) {
		c.InitContainers = []spec.InitContainer{{
			Name: "migrate", Image: programImage, Args: keys("exit", "7"), Volumes: []spec.VolumeLink{{Name: "data", Path: "/in"}},
		}}
	})))
	if failure.Step != workload.StepInit || failure.ExitCode == nil || *failure.ExitCode != 7 || !failure.RolledBack {
		t.Errorf("failure card %+v, want exit code 7 at step init", failure)
	}
	found := s.containers()
	if got := found["web"]; got.EngineID != before.EngineID || got.State != spec.StateRunning {
		t.Errorf("web is %+v, want it serving again", got)
	}
	if len(found) != 2 || found["web-failed-2"].State != spec.StateExited {
		t.Errorf("containers are %+v, want the init container kept", found)
	}
}

func TestHostFolderNeedsTheNodesPermission(t *testing.T) {
	folder := t.TempDir()
	mounts := func(c *spec.Container) { c.Volumes = []spec.Volume{{Name: folder, Path: "/host"}} }
	s := newSite(t, quick())
	failure := s.applyFails(s.release(1, web(mounts)))
	if !apperr.Is(failure, apperr.Unsupported) || !strings.Contains(failure.Error(), "allow-host-paths") {
		t.Errorf("failure %v, want it to name the setting", failure)
	}
	options := quick()
	options.Policy.HostPaths = []string{folder}
	s.driver = docker.New(s.engine, options)
	s.apply(s.release(2, web(mounts)))
	if m := s.inspect("web").Mounts; len(m) != 1 || m[0].Source != folder {
		t.Errorf("mounts are %+v", m)
	}
}

func TestForeignVolumeIsAConflict(t *testing.T) {
	s := newSite(t, quick())
	name := s.prefix + "_web_data"
	s.makeForeignVolume(name)
	failure := s.applyFails(s.release(1, web(func(c *spec.Container) { c.Volumes = []spec.Volume{{Name: "data", Path: "/data"}} })))
	if !apperr.Is(failure, apperr.Conflict) || !strings.Contains(failure.Error(), name) {
		t.Errorf("failure %v, want a conflict that names %s", failure, name)
	}
}

func TestNetworksAreMadeJoinedAndRemoved(t *testing.T) {
	s := newSite(t, quick())
	front, back := "front-"+s.prefix, "back-"+s.prefix
	s.apply(s.release(1, web(func(c *spec.Container) { c.Networks = keys(front, back) })))
	joined := s.inspect("web").NetworkSettings.Networks
	for _, n := range []string{front, back} {
		if joined[n] == nil || !slices.Contains(joined[n].Links, s.prefix+"-web:web") || !slices.Contains(joined[n].Aliases, s.prefix+"-web") {
			t.Errorf("network %s is joined as %+v", n, joined[n])
		}
	}
	if err := s.driver.Remove(t.Context(), s.prefix, s); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{front, back} {
		if _, err := s.engine.NetworkInspect(t.Context(), n, network.InspectOptions{}); err == nil {
			t.Errorf("network %s is still there", n)
		}
	}
}

func TestEngineThatIsAwayIsUnavailable(t *testing.T) {
	engine, err := docker.Connect("unix://" + t.TempDir() + "/none.sock")
	if err != nil {
		t.Fatal(err)
	}
	driver := docker.New(engine, quick())
	if _, err := driver.Info(t.Context()); !apperr.Is(err, apperr.Unavailable) {
		t.Errorf("Info: %v, want unavailable", err)
	}
	if _, err := driver.List(t.Context()); !apperr.Is(err, apperr.Unavailable) {
		t.Errorf("List: %v, want unavailable", err)
	}
	if err := driver.Watch(t.Context(), func() {}); !apperr.Is(err, apperr.Unavailable) {
		t.Errorf("Watch: %v, want unavailable", err)
	}
	err = driver.Apply(t.Context(), spec.Deployment{ID: "d", Prefix: "p"}, workload.ReporterFunc(func(workload.Event) {}))
	if !apperr.Is(err, apperr.Unavailable) {
		t.Errorf("Apply: %v, want unavailable", err)
	}
}
