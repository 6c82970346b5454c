package spec

import (
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
)

var (
	quantity = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?(m|[kKMGTP]i?|[kmgt]b?)?$`)
	fileName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)
)

func container(c check, conf Container) {
	if conf.Name != nil {
		label(c.at("name"), *conf.Name)
	}
	pairs(c.at("environment"), conf.Environment, environmentKey)
	secrets(c.at("secrets"), conf.Secrets)
	oneOf(c.at("expose"), conf.Expose)
	oneOf(c.at("restartPolicy"), conf.RestartPolicy)
	oneOf(c.at("networkMode"), conf.NetworkMode)
	oneOf(c.at("deploymentStrategy"), conf.DeploymentStrategy)
	if conf.User != nil {
		c.at("user").that(*conf.User >= -1 && *conf.User <= 1<<31-1, *conf.User, "must be -1 (the image's own) to 2147483647")
	}
	if conf.WorkingDirectory != nil && *conf.WorkingDirectory != "" {
		absolute(c.at("workingDirectory"), *conf.WorkingDirectory)
	}
	if conf.Replicas != nil {
		c.at("replicas").that(*conf.Replicas >= 0 && *conf.Replicas <= MaxReplicas, *conf.Replicas, "must be 0 to %d", MaxReplicas)
	}
	ports(c, conf)
	volumes(c.at("volumes"), conf.Volumes)
	secretFiles(c, conf)
	keys(c.at("commands"), conf.Commands)
	keys(c.at("args"), conf.Args)
	initContainers(c.at("initContainers"), conf)
	hooks(c.at("hooks"), conf.Hooks)
	networks(c.at("networks"), conf.Networks)
	pairs(c.at("dockerLabels"), conf.DockerLabels, wordKey)
	capabilities(c.at("capabilities"), conf.Capabilities)
	headers(c.at("customHeaders"), conf.CustomHeaders)
	pairs(c.at("extraLBAnnotations"), conf.ExtraLBAnnotations, wordKey)
	markers(c.at("annotations"), conf.Annotations)
	markers(c.at("labels"), conf.Labels)
	if conf.LogConfig != nil {
		oneOf(c.at("logConfig.driver"), &conf.LogConfig.Driver)
		pairs(c.at("logConfig.options"), conf.LogConfig.Options, wordKey)
	}
	expectedState(c.at("expectedState"), conf.ExpectedState)
	healthCheck(c.at("healthCheckConfig"), conf.HealthCheckConfig)
	if r := conf.ResourceConfig; r != nil {
		resources(c.at("resourceConfig.limits"), r.Limits)
		resources(c.at("resourceConfig.requests"), r.Requests)
	}
	configContainer(c.at("configContainer"), conf)
	storage(c.at("storage"), conf)
	routing(c.at("routing"), conf.Routing)
	metrics(c.at("metrics"), conf.Metrics)
}

func ports(c check, conf Container) {
	bounded(c.at("ports"), len(conf.Ports))
	for i, p := range conf.Ports {
		c := c.at("ports[%d]", i)
		port(c.at("internal"), p.Internal)
		if p.External != nil {
			port(c.at("external"), *p.External)
		}
		protocol(c.at("protocol"), p.Protocol)
		if p.Address != "" {
			ip, err := netip.ParseAddr(p.Address)
			c.at("address").that(err == nil && ip.Zone() == "", p.Address, "must be an IP address")
		}
	}
	bounded(c.at("portRanges"), len(conf.PortRanges))
	for i, r := range conf.PortRanges {
		c := c.at("portRanges[%d]", i)
		portRange(c.at("internal"), r.Internal)
		portRange(c.at("external"), r.External)
		protocol(c.at("protocol"), r.Protocol)
		c.that(r.Internal.To-r.Internal.From == r.External.To-r.External.From, nil, "internal and external must be equally long")
		for j, p := range conf.Ports {
			inside := p.Internal >= r.Internal.From && p.Internal <= r.Internal.To &&
				protocolOrTCP(p.Protocol) == protocolOrTCP(r.Protocol)
			c.at("internal").that(!inside, p.Internal, "contains the port of ports[%d]", j)
		}
	}
}

func port(c check, value int32) {
	c.that(value > 0 && value <= maxPort, value, "must be 1 to %d", maxPort)
}

func portRange(c check, r Range) {
	port(c.at("from"), r.From)
	port(c.at("to"), r.To)
	c.that(r.From <= r.To, nil, "from must not be greater than to")
	c.that(r.To-r.From < MaxPublishedPorts, nil, "at most %d ports", MaxPublishedPorts)
}

func protocol(c check, value string) {
	c.that(value == "" || value == "tcp" || value == "udp", value, "must be tcp or udp")
}

func volumes(c check, list []Volume) {
	bounded(c, len(list))
	names, paths := map[string]bool{}, map[string]bool{}
	for i, v := range list {
		c := c.at("[%d]", i)
		c.at("name").that(v.Name != "", v.Name, "is missing")
		c.at("name").that(!names[v.Name], v.Name, "is used twice")
		c.at("path").that(!paths[v.Path], v.Path, "is used twice")
		names[v.Name], paths[v.Path] = true, true
		if !strings.HasPrefix(v.Name, "/") { // an absolute name is a host folder, subject to the node's policy
			c.at("name").that(fileName.MatchString(v.Name), v.Name, "must be letters, digits, '_', '.' and '-', or an absolute host path")
		} else {
			absolute(c.at("name"), v.Name)
		}
		absolute(c.at("path"), v.Path)
		if v.Type != "" {
			oneOf(c.at("type"), &v.Type)
		}
		c.at("class").that(v.Class == "" || fileName.MatchString(v.Class), v.Class, "must be the name of a storage class")
		c.at("size").that(v.Size == "" || quantity.MatchString(v.Size), v.Size, "must be a quantity such as 512Mi or 1G")
	}
}

func hasVolume(conf Container, name string) bool {
	if conf.Volumes == nil {
		return true // an override may leave the volumes to its image
	}
	for _, v := range conf.Volumes {
		if v.Name == name {
			return true
		}
	}
	return false
}

func initContainers(c check, conf Container) {
	bounded(c, len(conf.InitContainers))
	names := map[string]bool{}
	for i, ic := range conf.InitContainers {
		c := c.at("[%d]", i)
		label(c.at("name"), ic.Name)
		c.at("name").that(!names[ic.Name], ic.Name, "is used twice")
		names[ic.Name] = true
		image(c.at("image"), ic.Image)
		keys(c.at("command"), ic.Command)
		keys(c.at("args"), ic.Args)
		pairs(c.at("environment"), ic.Environment, environmentKey)
		bounded(c.at("volumes"), len(ic.Volumes))
		for j, v := range ic.Volumes {
			c.at("volumes[%d].name", j).that(v.Name != "" && hasVolume(conf, v.Name), v.Name, "is not the name of one of the volumes")
			absolute(c.at("volumes[%d].path", j), v.Path)
		}
	}
}

func secrets(c check, list []Secret) {
	bounded(c, len(list))
	seen := map[string]bool{}
	for i, s := range list {
		c := c.at("[%d]", i)
		secretKey(c.at("key"), s.Key)
		c.at("key").that(!seen[s.Key], s.Key, "is used twice")
		seen[s.Key] = true
		c.at("value").that(len(s.Value) <= MaxValueLength, nil, "is longer than %d bytes", MaxValueLength)
	}
}

func markers(c check, m *Markers) {
	if m == nil {
		return
	}
	pairs(c.at("deployment"), m.Deployment, wordKey)
	pairs(c.at("service"), m.Service, wordKey)
	pairs(c.at("ingress"), m.Ingress, wordKey)
}

func resources(c check, r *Resources) {
	if r == nil {
		return
	}
	c.at("cpu").that(r.CPU == "" || quantity.MatchString(r.CPU), r.CPU, "must be a quantity such as 250m or 2")
	c.at("memory").that(r.Memory == "" || quantity.MatchString(r.Memory), r.Memory, "must be a quantity such as 64Mi")
}

// secretKey allows what is an environment variable or a file of SecretFolder.
func secretKey(c check, key string) {
	if !strings.HasPrefix(key, "/") {
		environmentKey(c, key)
		return
	}
	name, ok := Secret{Key: key}.File()
	c.that(ok && fileName.MatchString(name) && len(name) <= maxFileName, key,
		"must be the name of a variable, or %s/ and the name of a file: letters, digits, '_', '.' and '-'", SecretFolder)
}

// maxFileName is what file systems take.
const maxFileName = 255

// secretFiles keeps volumes from the folder that secrets are files in.
func secretFiles(c check, conf Container) {
	if !slices.ContainsFunc(conf.Secrets, func(s Secret) bool { _, ok := s.File(); return ok }) {
		return
	}
	for i, v := range conf.Volumes {
		inside := v.Path == SecretFolder || strings.HasPrefix(v.Path, SecretFolder+"/")
		c.at("volumes[%d].path", i).that(!inside, v.Path, "is where the secrets are that are files")
	}
}

// environmentKey allows what every shell and engine can carry: anything but
// white space, '=' and control characters.
func environmentKey(c check, key string) {
	c.that(key != "", key, "is missing")
	c.that(!strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '=' }), key,
		"must not contain white space, line breaks or '='")
}

func wordKey(c check, key string) {
	c.that(key != "", key, "is missing")
	c.that(!strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r == 0x7f }), key, "must not contain white space or line breaks")
}

func pairs(c check, list []KeyValue, checkKey func(check, string)) {
	bounded(c, len(list))
	seen := map[string]bool{}
	for i, kv := range list {
		c := c.at("[%d]", i)
		checkKey(c.at("key"), kv.Key)
		c.at("key").that(!seen[kv.Key], kv.Key, "is used twice")
		seen[kv.Key] = true
		c.at("value").that(len(kv.Value) <= MaxValueLength, nil, "is longer than %d bytes", MaxValueLength)
		c.at("value").that(!strings.Contains(kv.Value, "\x00"), nil, "must not contain a NUL character")
	}
}

func keys(c check, list []Key) {
	bounded(c, len(list))
	for i, k := range list {
		c := c.at("[%d].key", i)
		c.that(len(k.Key) <= MaxValueLength, nil, "is longer than %d bytes", MaxValueLength)
		c.that(!strings.Contains(k.Key, "\x00"), nil, "must not contain a NUL character")
	}
}

func bounded(c check, n int) {
	c.that(n <= MaxListEntries, n, "at most %d entries", MaxListEntries)
}

func absolute(c check, p string) {
	c.that(strings.HasPrefix(p, "/") && path.Clean(p) == strings.TrimSuffix(p, "/") && p != "/" && !strings.Contains(p, "\x00"), p,
		"must be an absolute path without '.' or '..'")
}

func oneOf[T interface {
	comparable
	enum[T]
}](c check, v *T) {
	if v != nil {
		c.that(known(*v), string(*v), "must be one of %v", (*v).Values())
	}
}
