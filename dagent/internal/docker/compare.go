package docker

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

// difference is a key in which a container differs from the one that would be
// made for a workload.
type difference struct {
	key string
	// now and then are what it is and would be; both are empty where values may
	// be secrets.
	now, then string
}

func (d difference) String() string {
	if d.now == "" && d.then == "" {
		return d.key + " differs"
	}
	return fmt.Sprintf("%s is %s, would be %s", d.key, orNothing(d.now), orNothing(d.then))
}

func orNothing(text string) string {
	if text == "" {
		return "nothing"
	}
	return text
}

// comparison collects differences.
type comparison struct{ list []difference }

// values compares what may be told.
func (c *comparison) values(key string, now, then any) {
	if a, b := fmt.Sprint(now), fmt.Sprint(then); a != b {
		c.list = append(c.list, difference{key, a, b})
	}
}

// secrets compares what may not.
func (c *comparison) secrets(key string, same bool) {
	if !same {
		c.list = append(c.list, difference{key: key})
	}
}

// compare compares a container that runs with the one that would be made.
// Everything that the engine tells of it is either compared or, by leftOver,
// has to say nothing; but what has no effect on the container: which ports are
// exposed without being published, its host name, and labels that nobody asks
// for.
func compare(b blueprint, c *candidate, picture picture, facts engineFacts) []difference {
	var diff comparison
	seen := c.seen
	image := c.image.Config
	if image == nil {
		image = &dockerspec.DockerOCIImageConfig{}
	}
	diff.image(b, c, picture)

	config := *seen.Config
	diff.environment(variables(config.Env), merged(variables(image.Env), variables(b.config.Env)))
	entrypoint, cmd := image.Entrypoint, image.Cmd
	if len(b.config.Entrypoint) > 0 {
		entrypoint, cmd = b.config.Entrypoint, nil
	}
	if len(b.config.Cmd) > 0 {
		cmd = b.config.Cmd
	}
	diff.secrets("commands", slices.Equal([]string(config.Entrypoint), entrypoint))
	diff.secrets("args", slices.Equal([]string(config.Cmd), cmd))
	diff.values("user", config.User, cmp.Or(b.config.User, image.User))
	diff.values("workingDirectory", config.WorkingDir, cmp.Or(b.config.WorkingDir, image.WorkingDir))
	diff.values("tty", config.Tty, b.config.Tty)
	diff.values("stopSignal", stopSignal(config.StopSignal), stopSignal(image.StopSignal))
	diff.secrets("HEALTHCHECK", reflect.DeepEqual(config.Healthcheck, image.Healthcheck))
	diff.labels(config.Labels, b.config.Labels)
	config.Hostname, config.Image, config.Labels, config.Env, config.ExposedPorts, config.Volumes = "", "", nil, nil, nil, nil
	config.Entrypoint, config.Cmd, config.User, config.WorkingDir, config.Tty, config.StopSignal = nil, nil, "", "", false, ""
	config.Healthcheck, config.OnBuild, config.Shell, config.ArgsEscaped = nil, nil, nil, false
	config.AttachStdin, config.AttachStdout, config.AttachStderr = false, false, false // of whoever ran it, and over
	diff.leftOver("", reflect.ValueOf(config))

	host := *seen.HostConfig
	diff.values("restartPolicy", restarts(host.RestartPolicy), restarts(b.host.RestartPolicy))
	diff.logging(host.LogConfig, b.host.LogConfig, facts)
	diff.values("resourceConfig", quantities(host.Resources), quantities(b.host.Resources))
	diff.values("ports", slices.Sorted(maps.Keys(bindings(&host))), slices.Sorted(maps.Keys(bindings(b.host))))
	diff.values("capabilities", capabilitySets(&host), capabilitySets(b.host))
	diff.values("volumes", mounted(seen, host.Mounts), planned(b, image.Volumes))
	diff.networks(seen, b)
	diff.secrets("secrets", len(b.secrets) == 0)
	diff.secrets("expose", b.routed == "")
	clearHost(&host, facts)
	diff.leftOver("", reflect.ValueOf(host))
	return diff.list
}

func (c *comparison) image(b blueprint, candidate *candidate, p picture) {
	switch {
	case candidate.hasDigest(p.digest), p.id != "" && p.id == candidate.seen.Image:
	case p.digest == "" && p.id == "":
		c.values("image", candidate.seen.Config.Image, b.config.Image+", of which nobody can tell what it stands for")
	default:
		now := candidate.digest(b.config.Image, picture{})
		c.values("image", candidate.seen.Config.Image+" "+cmp.Or(now, candidate.seen.Image), b.config.Image+" "+cmp.Or(p.digest, p.id))
	}
}

func (c *comparison) environment(now, then map[string]string) {
	keys := map[string]bool{}
	for key, value := range now {
		if other, there := then[key]; !there || other != value {
			keys[key] = true
		}
	}
	for key := range then {
		if _, there := now[key]; !there {
			keys[key] = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		_, is := now[key]
		_, would := then[key]
		switch {
		case is && would:
			c.secrets("environment."+key, false)
		case is:
			c.values("environment."+key, "set", "")
		default:
			c.values("environment."+key, "", "set")
		}
	}
}

// labels compares those that are asked for. The driver's own are in the ledger.
func (c *comparison) labels(now, then map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(then)) {
		if !isReserved(key) {
			value, there := now[key]
			c.secrets("dockerLabels."+key, there && value == then[key])
		}
	}
}

// logging compares where the output goes. The engine adds options of its own to
// those of its default driver, which nobody can tell apart.
func (c *comparison) logging(now, then container.LogConfig, facts engineFacts) {
	driver := cmp.Or(then.Type, facts.logDriver)
	if now.Type != driver {
		c.values("logConfig.driver", now.Type, driver)
		return
	}
	same := then.Type == "" || now.Type == facts.logDriver || len(now.Config) == len(then.Config)
	for key, value := range then.Config {
		is, there := now.Config[key]
		same = same && there && is == value
	}
	c.secrets("logConfig.options", same)
}

func (c *comparison) networks(seen container.InspectResponse, b blueprint) {
	joined := map[string]*network.EndpointSettings{}
	if seen.NetworkSettings != nil {
		joined = seen.NetworkSettings.Networks
	}
	then := slices.Clone(b.networks)
	key := "networks"
	if len(then) == 0 {
		key, then = "networkMode", []string{string(b.host.NetworkMode)}
	}
	slices.Sort(then)
	c.values(key, slices.Sorted(maps.Keys(joined)), then)
	for _, name := range slices.Sorted(maps.Keys(joined)) {
		if e := joined[name]; e != nil && e.IPAMConfig != nil && !reflect.ValueOf(*e.IPAMConfig).IsZero() {
			c.values("networks."+name, "joined with an address of its own", "joined with any address")
		}
	}
}

// leftOver tells of every field that says something.
func (c *comparison) leftOver(path string, v reflect.Value) {
	for i := range v.NumField() {
		field, name := v.Field(i), v.Type().Field(i)
		switch {
		case name.Anonymous || field.Kind() == reflect.Struct:
			c.leftOver(path, field)
		case isSaid(field) && (field.Kind() != reflect.Pointer || isSaid(field.Elem())):
			c.list = append(c.list, difference{key: "the container's " + path + name.Name + ", which no key asks for,"})
		}
	}
}

// clearHost takes out what was compared, and what engines fill in by themselves.
func clearHost(host *container.HostConfig, facts engineFacts) {
	host.Binds, host.Mounts, host.RestartPolicy, host.LogConfig = nil, nil, container.RestartPolicy{}, container.LogConfig{}
	host.PortBindings, host.CapAdd, host.CapDrop, host.NetworkMode = nil, nil, nil, ""
	if host.MemorySwap == 2*host.Memory || host.MemorySwap == -1 && host.Memory == 0 {
		host.MemorySwap = 0
	}
	host.NanoCPUs, host.Memory, host.MemoryReservation, host.CPUShares = 0, 0, 0, 0
	host.ContainerIDFile, host.ConsoleSize = "", [2]uint{}
	if host.ShmSize == 64<<20 {
		host.ShmSize = 0
	}
	if host.IpcMode.IsPrivate() || host.IpcMode == container.IPCModeShareable {
		host.IpcMode = ""
	}
	if host.CgroupnsMode.IsPrivate() || facts.cgroups != "2" {
		host.CgroupnsMode = ""
	}
	if host.Runtime == facts.runtime {
		host.Runtime = ""
	}
	if host.Isolation.IsDefault() {
		host.Isolation = ""
	}
	if host.VolumeDriver == "local" {
		host.VolumeDriver = ""
	}
	if host.MemorySwappiness != nil && *host.MemorySwappiness == -1 {
		host.MemorySwappiness = nil
	}
	if host.PidsLimit != nil && *host.PidsLimit == -1 {
		host.PidsLimit = nil
	}
	if len(host.MaskedPaths) > 0 && len(host.ReadonlyPaths) > 0 {
		host.MaskedPaths, host.ReadonlyPaths = nil, nil
		return
	}
	host.MaskedPaths = []string{"none"} // all of the host's /proc and /sys is open to it
}

func restarts(p container.RestartPolicy) string {
	name := string(p.Name)
	if name == "" {
		name = string(container.RestartPolicyDisabled)
	}
	if p.MaximumRetryCount > 0 {
		name += fmt.Sprintf(" (%d times)", p.MaximumRetryCount)
	}
	return name
}

// stopSignal is the one name of what ends a container by default.
func stopSignal(name string) string {
	if name == "" || name == "15" {
		return "SIGTERM"
	}
	return name
}

func capabilitySets(host *container.HostConfig) string {
	one := func(list []string) []string {
		var names []string
		for _, name := range list {
			names = append(names, capability(name))
		}
		slices.Sort(names)
		return slices.Compact(names)
	}
	if len(host.CapAdd) == 0 && len(host.CapDrop) == 0 {
		return ""
	}
	return fmt.Sprintf("add %v drop %v", one(host.CapAdd), one(host.CapDrop))
}

func merged(under, over map[string]string) map[string]string {
	maps.Copy(under, over)
	return under
}
