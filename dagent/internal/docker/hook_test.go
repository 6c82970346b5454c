package docker_test

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

func hooks(pre, post *spec.Hook) change {
	return func(c *spec.Container) { c.Hooks = &spec.Hooks{PreDeploy: pre, PostDeploy: post} }
}

func hookWith(words ...string) *spec.Hook {
	return &spec.Hook{Args: keys(words...), TimeoutSeconds: 60}
}

// starts counts how often the engine started the container of a hook.
func (s *site) starts(kind spec.HookKind, since time.Time) (n int) {
	s.Helper()
	heard, lost := s.engine.Events(s.Context(), events.ListOptions{
		Since: strconv.FormatInt(since.Unix(), 10), Until: strconv.FormatInt(time.Now().Add(time.Second).Unix(), 10),
		Filters: filters.NewArgs(filters.Arg("event", "start"), filters.Arg("label", "dev.fairlead.prefix="+s.prefix), filters.Arg("label", "dev.fairlead.hook="+string(kind))),
	})
	for {
		select {
		case <-heard:
			n++
		case <-lost: // the end of what was is an error as well
			return n
		}
	}
}

// An agent that is killed while the engine is at any of its calls: the next one
// has each hook run to its end, and none twice.
func TestHooksRunOnceThoughTheAgentIsKilled(t *testing.T) {
	t.Parallel()
	for call := 1; ; call++ {
		s := newSite(t, swift())
		began := time.Now()
		d := s.release(1, web(hooks(hookWith("work", "1", "0"), hookWith("work", "1", "0"))))
		at, killed := killAt(t, d, call)
		if !killed && call < 7 {
			t.Fatalf("only %d engine calls were seen", call-1)
		}
		s.apply(d)
		for _, kind := range []spec.HookKind{spec.HookPreDeploy, spec.HookPostDeploy} {
			if n := s.starts(kind, began); n != 1 {
				t.Errorf("killed at %q: the %s hook was started %d times\n%s", at, kind, n, s.story())
			}
		}
		found := s.containers()
		if c := found["web"]; c.State != spec.StateRunning {
			t.Errorf("killed at %q: web is %+v\n%s", at, c, s.story())
		}
		if len(found) != 3 {
			t.Errorf("killed at %q: more or less than web and its hooks is there: %+v", at, found)
		}
		s.forget()
		if !killed {
			return
		}
	}
}

// A hook's container has what the workload's has, and cannot be taken for it.
func TestAHookIsInTheWorkloadsPlace(t *testing.T) {
	t.Parallel()
	s := newSite(t, quick())
	data := func(c *spec.Container) { c.Volumes = []spec.Volume{{Name: "data", Path: "/data"}} }
	port := publishes(freePort(t))
	labelled := func(c *spec.Container) { c.DockerLabels = []spec.KeyValue{{Key: "traefik.enable", Value: "true"}} }
	shared := func(c *spec.Container) { c.Networks = keys(s.prefix + "-net") }
	s.apply(s.release(1, web(data, port, labelled, shared, args("cat", "/data/made"), hooks(hookWith("write", "/data/made", "by the hook"), nil))))
	if log := s.log("web"); !slices.Contains(log, "by the hook") {
		t.Errorf("web read %q from the volume that its hook wrote to", log)
	}
	hook, err := s.engine.ContainerInspect(t.Context(), s.prefix+"-web.hook-pre-deploy")
	if err != nil {
		t.Fatal(err)
	}
	if len(hook.HostConfig.PortBindings) > 0 || hook.Config.Labels["traefik.enable"] != "" || hook.HostConfig.RestartPolicy.Name != container.RestartPolicyDisabled {
		t.Errorf("the hook has ports %v, labels %v, restarts %v", hook.HostConfig.PortBindings, hook.Config.Labels, hook.HostConfig.RestartPolicy)
	}
	if _, joined := hook.NetworkSettings.Networks[s.prefix+"-net"]; !joined {
		t.Errorf("the hook is on %v", hook.NetworkSettings.Networks)
	}
}

// Replicas and more of them are no reason for a hook to run again.
func TestAHookRunsForAWorkloadNotForItsReplicas(t *testing.T) {
	t.Parallel()
	s := newSite(t, quick())
	began := time.Now()
	for release, want := range []struct {
		replicas int32
		greets   string
		ran      int
	}{{3, "one", 1}, {4, "one", 1}, {1, "one", 1}, {2, "two", 2}} {
		s.apply(s.release(int64(release+1), web(count(want.replicas), greet(want.greets), hooks(hookWith("exit", "0"), hookWith("exit", "0")))))
		for _, kind := range []spec.HookKind{spec.HookPreDeploy, spec.HookPostDeploy} {
			if n := s.starts(kind, began); n != want.ran {
				t.Errorf("release %d: the %s hook ran %d times by then, want %d\n%s", release+1, kind, n, want.ran, s.story())
			}
		}
	}
}

// A hook of a release that is no longer wanted is not left to run.
func TestAHookEndsWithItsRelease(t *testing.T) {
	t.Parallel()
	s := newSite(t, quick())
	s.apply(s.release(1, web(greet("one"))))
	s.cutOff(s.release(2, web(greet("two"), hooks(hookWith("work", "600", "0"), nil))), "pre-deploy: run ")
	s.apply(s.release(3, web(greet("one"))))
	if found := s.containers(); len(found) != 1 || found["web"].Release != 1 {
		t.Errorf("there are %+v, want web as it was and no hook", found)
	}
}

// cutOff applies a deployment until an event has a line that begins so.
func (s *site) cutOff(d spec.Deployment, beginning string) {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	s.onEvent = func(e workload.Event) {
		if slices.ContainsFunc(e.Lines, func(l string) bool { return strings.HasPrefix(l, beginning) }) {
			cancel()
		}
	}
	if err := s.driver.Apply(ctx, d, s); err == nil {
		s.Fatal("Apply succeeded although its context ended")
	}
	s.onEvent = nil
}
