package docker_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"

	"fairlead.dev/dagent/internal/adoption"
	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// foreign is a container that somebody else made.
type foreign struct {
	config container.Config
	host   container.HostConfig
	nets   *network.NetworkingConfig
}

// run starts it on the engine and returns its id.
func (f foreign) run(s *site, name string) string {
	s.Helper()
	made, err := s.engine.ContainerCreate(s.Context(), &f.config, &f.host, f.nets, nil, name)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		_ = s.engine.ContainerRemove(context.WithoutCancel(s.Context()), made.ID, container.RemoveOptions{Force: true})
	})
	if err := s.engine.ContainerStart(s.Context(), made.ID, container.StartOptions{}); err != nil {
		s.Fatal(err)
	}
	return made.ID
}

// adopting is what a deployment adopts by its start.
func adopting(d spec.Deployment, name string) spec.Deployment {
	d.Adopt = []spec.Adoption{{InstanceID: "instance-web", Container: name}}
	return d
}

// remembering opens the record of adoptions, as an agent does that starts.
func remembering(t testing.TB, path string) docker.Options {
	t.Helper()
	ledger, err := adoption.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	options := quick()
	options.Adoptions = ledger
	return options
}

// planned is what the plan has of web.
func (s *site) planned(d spec.Deployment) workload.PlannedWorkload {
	s.Helper()
	plan, err := s.driver.Plan(s.Context(), d)
	if err != nil {
		s.Fatal(err)
	}
	return plan.Workloads[0]
}

// A container that somebody else made becomes a deployment's as it is, stays so
// over restarts of the agent, and is replaced by the next change like any other.
func TestAContainerThatRunsIsAdopted(t *testing.T) {
	t.Parallel()
	record := filepath.Join(t.TempDir(), "adopted.json")
	s := newSite(t, remembering(t, record))
	name, port := "shop_"+s.prefix+"_1", freePort(t)
	volume := s.prefix + "_web_data"
	s.makeForeignVolume(volume)
	f := foreign{
		config: container.Config{
			Image: programImage, Cmd: []string{"keep", "/data/orders", "42"}, Env: []string{"GREETING=one", "TOKEN=hunter2"},
			Labels: map[string]string{"com.docker.compose.project": "shop"}, Hostname: "shop",
		},
		host: container.HostConfig{
			RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyUnlessStopped},
			Binds:         []string{volume + ":/data"},
		},
	}
	publish(t, &f.config, &f.host, mapping(port))
	id := f.run(s, name)
	before, err := s.engine.ContainerInspect(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}

	shaped := []change{
		greet("one"), args("keep", "/data/orders", "42"), publishes(port),
		func(c *spec.Container) {
			c.Volumes = []spec.Volume{{Name: "data", Path: "/data"}}
			c.Secrets = []spec.Secret{{Key: "TOKEN", Value: "hunter2"}}
		},
	}
	first := adopting(s.release(1, web(shaped...), named("db")), name)
	if p := s.planned(first); p.Action != workload.ActionAdopt || len(p.Changes) != 0 || !slices.Equal(p.Containers, []string{id}) {
		t.Fatalf("the plan has %+v, want it to adopt the container as it is", p)
	}
	s.apply(first)
	if c := s.containers()["web"]; c.EngineID != id || c.Release != 1 || c.SpecHash != first.Workloads[0].Hash || c.InstanceID != "instance-web" {
		t.Fatalf("listed is %+v, want the adopted container; story:\n%s", c, s.story())
	}

	// The agent starts anew, and nothing has to be done.
	s.driver = docker.New(s.engine, remembering(t, record))
	again := s.release(2, web(shaped...), named("db"))
	if p := s.planned(again); p.Action != workload.ActionKeep {
		t.Errorf("the plan has %+v, want it kept", p)
	}
	s.apply(first) // once more, as after a crash
	s.apply(again)
	after, err := s.engine.ContainerInspect(t.Context(), id)
	if err != nil || after.State.StartedAt != before.State.StartedAt || after.RestartCount != before.RestartCount {
		t.Fatalf("adopting has touched the container: %v, started %s, then %s", err, before.State.StartedAt, after.State.StartedAt)
	}
	if lines := s.log("web"); !slices.Contains(lines, "hello one") {
		t.Errorf("its log is %q", lines)
	}
	if err := s.driver.Restart(t.Context(), workload.ContainerID{Prefix: s.prefix, Name: "web"}); err != nil {
		t.Errorf("restart it: %v", err)
	}

	// A change replaces it, with what it had.
	shaped[0] = greet("two")
	s.apply(s.release(3, web(append(shaped, args("cat", "/data/orders"))...), named("db")))
	if _, err := s.engine.ContainerInspect(t.Context(), id); err == nil {
		t.Error("the adopted container is still there after it was replaced")
	}
	if got := s.inspect("web"); got.ID == id || got.Config.Labels["dev.fairlead.release"] != "3" {
		t.Errorf("there is %s of release %s", got.Name, got.Config.Labels["dev.fairlead.release"])
	}
	s.awaitLog("web", 1, "42")
	s.forget() // before the volume, which somebody else made
}

// A change of an adopted container that fails leaves it serving under its name.
func TestAnAdoptedContainerServesOnWhenItsSuccessorFails(t *testing.T) {
	t.Parallel()
	s := newSite(t, remembering(t, filepath.Join(t.TempDir(), "adopted.json")))
	name := "shop_" + s.prefix
	f := asWeb("one")
	f.host.Mounts = []mount.Mount{{Type: mount.TypeVolume, Target: "/scratch"}}
	id := f.run(s, name)
	scratch := func(c *spec.Container) {
		c.Volumes = []spec.Volume{{Name: "scratch", Path: "/scratch", Type: spec.VolumeTemporary}}
	}
	s.apply(adopting(s.release(1, web(greet("one"), scratch)), name))
	failure := s.applyFails(s.release(2, web(greet("two"), scratch, args("exit", "1"))))
	seen, err := s.engine.ContainerInspect(t.Context(), id)
	if !failure.RolledBack || err != nil || seen.Name != "/"+name || !seen.State.Running {
		t.Errorf("%v, rolled back %v: %s runs: %v (%v)", failure, failure.RolledBack, seen.Name, seen.State.Running, err)
	}
	if p := s.planned(s.release(3, web(greet("one"), scratch))); p.Action != workload.ActionKeep {
		t.Errorf("then the plan has %+v", p)
	}
	if err := s.driver.Remove(t.Context(), s.prefix, s); err != nil {
		t.Fatal(err)
	}
	if _, err := s.engine.ContainerInspect(t.Context(), id); err == nil {
		t.Error("it is still there after the deployment was removed")
	}
	// Its volume without a name stays: it was not ours.
	if err := s.engine.VolumeRemove(t.Context(), seen.Mounts[0].Name, false); err != nil {
		t.Errorf("its volume: %v", err)
	}
}

// An agent that has lost its record has a container of somebody else again, which
// it never stops or removes; and it can be adopted anew.
func TestALostRecordOfAdoptionsRemovesNothing(t *testing.T) {
	t.Parallel()
	record := filepath.Join(t.TempDir(), "adopted.json")
	s := newSite(t, remembering(t, record))
	name := "shop_" + s.prefix
	id := asWeb("one").run(s, name)
	s.apply(adopting(s.release(1, web(greet("one"))), name))
	if err := os.Remove(record); err != nil {
		t.Fatal(err)
	}
	s.driver = docker.New(s.engine, remembering(t, record))
	if err := s.driver.Remove(t.Context(), s.prefix, s); err != nil {
		t.Fatal(err)
	}
	if seen, err := s.engine.ContainerInspect(t.Context(), id); err != nil || !seen.State.Running {
		t.Fatalf("the container is gone or stopped: %v", err)
	}
	s.apply(adopting(s.release(2, web(greet("one"))), name))
	if c := s.containers()["web"]; c.EngineID != id || c.Release != 2 {
		t.Errorf("listed is %+v", c)
	}
}

// asWeb is a container as the driver would make it.
func asWeb(greeting string) foreign {
	return foreign{
		config: container.Config{Image: programImage, Env: []string{"GREETING=" + greeting}},
		host:   container.HostConfig{RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyUnlessStopped}},
	}
}

// Whatever a container has that would not be made for the workload is named, and
// keeps it from being adopted. Nothing is touched.
func TestAContainerThatDiffersIsNotAdopted(t *testing.T) {
	t.Parallel()
	yes := true
	for key, differ := range map[string]func(*foreign){
		"environment.GREETING": func(f *foreign) { f.config.Env = []string{"GREETING=hunter2"} },
		"environment.SECRET":   func(f *foreign) { f.config.Env = append(f.config.Env, "SECRET=hunter2") },
		"restartPolicy":        func(f *foreign) { f.host.RestartPolicy.Name = "always" },
		"args":                 func(f *foreign) { f.config.Cmd = []string{"keep", "/hunter2", "x"} },
		"commands":             func(f *foreign) { f.config.Entrypoint = []string{"/program", "keep", "/hunter2", "x"} },
		"user":                 func(f *foreign) { f.config.User = "1000" },
		"workingDirectory":     func(f *foreign) { f.config.WorkingDir = "/bin" },
		"tty":                  func(f *foreign) { f.config.Tty = true },
		"HEALTHCHECK": func(f *foreign) {
			f.config.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "/program", "hunter2"}}
		},
		"image": func(f *foreign) {
			f.config.Image = healthImage
			f.config.Healthcheck = &container.HealthConfig{Test: []string{"NONE"}}
		},
		"ports": func(f *foreign) { publish(t, &f.config, &f.host, mapping(freePort(t))) },
		"volumes": func(f *foreign) {
			f.host.Tmpfs = nil
			f.host.Mounts = []mount.Mount{{Type: mount.TypeTmpfs, Target: "/scratch"}}
		},
		"networkMode":    func(f *foreign) { f.host.NetworkMode = "none" },
		"capabilities":   func(f *foreign) { f.host.CapAdd = []string{"NET_ADMIN"} },
		"resourceConfig": func(f *foreign) { f.host.Memory = 64 << 20 },
		"stopSignal":     func(f *foreign) { f.config.StopSignal = "SIGINT" },
		"logConfig":      func(f *foreign) { f.host.LogConfig = container.LogConfig{Type: "local"} },
		"ReadonlyRootfs": func(f *foreign) { f.host.ReadonlyRootfs = true },
		"PidMode":        func(f *foreign) { f.host.PidMode = "host" },
		"ExtraHosts":     func(f *foreign) { f.host.ExtraHosts = []string{"a:10.0.0.1"} },
		"Init":           func(f *foreign) { f.host.Init = &yes },
		"AutoRemove":     func(f *foreign) { f.host.RestartPolicy.Name = "no"; f.host.AutoRemove = true },
		"MaskedPaths":    func(f *foreign) { f.host.MaskedPaths = []string{} },
		"Tmpfs":          func(f *foreign) { f.host.Tmpfs = map[string]string{"/scratch": ""} },
		"OpenStdin":      func(f *foreign) { f.config.OpenStdin = true },
	} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, remembering(t, filepath.Join(t.TempDir(), "adopted.json")))
			name := "shop_" + s.prefix
			f := asWeb("one")
			differ(&f)
			id := f.run(s, name)
			d := adopting(s.release(1, web(greet("one"))), name)
			p := s.planned(d)
			if p.Action != workload.ActionAdopt || !slices.ContainsFunc(p.Changes, func(c string) bool { return strings.Contains(c, key) }) {
				t.Fatalf("the plan has %+v, want it to name %s", p, key)
			}
			failure := s.applyFails(d)
			if failure.Step != workload.StepPlan || !apperr.Is(failure, apperr.Precondition) || !strings.Contains(failure.Error(), key) {
				t.Errorf("Apply: %v, want it to name %s", failure, key)
			}
			if text := failure.Error() + strings.Join(p.Notes, ""); strings.Contains(text, "hunter2") {
				t.Errorf("a value is told that may be a secret: %s", text)
			}
			seen, err := s.engine.ContainerInspect(t.Context(), id)
			if err != nil || !seen.State.Running || len(s.containers()) != 0 {
				t.Errorf("the container was touched: %v, ours are %v", err, s.containers())
			}
		})
	}
}

func TestWhatCannotBeAdoptedIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, remembering(t, filepath.Join(t.TempDir(), "adopted.json")))
	refused := func(d spec.Deployment, kind apperr.Kind, words string) {
		t.Helper()
		_, err := s.driver.Plan(t.Context(), d)
		if !apperr.Is(err, kind) || !strings.Contains(err.Error(), words) {
			t.Errorf("Plan: %v, want %q", err, words)
		}
		if err := s.driver.Apply(t.Context(), d, s); !apperr.Is(err, kind) || !strings.Contains(err.Error(), words) {
			t.Errorf("Apply: %v, want %q", err, words)
		}
	}
	refused(adopting(s.release(1, web()), "nobody"+s.prefix), apperr.NotFound, "there is none of that name")

	name := "shop_" + s.prefix
	asWeb("one").run(s, name)
	refused(adopting(s.release(1, web(greet("one"), count(2))), name), apperr.Unsupported, "only one can be adopted")

	s.apply(s.release(1, web(greet("one"))))
	refused(adopting(s.release(2, web(greet("one"))), name), apperr.Conflict, "has a container of its own already")
	refused(adopting(s.release(2, web(greet("one"))), s.prefix+"-web"), apperr.Conflict, "it is a deployment's already")

	plain := docker.New(s.engine, quick())
	if err := plain.Check(adopting(s.release(2, web(greet("one"))), name)); !apperr.Is(err, apperr.Unsupported) {
		t.Errorf("without a record: %v", err)
	}
}

// Whichever call to the engine is the last before the agent dies, the container
// that is adopted runs on, untouched, and it is a deployment's or nobody's: the
// same start once more adopts it, and a removal leaves alone what was not.
func TestAnAgentThatDiesWhileItAdoptsConverges(t *testing.T) {
	for _, fails := range []bool{false, true} {
		for _, after := range []bool{false, true} {
			for _, removed := range []bool{false, true} {
				walk(t, func(call int) bool { return dieAdopting(t, &killer{left: call, after: after}, fails, removed) })
			}
		}
	}
}

// named reports whether there is a container of the name.
func (m *memory) named(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err := m.find(name)
	return err == nil
}

func dieAdopting(t *testing.T, k *killer, fails, removed bool) (died bool) {
	t.Helper()
	record := filepath.Join(t.TempDir(), "adopted.json")
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		made, err := m.ContainerCreate(t.Context(), &container.Config{Image: tag, Env: []string{"GREETING=one"}}, &container.HostConfig{
			RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyUnlessStopped}, NetworkMode: "bridge",
			LogConfig: container.LogConfig{Type: "json-file"}, MaskedPaths: []string{"/proc/kcore"}, ReadonlyPaths: []string{"/proc/bus"},
		}, &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{"bridge": {}}}, nil, "shop")
		if err == nil {
			err = m.ContainerStart(t.Context(), made.ID, container.StartOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
		runs := func() bool {
			c := m.containers[made.ID]
			return c != nil && c.well() && c.starts == 1 && c.name == "shop"
		}
		ours := func() bool { _, ours := remembering(t, record).Adoptions.Labels(made.ID); return ours }

		works := []spec.Workload{from(tag, web(greet("one"))), from(tag, named("db", greet("one")))}
		broken := slices.Clone(works)
		broken[1] = from(tag, named("db", args("exit", "1")))
		first := works
		if fails {
			first = broken
		}
		ctx, cancel := context.WithCancel(t.Context())
		call := k.left
		k.end = cancel
		m.watch = func() {
			if !runs() {
				t.Errorf("killed at call %d (%s), after it %v: the adopted container was touched: %q", call, k.at, k.after, m.mutations)
			}
		}
		k.arm(m)
		err = docker.New(m, remembering(t, record)).Apply(ctx, adopting(deploymentOf(t, 1, first, spec.Policy{}), "shop"), quiet())
		cancel()
		synctest.Wait()
		died = k.at != ""
		m.before, m.after = nil, nil
		var failure *workload.Failure
		if !died && (fails != errors.As(err, &failure) || ours() == fails) {
			t.Errorf("Apply: %v, and it is ours: %v", err, ours())
		}
		if removed {
			// What was in place was the deployment's, and ends with it; else it is
			// nobody's.
			inPlace := m.named("p-db")
			m.watch = nil
			d := docker.New(m, remembering(t, record))
			if err := d.Apply(t.Context(), deploymentOf(t, 2, works[1:], spec.Policy{}), quiet()); err != nil {
				t.Fatal(err)
			}
			if err := d.Remove(t.Context(), "p", quiet()); err != nil {
				t.Fatal(err)
			}
			if inPlace == runs() || inPlace && len(m.containers) != 0 {
				t.Errorf("killed at call %d (%s), after it %v: it was in place: %v, and runs: %v", call, k.at, k.after, inPlace, runs())
			}
			return
		}
		next := adopting(deploymentOf(t, 2, works, spec.Policy{}), "shop")
		if err := docker.New(m, remembering(t, record)).Apply(t.Context(), next, quiet()); err != nil {
			t.Fatalf("killed at call %d (%s), after it %v: then %v", call, k.at, k.after, err)
		}
		plan, err := docker.New(m, remembering(t, record)).Plan(t.Context(), next)
		if err != nil || !plan.Empty() || !ours() {
			t.Errorf("killed at call %d (%s): then the plan is %+v (%v), and it is ours: %v", call, k.at, plan, err, ours())
		}
	})
	return died
}
