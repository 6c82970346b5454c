package docker_test

import (
	"slices"
	"testing"

	"fairlead.dev/shared/spec"
)

// The engine takes what the builders make, and does it.
func TestEngineTakesEverythingThatIsSupported(t *testing.T) {
	s := newSite(t, quick())
	udp, from := freePort(t), freePort(t)
	user, tty, folder, policy := int64(1234), true, "/scratch", spec.RestartAlways
	s.apply(s.release(1, web(greet("there"), func(c *spec.Container) {
		c.User, c.TTY, c.WorkingDirectory, c.RestartPolicy = &user, &tty, &folder, &policy
		c.Commands, c.Args = keys("/program"), keys("cat", "/proc/self/status")
		c.Ports = []spec.Port{{Internal: 53, External: &udp, Protocol: "udp", Address: "127.0.0.1"}}
		c.PortRanges = []spec.PortRange{{Internal: spec.Range{From: 7000, To: 7000}, External: spec.Range{From: from, To: from}}}
		c.Volumes = []spec.Volume{
			{Name: "memory", Path: "/memory", Type: spec.VolumeMemory, Size: "4Mi"},
			{Name: "scratch", Path: "/scratch", Type: spec.VolumeTemporary},
			{Name: "shared", Path: "/shared", Type: spec.VolumeReadWriteMany},
			{Name: "fixed", Path: "/fixed", Type: spec.VolumeReadOnly},
		}
		c.LogConfig = &spec.LogConfig{Driver: "json-file", Options: []spec.KeyValue{{Key: "max-size", Value: "1m"}}}
		c.DockerLabels = []spec.KeyValue{{Key: "team", Value: "blue"}}
		c.ResourceConfig = &spec.ResourceConfig{
			Limits:   &spec.Resources{CPU: "500m", Memory: "64Mi"},
			Requests: &spec.Resources{CPU: "100m", Memory: "32Mi"},
		}
	})))
	seen := s.inspect("web")
	if h := seen.HostConfig; h.NanoCPUs != 5e8 || h.Memory != 64<<20 || h.MemoryReservation != 32<<20 || h.CPUShares != 102 {
		t.Errorf("resources are %+v", h.Resources)
	}
	if seen.Config.Hostname != s.prefix+"-web" || seen.Config.Labels["team"] != "blue" || seen.HostConfig.LogConfig.Config["max-size"] != "1m" {
		t.Errorf("config is %+v", seen.Config)
	}
	mounts := map[string]string{}
	for _, m := range seen.Mounts {
		mounts[m.Destination] = string(m.Type)
		if m.Destination == "/fixed" && m.RW {
			t.Error("the read-only volume can be written")
		}
	}
	for _, path := range []string{"/scratch", "/shared", "/fixed"} {
		if mounts[path] != "volume" {
			t.Errorf("%s is mounted as %q", path, mounts[path])
		}
	}
	if log := s.log("web"); !slices.Contains(log, "hello there") {
		t.Errorf("the log of the terminal is %q", log)
	}
	ports := map[string]int32{}
	for _, p := range s.containers()["web"].Ports {
		ports[p.Protocol] = p.External
	}
	if ports["udp"] != udp || ports["tcp"] != from {
		t.Errorf("ports are %v, want udp %d and tcp %d", ports, udp, from)
	}
}
