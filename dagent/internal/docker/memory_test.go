package docker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	distribution "github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"fairlead.dev/dagent/internal/docker"
)

// memory is a Docker Engine in memory, as far as deploys need one: names are
// unique, ports of the host are had by one running container at a time, and a
// program does what its arguments say. It is quick enough to be stopped at every
// call that changes it.
type memory struct {
	docker.Engine // what is not needed panics

	mu         sync.Mutex
	made       int
	containers map[string]*memoryContainer // by id
	listeners  map[chan events.Message]bool
	// digests is what the tags of the registry stand for; a tag that is not
	// there stands for itself.
	digests map[string]string
	// led are the ids of the containers that requests are led to, by workload.
	led map[string][]string
	// hookRuns counts how often hooks were started, by release, workload and kind.
	hookRuns map[string]int
	// mutations are the names of the calls that changed something.
	mutations []string
	// before is asked before a call that changes something, and after is told
	// what it came to; both may fail it.
	before, after func(call string) error
	// watch is called with the engine locked after every change.
	watch func()
}

type memoryContainer struct {
	id, name string
	config   *container.Config
	host     *container.HostConfig
	networks map[string]*network.EndpointSettings
	status   string
	exitCode int
	started  time.Time
	starts   int
	imageID  string
}

// checkedImage has a health check, which the engine runs at once.
const checkedImage = "registry.test/checked:1"

func newMemory() *memory {
	return &memory{containers: map[string]*memoryContainer{}, listeners: map[chan events.Message]bool{}, digests: map[string]string{}, hookRuns: map[string]int{}}
}

// change makes a call that changes something.
func (m *memory) change(ctx context.Context, call string, act func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.before != nil {
		if err := m.before(call); err != nil {
			return err
		}
	}
	m.mu.Lock()
	m.mutations = append(m.mutations, call)
	err := act()
	if m.watch != nil {
		m.watch()
	}
	m.mu.Unlock()
	if m.after != nil {
		return errors.Join(err, m.after(call))
	}
	return err
}

func (m *memory) tell(action events.Action, c *memoryContainer) {
	for listener := range m.listeners {
		select {
		case listener <- events.Message{Action: action, Actor: events.Actor{ID: c.id, Attributes: map[string]string{"exitCode": fmt.Sprint(c.exitCode)}}}:
		default:
		}
	}
}

func (m *memory) Ping(context.Context) (types.Ping, error) { return types.Ping{}, nil }
func (m *memory) NegotiateAPIVersionPing(types.Ping)       {}
func (m *memory) find(key string) (*memoryContainer, error) {
	for _, c := range m.containers {
		if c.id == key || c.name == key {
			return c, nil
		}
	}
	return nil, fmt.Errorf("no such container %s: %w", key, cerrdefs.ErrNotFound)
}

func (m *memory) Events(ctx context.Context, _ events.ListOptions) (<-chan events.Message, <-chan error) {
	heard, lost := make(chan events.Message, 1000), make(chan error, 1)
	m.mu.Lock()
	m.listeners[heard] = true
	m.mu.Unlock()
	context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.listeners, heard)
	})
	return heard, lost
}

func (m *memory) ContainerList(_ context.Context, o container.ListOptions) ([]container.Summary, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []container.Summary
	for _, id := range slices.Sorted(maps.Keys(m.containers)) {
		c := m.containers[id]
		match := o.All || c.status == container.StateRunning
		for _, label := range o.Filters.Get("label") {
			key, value, exact := strings.Cut(label, "=")
			has, there := c.config.Labels[key]
			match = match && there && (!exact || has == value)
		}
		if ids := o.Filters.Get("id"); len(ids) > 0 {
			match = match && slices.Contains(ids, c.id)
		}
		for _, n := range o.Filters.Get("network") {
			_, joined := c.networks[n]
			match = match && joined
		}
		if match {
			list = append(list, container.Summary{
				ID: c.id, Names: []string{"/" + c.name}, Image: c.config.Image, ImageID: c.imageID, Labels: c.config.Labels, State: c.status,
			})
		}
	}
	return list, nil
}

func (m *memory) ContainerInspect(_ context.Context, key string) (container.InspectResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.find(key)
	if err != nil {
		return container.InspectResponse{}, err
	}
	state := &container.State{Status: c.status, Running: c.status == container.StateRunning, ExitCode: c.exitCode, StartedAt: c.started.Format(time.RFC3339Nano)}
	if c.config.Healthcheck != nil {
		state.Health = &container.Health{Status: container.Healthy}
		if slices.Contains(c.config.Env, "HEALTH=bad") {
			state.Health = &container.Health{Status: container.Unhealthy, Log: []*container.HealthcheckResult{{ExitCode: 1, Output: "it is bad\n"}}}
		}
	}
	seen := container.InspectResponse{
		ContainerJSONBase: &container.ContainerJSONBase{ID: c.id, Name: "/" + c.name, State: state, HostConfig: c.host, Image: c.imageID},
		Config:            c.config, NetworkSettings: &container.NetworkSettings{Networks: c.networks},
	}
	for _, mounted := range c.host.Mounts {
		seen.Mounts = append(seen.Mounts, container.MountPoint{Type: mounted.Type, Name: volumeOf(mounted), Source: mounted.Source})
	}
	return seen, nil
}

func volumeOf(m mount.Mount) string {
	if m.Type == mount.TypeVolume {
		return m.Source
	}
	return ""
}

func (m *memory) ContainerCreate(ctx context.Context, config *container.Config, host *container.HostConfig, networking *network.NetworkingConfig, _ *ocispec.Platform, name string) (made container.CreateResponse, err error) {
	err = m.change(ctx, "create "+name, func() error {
		if _, err := m.find(name); err == nil {
			return fmt.Errorf("name %s is taken: %w", name, cerrdefs.ErrConflict)
		}
		m.made++
		c := &memoryContainer{
			id: fmt.Sprintf("%064x", m.made), name: name, config: config, host: host, status: container.StateCreated,
			networks: map[string]*network.EndpointSettings{}, imageID: m.imageID(config.Image),
		}
		if networking != nil {
			maps.Copy(c.networks, networking.EndpointsConfig)
		}
		if strings.HasPrefix(config.Image, checkedImage) {
			config.Healthcheck = &dockerspec.HealthcheckConfig{Test: []string{"NONE-OF-OURS", "x"}}
		}
		m.containers[c.id] = c
		made.ID = c.id
		return nil
	})
	return made, err
}

func (m *memory) ContainerStart(ctx context.Context, id string, _ container.StartOptions) error {
	return m.change(ctx, "start "+m.nameOf(id), func() error {
		c, err := m.find(id)
		if err != nil || c.status == container.StateRunning {
			return err
		}
		for port, wanted := range c.host.PortBindings {
			for _, other := range m.containers {
				if taken := other.host.PortBindings[port]; other.status == container.StateRunning && len(taken) > 0 && taken[0].HostPort == wanted[0].HostPort {
					return fmt.Errorf("Bind for 0.0.0.0:%s failed: port is already allocated", wanted[0].HostPort)
				}
			}
		}
		c.status, c.exitCode, c.started = container.StateRunning, 0, time.Now()
		c.starts++
		if labels := c.config.Labels; labels["dev.fairlead.hook"] != "" {
			m.hookRuns[labels["dev.fairlead.release"]+" "+labels["dev.fairlead.name"]+" "+labels["dev.fairlead.hook"]]++
		}
		m.tell(events.ActionStart, c)
		if len(c.config.Cmd) == 2 && c.config.Cmd[0] == "exit" {
			_, _ = fmt.Sscan(c.config.Cmd[1], &c.exitCode)
			c.status = container.StateExited
			m.tell(events.ActionDie, c)
		}
		return nil
	})
}

func (m *memory) ContainerStop(ctx context.Context, id string, _ container.StopOptions) error {
	return m.change(ctx, "stop "+m.nameOf(id), func() error {
		c, err := m.find(id)
		if err != nil {
			return err
		}
		if c.status == container.StateRunning {
			c.status, c.exitCode = container.StateExited, 143
			m.tell(events.ActionDie, c)
		}
		return nil
	})
}

func (m *memory) ContainerRename(ctx context.Context, id, name string) error {
	return m.change(ctx, "rename to "+name, func() error {
		c, err := m.find(id)
		if err != nil {
			return err
		}
		if other, err := m.find(name); err == nil && other != c {
			return fmt.Errorf("name %s is taken: %w", name, cerrdefs.ErrConflict)
		}
		c.name = name
		return nil
	})
}

func (m *memory) ContainerUpdate(ctx context.Context, id string, update container.UpdateConfig) (container.UpdateResponse, error) {
	return container.UpdateResponse{}, m.change(ctx, "update "+m.nameOf(id), func() error {
		c, err := m.find(id)
		if err == nil {
			c.host.RestartPolicy = update.RestartPolicy
		}
		return err
	})
}

func (m *memory) ContainerRemove(ctx context.Context, id string, _ container.RemoveOptions) error {
	return m.change(ctx, "remove "+m.nameOf(id), func() error {
		c, err := m.find(id)
		if err == nil {
			delete(m.containers, c.id)
		}
		return err
	})
}

func (m *memory) nameOf(id string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.find(id)
	if err != nil {
		return id
	}
	return c.name
}

func (m *memory) ContainerLogs(context.Context, string, container.LogsOptions) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("")), nil
}

func (m *memory) ContainerExecCreate(context.Context, string, container.ExecOptions) (container.ExecCreateResponse, error) {
	return container.ExecCreateResponse{}, errors.New("not in memory")
}

func (m *memory) ImagePull(context.Context, string, image.PullOptions) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("{}")), nil
}

// imageID is what an engine calls the image of a reference.
func (m *memory) imageID(reference string) string {
	tag, digest, _ := strings.Cut(reference, "@")
	if digest == "" {
		digest = m.digestOf(tag)
	}
	return "image-of-" + digest
}

func (m *memory) digestOf(tag string) string {
	if digest := m.digests[tag]; digest != "" {
		return digest
	}
	return fmt.Sprintf("sha256:%064x", len(tag))
}

func (m *memory) ImageInspect(_ context.Context, reference string, _ ...client.ImageInspectOption) (image.InspectResponse, error) {
	if strings.Contains(reference, "missing") {
		return image.InspectResponse{}, fmt.Errorf("no such image: %w", cerrdefs.ErrNotFound)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.containers {
		if c.imageID == reference {
			reference = c.config.Image
		}
	}
	tag, _, _ := strings.Cut(reference, "@")
	repository := tag[:strings.LastIndex(tag, ":")]
	seen := image.InspectResponse{ID: m.imageID(reference), RepoDigests: []string{repository + "@" + m.digestOf(tag)}, Config: &dockerspec.DockerOCIImageConfig{}}
	if strings.HasPrefix(reference, checkedImage) {
		seen.Config.Healthcheck = &dockerspec.HealthcheckConfig{Test: []string{"CMD", "x"}}
	}
	return seen, nil
}

func (m *memory) DistributionInspect(_ context.Context, reference, _ string) (distribution.DistributionInspect, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return distribution.DistributionInspect{Descriptor: ocispec.Descriptor{Digest: digest.Digest(m.digestOf(reference))}}, nil
}

func (m *memory) Info(context.Context) (system.Info, error) {
	return system.Info{LoggingDriver: "json-file", DefaultRuntime: "runc", CgroupVersion: "2"}, nil
}

func (m *memory) NetworkList(context.Context, network.ListOptions) ([]network.Summary, error) {
	return nil, nil
}

func (m *memory) NetworkCreate(ctx context.Context, name string, _ network.CreateOptions) (network.CreateResponse, error) {
	return network.CreateResponse{ID: name}, m.change(ctx, "create network "+name, func() error { return nil })
}

func (m *memory) NetworkConnect(ctx context.Context, name, id string, settings *network.EndpointSettings) error {
	return m.change(ctx, "connect "+m.nameOf(id), func() error {
		c, err := m.find(id)
		if err == nil {
			c.networks[name] = settings
		}
		return err
	})
}

func (m *memory) NetworkDisconnect(ctx context.Context, name, id string, _ bool) error {
	return m.change(ctx, "disconnect "+m.nameOf(id), func() error {
		c, err := m.find(id)
		if err == nil {
			delete(c.networks, name)
		}
		return err
	})
}

func (m *memory) VolumeInspect(_ context.Context, name string) (volume.Volume, error) {
	return volume.Volume{Name: name, Driver: "local", Labels: map[string]string{"dev.fairlead.managed": "true"}}, nil
}
