package docker

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-connections/nat"

	"fairlead.dev/shared/spec"
)

// blueprint is one container as the engine is asked to make it.
type blueprint struct {
	config *container.Config
	host   *container.HostConfig
	// networks are joined by name under the aliases; the first at creation.
	networks []string
	aliases  []string
	// links are the names that it alone knows others by, by network.
	links map[string][]string
	// routed is the network a proxy reaches the container through.
	routed string
	// volumes are the named volumes that must exist.
	volumes []string
	// exclusive are the volumes and host folders that no other container of
	// the workload may have mounted at the same time.
	exclusive []string
	// secrets are the contents of the secrets that are files, by their names.
	secrets map[string]string
	// secretFolder is the agent's folder with the files of the container's
	// secrets, empty when it has none.
	secretFolder string
}

// networking returns the network joined at creation. Engines before 25 take
// one only; the others are joined before the container starts.
func (b *blueprint) networking() *network.NetworkingConfig {
	if len(b.networks) == 0 {
		return nil
	}
	return &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
		b.networks[0]: b.endpoint(b.networks[0]),
	}}
}

// portBindings are the ports of the host that are published; none of a blueprint
// that has not been drawn.
func (b *blueprint) portBindings() nat.PortMap {
	if b.host == nil {
		return nil
	}
	return b.host.PortBindings
}

// build turns a workload into the container that runs it.
func build(d spec.Deployment, w spec.Workload, image string) (blueprint, problems) {
	c := w.Container
	p := problems{}
	host := &container.HostConfig{
		RestartPolicy: restartPolicy(c),
		LogConfig:     logConfig(c.LogConfig),
		Resources:     resources(c.ResourceConfig, &p),
		NetworkMode:   networkMode(c),
		PortBindings:  nat.PortMap{},
	}
	b := blueprint{
		config: &container.Config{
			Hostname:     spec.ContainerName(d.Prefix, w.Name()),
			Image:        image,
			Env:          environment(withSecrets(c)),
			Entrypoint:   words(c.Commands),
			Cmd:          words(c.Args),
			ExposedPorts: nat.PortSet{},
			Labels:       labels(d, w, &p),
		},
		host:     host,
		networks: words(c.Networks),
		secrets:  secretFiles(c),
	}
	if host.NetworkMode.IsHost() {
		b.config.Hostname = "" // the host's own; the engine refuses another
	}
	if c.User != nil {
		b.config.User = strconv.FormatInt(*c.User, 10)
	}
	if c.WorkingDirectory != nil {
		b.config.WorkingDir = *c.WorkingDirectory
	}
	if c.TTY != nil {
		b.config.Tty = *c.TTY
	}
	capabilities(host, c.Capabilities, &p)
	b.publish(c)
	b.mount(d, w, &p)
	return b, p
}

// buildInit turns an init container of a workload into a container. It keeps
// to itself unless it uses its parent's configuration: then it also has the
// parent's environment, secrets and networks.
func buildInit(d spec.Deployment, w spec.Workload, ic spec.InitContainer, image string) (blueprint, problems) {
	p := problems{}
	env := ic.Environment
	var networks []string
	var secrets map[string]string
	mode := container.NetworkMode(spec.NetworkBridge)
	if ic.UseParentConfig {
		env = spec.WithEnvironment(withSecrets(w.Container), spec.Container{Environment: env}).Environment
		networks, mode = words(w.Container.Networks), networkMode(w.Container)
		secrets = secretFiles(w.Container)
	}
	labels := workloadLabels(d, w)
	labels[labelInit] = ic.Name
	b := blueprint{
		config: &container.Config{
			Image:      image,
			Env:        environment(env),
			Entrypoint: words(ic.Command),
			Cmd:        words(ic.Args),
			Labels:     labels,
		},
		host: &container.HostConfig{
			RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled},
			NetworkMode:   mode,
		},
		networks: networks,
		secrets:  secrets,
	}
	b.link(d, w, ic, &p)
	return b, p
}

// publish exposes the ports of the container and publishes them on the host.
func (b *blueprint) publish(c spec.Container) {
	add := func(protocol string, internal int32, bindings ...nat.PortBinding) {
		port := nat.Port(fmt.Sprintf("%d/%s", internal, protocol))
		b.config.ExposedPorts[port] = struct{}{}
		if len(bindings) > 0 {
			b.host.PortBindings[port] = append(b.host.PortBindings[port], bindings...)
		}
	}
	for _, p := range c.Ports {
		if p.External == nil {
			add(p.Protocol, p.Internal)
			continue
		}
		add(p.Protocol, p.Internal, nat.PortBinding{HostIP: p.Address, HostPort: strconv.Itoa(int(*p.External))})
	}
	for _, r := range c.PortRanges {
		for i := range r.Internal.To - r.Internal.From + 1 {
			add(r.Protocol, r.Internal.From+i, nat.PortBinding{HostPort: strconv.Itoa(int(r.External.From + i))})
		}
	}
}

// labels are those the spec asks for, and ours over them.
func labels(d spec.Deployment, w spec.Workload, p *problems) map[string]string {
	all := map[string]string{}
	add := func(field string, list []spec.KeyValue) {
		for i, kv := range list {
			if isReserved(kv.Key) {
				p.invalid(fmt.Sprintf("%s[%d].key", field, i), "labels that start with %s are the agent's own", labelPrefix)
			}
			all[kv.Key] = kv.Value
		}
	}
	if w.Container.Labels != nil {
		add("labels.deployment", w.Container.Labels.Deployment)
	}
	add("dockerLabels", w.Container.DockerLabels)
	maps.Copy(all, workloadLabels(d, w))
	if probe := labelLivenessOf(w.Container); probe != "" {
		all[labelLiveness] = probe
	}
	return all
}

// networkMode is the first network that the container joins.
func networkMode(c spec.Container) container.NetworkMode {
	if len(c.Networks) > 0 {
		return container.NetworkMode(c.Networks[0].Key)
	}
	if c.NetworkMode == nil {
		return container.NetworkMode(spec.NetworkBridge)
	}
	return container.NetworkMode(*c.NetworkMode)
}

func restartPolicy(c spec.Container) container.RestartPolicy {
	if endsForGood(c) {
		return container.RestartPolicy{Name: container.RestartPolicyDisabled}
	}
	if c.RestartPolicy == nil {
		return container.RestartPolicy{Name: container.RestartPolicyUnlessStopped}
	}
	names := map[spec.RestartPolicy]container.RestartPolicyMode{
		spec.RestartAlways:        container.RestartPolicyAlways,
		spec.RestartUnlessStopped: container.RestartPolicyUnlessStopped,
		spec.RestartOnFailure:     container.RestartPolicyOnFailure,
		spec.RestartNo:            container.RestartPolicyDisabled,
	}
	return container.RestartPolicy{Name: names[*c.RestartPolicy]}
}

// expected is the state the container should come to.
func expected(w spec.Workload) spec.ExpectedState {
	if w.Container.ExpectedState == nil || w.Container.ExpectedState.State == "" {
		return spec.ExpectedState{State: spec.StateRunning}
	}
	return *w.Container.ExpectedState
}

func environment(list []spec.KeyValue) []string {
	var env []string
	for _, kv := range list {
		env = append(env, kv.Key+"="+kv.Value)
	}
	return env
}

func words(list []spec.Key) []string {
	var out []string
	for _, k := range list {
		out = append(out, k.Key)
	}
	return slices.Clip(out)
}

// withSecrets returns the environment and the secrets that have a value and are
// no files; of two with the same key the secret counts.
func withSecrets(c spec.Container) []spec.KeyValue {
	var secrets []spec.KeyValue
	for _, s := range c.Secrets {
		if _, file := s.File(); !file && s.Value != "" {
			secrets = append(secrets, spec.KeyValue{Key: s.Key, Value: s.Value})
		}
	}
	return spec.WithEnvironment(c.Environment, spec.Container{Environment: secrets}).Environment
}
