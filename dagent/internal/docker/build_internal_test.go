package docker

import (
	"reflect"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/go-connections/nat"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

func pointer[T any](v T) *T { return &v }

// a workload that says everything the driver builds, and what comes of it.
func full() (spec.Deployment, spec.Workload) {
	w := spec.Workload{
		InstanceID: "i-1",
		Image:      spec.Image{Reference: "registry.test/web:1"},
		Hash:       "hash",
		Container: spec.Container{
			Name:             pointer("web"),
			Environment:      []spec.KeyValue{{Key: "B", Value: "2"}, {Key: "A", Value: "1=1"}},
			User:             pointer(int64(1000)),
			TTY:              pointer(true),
			WorkingDirectory: pointer("/srv"),
			Ports: []spec.Port{
				{Internal: 80, External: pointer(int32(8080)), Address: "127.0.0.1"},
				{Internal: 53, External: pointer(int32(53)), Protocol: "udp"},
				{Internal: 9000},
			},
			PortRanges: []spec.PortRange{{Internal: spec.Range{From: 5000, To: 5001}, External: spec.Range{From: 6000, To: 6001}}},
			Volumes: []spec.Volume{
				{Name: "data", Path: "/data"},
				{Name: "shared", Path: "/shared", Type: spec.VolumeReadWriteMany},
				{Name: "config", Path: "/config", Type: spec.VolumeReadOnly},
				{Name: "cache", Path: "/cache", Type: spec.VolumeMemory, Size: "64Mi"},
				{Name: "scratch", Path: "/scratch", Type: spec.VolumeTemporary},
				{Name: "/srv/files", Path: "/files", Type: spec.VolumeReadOnly},
			},
			Commands:      []spec.Key{{Key: "/app"}},
			Args:          []spec.Key{{Key: "serve"}, {Key: "-v"}},
			LogConfig:     &spec.LogConfig{Driver: "json-file", Options: []spec.KeyValue{{Key: "max-size", Value: "10m"}}},
			RestartPolicy: pointer(spec.RestartOnFailure),
			Networks:      []spec.Key{{Key: "front"}, {Key: "back"}},
			DockerLabels:  []spec.KeyValue{{Key: "team", Value: "blue"}},
			Capabilities:  []spec.KeyValue{{Key: "CAP_CHOWN", Value: "add"}, {Key: "all", Value: "drop"}},
			// As the agent has opened them; a secret counts before a variable.
			Secrets: []spec.Secret{{Key: "B", Value: "hidden"}, {Key: "OPTIONAL"}, {Key: "TOKEN", Value: "t"}},
			Labels:  &spec.Markers{Deployment: []spec.KeyValue{{Key: "tier", Value: "web"}}},
			ResourceConfig: &spec.ResourceConfig{
				Limits:   &spec.Resources{CPU: "1.5", Memory: "128Mi"},
				Requests: &spec.Resources{CPU: "250m", Memory: "64M"},
			},
			ExpectedState: &spec.ExpectedState{State: spec.StateExited},
		},
	}
	d := spec.Normalize(spec.Deployment{ID: "d-1", Prefix: "shop", Release: 7, Workloads: []spec.Workload{w}})
	return d, d.Workloads[0]
}

func TestBuildTurnsAWorkloadIntoAContainer(t *testing.T) {
	d, w := full()
	b, p := build(d, w, "registry.test/web:1@sha256:1")
	if len(p.refused) > 0 {
		t.Fatalf("refused: %v", p.refused)
	}
	wantConfig := &container.Config{
		Hostname:   "shop-web",
		Image:      "registry.test/web:1@sha256:1",
		User:       "1000",
		Tty:        true,
		WorkingDir: "/srv",
		Env:        []string{"A=1=1", "B=hidden", "TOKEN=t"},
		Entrypoint: []string{"/app"},
		Cmd:        []string{"serve", "-v"},
		ExposedPorts: nat.PortSet{
			"80/tcp": {}, "53/udp": {}, "9000/tcp": {}, "5000/tcp": {}, "5001/tcp": {},
		},
		Labels: map[string]string{
			"team": "blue", "tier": "web",
			"dev.fairlead.managed": "true", "dev.fairlead.deployment": "d-1", "dev.fairlead.instance": "i-1",
			"dev.fairlead.release": "7", "dev.fairlead.spec-hash": "hash", "dev.fairlead.prefix": "shop",
			"dev.fairlead.name": "web", "dev.fairlead.ends": "true",
		},
	}
	if !reflect.DeepEqual(b.config, wantConfig) {
		t.Errorf("config is\n%+v, want\n%+v", b.config, wantConfig)
	}
	wantHost := &container.HostConfig{
		NetworkMode:   "front",
		RestartPolicy: container.RestartPolicy{Name: "on-failure"},
		CapAdd:        []string{"CHOWN"},
		CapDrop:       []string{"ALL"},
		LogConfig:     container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m"}},
		PortBindings: nat.PortMap{
			"80/tcp":   {{HostIP: "127.0.0.1", HostPort: "8080"}},
			"53/udp":   {{HostPort: "53"}},
			"5000/tcp": {{HostPort: "6000"}},
			"5001/tcp": {{HostPort: "6001"}},
		},
		Resources: container.Resources{NanoCPUs: 1_500_000_000, Memory: 128 << 20, CPUShares: 256, MemoryReservation: 64_000_000},
		Mounts: []mount.Mount{
			{Type: "volume", Source: "shop_web_data", Target: "/data"},
			{Type: "volume", Source: "shop_web_shared", Target: "/shared"},
			{Type: "volume", Source: "shop_web_config", Target: "/config", ReadOnly: true},
			{Type: "tmpfs", Target: "/cache", TmpfsOptions: &mount.TmpfsOptions{SizeBytes: 64 << 20}},
			{Type: "volume", Target: "/scratch"},
			{Type: "bind", Source: "/srv/files", Target: "/files", ReadOnly: true},
		},
	}
	if !reflect.DeepEqual(b.host, wantHost) {
		t.Errorf("host config is\n%+v, want\n%+v", b.host, wantHost)
	}
	if !reflect.DeepEqual(b.networks, []string{"front", "back"}) {
		t.Errorf("networks are %v", b.networks)
	}
	if !reflect.DeepEqual(b.exclusive, []string{"shop_web_data"}) {
		t.Errorf("exclusive volumes are %v", b.exclusive)
	}
}

// What other engines do with these, Docker has no counterpart for.
func TestWhatHasNoEffectIsTold(t *testing.T) {
	pair := []spec.KeyValue{{Key: "k", Value: "v"}}
	c := spec.Container{
		Volumes: []spec.Volume{
			{Name: "data", Path: "/data", Type: spec.VolumeReadWriteOnce, Size: "1Gi", Class: "fast"},
			{Name: "cache", Path: "/cache", Type: spec.VolumeMemory, Size: "1Gi"},
		},
		Annotations:        &spec.Markers{Deployment: pair, Service: pair, Ingress: pair},
		Labels:             &spec.Markers{Deployment: pair, Service: pair, Ingress: pair},
		ExtraLBAnnotations: pair,
		Metrics:            &spec.Metrics{Enabled: true},
		ExpectedState:      &spec.ExpectedState{State: spec.StateExited},
		RestartPolicy:      pointer(spec.RestartAlways),
	}
	var keys []string
	for _, note := range notes(c) {
		key, _, told := strings.Cut(note, " has no effect on Docker: ")
		if !told {
			t.Errorf("%q does not begin with a key", note)
		}
		keys = append(keys, key)
	}
	want := []string{
		"volumes[0].size", "volumes[0].class", "annotations.deployment", "annotations.service", "annotations.ingress",
		"labels.service", "labels.ingress", "extraLBAnnotations", "metrics", "restartPolicy",
	}
	if !reflect.DeepEqual(keys, want) {
		t.Errorf("told of %v, want %v", keys, want)
	}
	if d := spec.Normalize(spec.Deployment{Workloads: []spec.Workload{{}}}); len(notes(d.Workloads[0].Container)) > 0 {
		t.Errorf("a container that asks for nothing is told %v", notes(d.Workloads[0].Container))
	}
}

func TestBuildInitUsesItsParent(t *testing.T) {
	d, w := full()
	ic := spec.InitContainer{
		Name: "migrate", Image: "registry.test/migrate:1", UseParentConfig: true,
		Command:     []spec.Key{{Key: "/migrate"}},
		Args:        []spec.Key{{Key: "up"}},
		Environment: []spec.KeyValue{{Key: "A", Value: "own"}},
		Volumes:     []spec.VolumeLink{{Name: "data", Path: "/in"}, {Name: "config", Path: "/fill"}},
	}
	b, p := buildInit(d, w, ic, ic.Image)
	if len(p.refused) > 0 {
		t.Fatalf("refused: %v", p.refused)
	}
	if want := []string{"B=hidden", "TOKEN=t", "A=own"}; !reflect.DeepEqual(b.config.Env, want) {
		t.Errorf("environment is %v, want %v", b.config.Env, want)
	}
	wantMounts := []mount.Mount{
		{Type: "volume", Source: "shop_web_data", Target: "/in"},
		{Type: "volume", Source: "shop_web_config", Target: "/fill"},
	}
	if !reflect.DeepEqual(b.host.Mounts, wantMounts) || b.host.NetworkMode != "front" || b.host.RestartPolicy.Name != "no" {
		t.Errorf("host config is %+v", b.host)
	}

	ic.UseParentConfig = false
	if b, _ = buildInit(d, w, ic, ic.Image); !reflect.DeepEqual(b.config.Env, []string{"A=own"}) || len(b.networks) > 0 {
		t.Errorf("without its parent's configuration it has %v, %v", b.config.Env, b.networks)
	}
}

// Each case is something said, and the key that must be named when it is refused.
func TestCheckNamesWhatItRefuses(t *testing.T) {
	d := New(nil, Options{Policy: Policy{HostPaths: []string{"/srv"}}})
	for key, test := range map[string]struct {
		kind   apperr.Kind
		change func(*spec.Container)
	}{
		"expose":           {apperr.Unsupported, func(c *spec.Container) { c.Expose = pointer(spec.ExposePlain) }},
		"routing":          {apperr.Unsupported, func(c *spec.Container) { c.Routing = &spec.Routing{Path: "/"} }},
		"secrets[0].value": {apperr.Invalid, func(c *spec.Container) { c.Secrets = []spec.Secret{{Key: "K", Required: true}} }},
		"configContainer":  {apperr.Invalid, func(c *spec.Container) { c.ConfigContainer = &spec.ConfigContainer{} }},
		"storage.path": {apperr.Unsupported, func(c *spec.Container) {
			c.Volumes = []spec.Volume{{Name: "v", Path: "/v", Type: spec.VolumeTemporary}}
			c.Storage = &spec.Storage{StorageID: "s", Path: "v", Bucket: "b"}
		}},
		"storage.bucket": {apperr.Invalid, func(c *spec.Container) {
			c.Volumes = []spec.Volume{{Name: "v", Path: "/v"}}
			c.Storage = &spec.Storage{StorageID: "s", Path: "v"}
		}},
		"customHeaders":           {apperr.Unsupported, func(c *spec.Container) { c.CustomHeaders = []spec.Key{{Key: "X-A"}} }},
		"proxyHeaders":            {apperr.Unsupported, func(c *spec.Container) { c.ProxyHeaders = pointer(true) }},
		"capabilities: this node": {apperr.Unsupported, func(c *spec.Container) { c.Capabilities = []spec.KeyValue{{Key: "NET_ADMIN"}} }},
		"capabilities[0].key":     {apperr.Invalid, func(c *spec.Container) { c.Capabilities = []spec.KeyValue{{Key: "ROOT"}} }},
		"capabilities[0].value":   {apperr.Invalid, func(c *spec.Container) { c.Capabilities = []spec.KeyValue{{Key: "KILL", Value: "maybe"}} }},
		"KILL is both": {apperr.Invalid, func(c *spec.Container) {
			c.Capabilities = []spec.KeyValue{{Key: "KILL"}, {Key: "cap_kill", Value: "drop"}}
		}},
		"logConfig.driver":    {apperr.Unsupported, func(c *spec.Container) { c.LogConfig = &spec.LogConfig{Driver: "etwlogs"} }},
		"networkMode":         {apperr.Unsupported, func(c *spec.Container) { c.NetworkMode = pointer(spec.NetworkHost) }},
		"the id of a network": {apperr.Invalid, func(c *spec.Container) { c.Networks = []spec.Key{{Key: strings.Repeat("a1", 32)}} }},
		"ports[0].external: a port of the host": {apperr.Invalid, func(c *spec.Container) {
			c.Replicas = pointer(int32(2))
			c.Ports = []spec.Port{{Internal: 1, External: pointer(int32(1))}}
		}},
		"portRanges: ports of the host": {apperr.Invalid, func(c *spec.Container) {
			c.Replicas = pointer(int32(2))
			c.PortRanges = make([]spec.PortRange, 1)
		}},
		"volumes[0].type: a volume of type rwo": {apperr.Invalid, func(c *spec.Container) {
			c.Replicas = pointer(int32(2))
			c.Volumes = []spec.Volume{{Name: "v", Path: "/v", Type: spec.VolumeReadWriteOnce}}
		}},
		"healthCheckConfig": {apperr.Invalid, func(c *spec.Container) {
			c.NetworkMode = pointer(spec.NetworkNone)
			c.HealthCheckConfig = &spec.HealthCheckConfig{Port: 80}
		}},
		"useLoadBalancer":          {apperr.Unsupported, func(c *spec.Container) { c.UseLoadBalancer = pointer(true) }},
		"volumes[0].type":          {apperr.Invalid, func(c *spec.Container) { c.Volumes = []spec.Volume{{Name: "/srv", Path: "/v", Type: "mem"}} }},
		"host folder /etc":         {apperr.Unsupported, func(c *spec.Container) { c.Volumes = []spec.Volume{{Name: "/etc", Path: "/v"}} }},
		"host folder /srv/../etc":  {apperr.Unsupported, func(c *spec.Container) { c.Volumes = []spec.Volume{{Name: "/srv/../etc", Path: "/v"}} }},
		"host folder /srv2":        {apperr.Unsupported, func(c *spec.Container) { c.Volumes = []spec.Volume{{Name: "/srv2", Path: "/v"}} }},
		"dockerLabels[0].key":      {apperr.Invalid, func(c *spec.Container) { c.DockerLabels = []spec.KeyValue{{Key: labelManaged, Value: "no"}} }},
		"labels.deployment[0].key": {apperr.Invalid, func(c *spec.Container) { c.Labels = &spec.Markers{Deployment: []spec.KeyValue{{Key: labelName}}} }},
		"networks[0].key":          {apperr.Unsupported, func(c *spec.Container) { c.Networks = []spec.Key{{Key: "container:abc"}} }},
		"networks: cannot": {apperr.Invalid, func(c *spec.Container) {
			c.NetworkMode = pointer(spec.NetworkNone)
			c.Networks = []spec.Key{{Key: "n"}}
		}},
		"portRanges": {apperr.Invalid, func(c *spec.Container) {
			c.NetworkMode = pointer(spec.NetworkNone)
			c.PortRanges = make([]spec.PortRange, 1)
		}},
		"ports[0].external": {apperr.Invalid, func(c *spec.Container) {
			c.NetworkMode = pointer(spec.NetworkNone)
			c.Ports = []spec.Port{{Internal: 1, External: pointer(int32(1))}}
		}},
		"resourceConfig.limits.cpu": {apperr.Invalid, func(c *spec.Container) { c.ResourceConfig = &spec.ResourceConfig{Limits: &spec.Resources{CPU: "2Gi"}} }},
		"resourceConfig.limits.memory": {apperr.Invalid, func(c *spec.Container) {
			c.ResourceConfig = &spec.ResourceConfig{Limits: &spec.Resources{Memory: "2Mi"}}
		}},
		`"64m" is ambiguous`: {apperr.Invalid, func(c *spec.Container) {
			c.ResourceConfig = &spec.ResourceConfig{Limits: &spec.Resources{Memory: "64m"}}
		}},
		"initContainers.i.volumes[0].name": {apperr.Invalid, func(c *spec.Container) {
			c.InitContainers = []spec.InitContainer{{Name: "i", Image: "i:1", Volumes: []spec.VolumeLink{{Name: "none", Path: "/v"}}}}
		}},
		"initContainers.i.image": {apperr.Invalid, func(c *spec.Container) { c.InitContainers = []spec.InitContainer{{Name: "i", Image: "I !"}} }},
	} {
		t.Run(key, func(t *testing.T) {
			w := spec.Workload{Image: spec.Image{Reference: "registry.test/web:1"}, Container: spec.Container{Name: pointer("web")}}
			test.change(&w.Container)
			err := d.Check(spec.Deployment{Prefix: "p", Workloads: []spec.Workload{w}})
			if !apperr.Is(err, test.kind) || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), `instances "web"`) {
				t.Errorf("Check: %v, want kind %v, naming %s", err, test.kind, key)
			}
		})
	}
}

func TestCheckAcceptsDefaults(t *testing.T) {
	d, w := full()
	if err := New(nil, Options{Policy: Policy{HostPaths: []string{"/srv/files/"}}}).Check(d); err != nil {
		t.Errorf("Check of everything supported: %v", err)
	}
	w.Container = spec.Container{
		Name: pointer("web"), Routing: &spec.Routing{}, HealthCheckConfig: &spec.HealthCheckConfig{}, Metrics: &spec.Metrics{Port: 1},
		Secrets: []spec.Secret{{Key: "OPTIONAL"}}, Storage: &spec.Storage{}, Annotations: &spec.Markers{},
		LogConfig: &spec.LogConfig{Driver: spec.LogNodeDefault},
	}
	d = spec.Normalize(spec.Deployment{Prefix: "p", Workloads: []spec.Workload{w}})
	if err := New(nil, Options{}).Check(d); err != nil {
		t.Errorf("Check of a container that asks for nothing: %v", err)
	}
}
