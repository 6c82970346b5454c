package docker_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

func entries(words ...string) (list []spec.KeyValue) {
	for i := 0; i+1 < len(words); i += 2 {
		list = append(list, spec.KeyValue{Key: words[i], Value: words[i+1]})
	}
	return list
}

// capabilities of the program as the kernel has them, by the bits of a mask:
// CHOWN is 0, NET_ADMIN 12.
func (s *site) capabilities(name string) string {
	s.Helper()
	for _, line := range s.log(name) {
		for field := range strings.Lines(line) {
			if mask, ok := strings.CutPrefix(field, "CapEff:"); ok {
				return strings.TrimSpace(mask)
			}
		}
	}
	s.Fatalf("the log of %s is %q", name, s.log(name))
	return ""
}

func TestCapabilitiesAreAddedAndDropped(t *testing.T) {
	options := quick()
	options.Policy.Capabilities = []string{"NET_ADMIN"}
	s := newSite(t, options)
	status := args("cat", "/proc/self/status")
	s.apply(s.release(1,
		named("few", status, func(c *spec.Container) { c.Capabilities = entries("ALL", "drop", "CAP_CHOWN", "add") }),
		named("more", status, func(c *spec.Container) { c.Capabilities = entries("all", "drop", "net_admin", "add") }),
	))
	if mask := s.capabilities("few"); mask != "0000000000000001" {
		t.Errorf("few has the capabilities %s", mask)
	}
	if mask := s.capabilities("more"); mask != "0000000000001000" {
		t.Errorf("more has the capabilities %s", mask)
	}
}

// A workload that is meant to end is not started again by the policy that is
// the default.
func TestOneShotEndsForGood(t *testing.T) {
	s := newSite(t, quick())
	s.apply(s.release(1, web(args("exit", "3"), func(c *spec.Container) {
		c.ExpectedState = &spec.ExpectedState{State: spec.StateExited, ExitCode: 3, TimeoutSeconds: 20}
	})))
	seen := s.inspect("web")
	if seen.State.Status != container.StateExited || seen.RestartCount != 0 || seen.HostConfig.RestartPolicy.Name != container.RestartPolicyDisabled {
		t.Errorf("it is %s, restarted %d times, with policy %s", seen.State.Status, seen.RestartCount, seen.HostConfig.RestartPolicy.Name)
	}
	if story := s.story(); !strings.Contains(story, "restartPolicy has no effect on Docker") {
		t.Errorf("the story does not tell it: %s", story)
	}
}

// A volume with our labels and somebody's driver options is a way to the host.
func TestVolumeThatLeadsToTheHostIsRefused(t *testing.T) {
	s := newSite(t, quick())
	name := s.prefix + "_web_data"
	_, err := s.engine.VolumeCreate(t.Context(), volume.CreateOptions{
		Name: name, Labels: map[string]string{"dev.fairlead.managed": "true", "dev.fairlead.prefix": s.prefix},
		DriverOpts: map[string]string{"type": "none", "o": "bind", "device": "/etc"},
	})
	if err != nil {
		t.Fatal(err)
	}
	data := func(c *spec.Container) { c.Volumes = []spec.Volume{{Name: "data", Path: "/data"}} }
	if failure := s.applyFails(s.release(1, web(data))); !apperr.Is(failure, apperr.Unsupported) || !strings.Contains(failure.Error(), name) {
		t.Errorf("failure %v, want it refused by name", failure)
	}
}

func TestHostNetworkNeedsTheNodesPermission(t *testing.T) {
	s := newSite(t, quick())
	host := spec.NetworkHost
	shared := web(func(c *spec.Container) { c.NetworkMode = &host })
	if failure := s.applyFails(s.release(1, shared)); !apperr.Is(failure, apperr.Unsupported) || !strings.Contains(failure.Error(), "allow-host-network") {
		t.Errorf("failure %v, want it to name the setting", failure)
	}
	options := quick()
	options.Policy.HostNetwork = true
	s.driver = docker.New(s.engine, options)
	s.apply(s.release(2, shared))
	if mode := s.inspect("web").HostConfig.NetworkMode; !mode.IsHost() {
		t.Errorf("the network mode is %s", mode)
	}
}

func TestNoNetworkAtAll(t *testing.T) {
	s := newSite(t, quick())
	none := spec.NetworkNone
	s.apply(s.release(1, web(args("cat", "/proc/net/route"), func(c *spec.Container) { c.NetworkMode = &none })))
	for _, line := range s.log("web") {
		if strings.Contains(line, "eth0") {
			t.Errorf("there is a route: %q", line)
		}
	}
}

// What a driver keeps for itself can't be read, and the answer says so.
func TestLogThatCannotBeRead(t *testing.T) {
	s := newSite(t, quick())
	s.apply(s.release(1, web(func(c *spec.Container) { c.LogConfig = &spec.LogConfig{Driver: "none"} })))
	err := s.driver.Logs(t.Context(), workload.ContainerID{Prefix: s.prefix, Name: "web"}, workload.LogOptions{Tail: -1},
		func(workload.LogLine) error { return nil })
	if !apperr.Is(err, apperr.Unsupported) || !strings.Contains(err.Error(), "none") || !strings.Contains(err.Error(), "logConfig") {
		t.Errorf("error %v, want it to name the driver and the key", err)
	}
}

func TestLogDriverTakesItsOptions(t *testing.T) {
	s := newSite(t, quick())
	s.apply(s.release(1, web(greet("you"), func(c *spec.Container) {
		c.LogConfig = &spec.LogConfig{Driver: "local", Options: entries("max-size", "1m", "max-file", "2")}
	})))
	log := s.inspect("web").HostConfig.LogConfig
	if log.Type != "local" || log.Config["max-file"] != "2" {
		t.Errorf("the log goes to %+v", log)
	}
	if lines := s.log("web"); !slices.Contains(lines, "hello you") {
		t.Errorf("the log is %q", lines)
	}
}

// A network that somebody else made is joined, and stays when nobody needs it.
func TestForeignNetworkIsNeverRemoved(t *testing.T) {
	s := newSite(t, quick())
	theirs := "theirs-" + s.prefix
	made, err := s.engine.NetworkCreate(t.Context(), theirs, network.CreateOptions{Driver: "bridge"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.engine.NetworkRemove(context.WithoutCancel(t.Context()), made.ID) })
	s.apply(s.release(1, web(func(c *spec.Container) { c.Networks = keys(theirs) })))
	if joined := s.inspect("web").NetworkSettings.Networks[theirs]; joined == nil {
		t.Errorf("it is joined as %+v", joined)
	}
	s.apply(s.release(2, web()))
	if _, err := s.engine.NetworkInspect(t.Context(), made.ID, network.InspectOptions{}); err != nil {
		t.Errorf("the network is gone: %v", err)
	}
}

// Every kind of volume, as the container sees it.
func TestVolumesFromInside(t *testing.T) {
	s := newSite(t, quick())
	s.apply(s.release(1, web(args("cat", "/proc/mounts"), func(c *spec.Container) {
		c.Volumes = []spec.Volume{
			{Name: "one", Path: "/one"},
			{Name: "many", Path: "/many", Type: spec.VolumeReadWriteMany},
			{Name: "fixed", Path: "/fixed", Type: spec.VolumeReadOnly},
			{Name: "memory", Path: "/memory", Type: spec.VolumeMemory, Size: "4Mi"},
			{Name: "scratch", Path: "/scratch", Type: spec.VolumeTemporary},
		}
	})))
	mounts := strings.Split(strings.Join(s.log("web"), "\n"), "\n")
	for path, want := range map[string]struct{ kind, option string }{
		"/one": {"", "rw"}, "/many": {"", "rw"}, "/fixed": {"", "ro"}, "/scratch": {"", "rw"}, "/memory": {"tmpfs", "size=4096k"},
	} {
		if !slices.ContainsFunc(mounts, func(line string) bool {
			f := strings.Fields(line)
			return len(f) > 3 && f[1] == path && (want.kind == "" || f[2] == want.kind) && slices.Contains(strings.Split(f[3], ","), want.option)
		}) {
			t.Errorf("%s is not mounted %s %s:\n%s", path, want.kind, want.option, strings.Join(mounts, "\n"))
		}
	}
	for _, name := range s.volumes(t.Context()) {
		v, err := s.engine.VolumeInspect(t.Context(), name)
		if err != nil || v.Labels["dev.fairlead.managed"] != "true" || v.Labels["dev.fairlead.prefix"] != s.prefix {
			t.Errorf("volume %s: %v, labels %v", name, err, v.Labels)
		}
	}
}
