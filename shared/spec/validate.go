package spec

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"fairlead.dev/shared/apperr"
)

// Limits on a spec. They bound what one deployment can cost a node and what
// one message can weigh.
const (
	MaxNameLength     = 63 // a DNS label, RFC 1123
	MaxWorkloads      = 100
	MaxListEntries    = 500
	MaxValueLength    = 64 << 10
	MaxReplicas       = 100
	MaxPublishedPorts = 1000

	MaxEngineNameLength = 255

	maxPort = 65535
)

// containerName is what engines accept as the name of a container.
var containerName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

var dnsLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// Problem is one thing wrong with a spec.
type Problem struct {
	// Field is the path in the words of the API, e.g. "ports[0].internal".
	Field   string
	Value   any
	Message string
}

// Problems is everything found wrong, in the order of the fields.
type Problems []Problem

// Err returns nil when there are no problems, else an Invalid error that names
// the first field and carries the rest as its cause.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	first := apperr.InvalidField(p[0].Field, p[0].Value, "%s", p[0].Message)
	var rest []error
	for _, other := range p[1:] {
		rest = append(rest, apperr.InvalidField(other.Field, other.Value, "%s", other.Message))
	}
	first.Err = errors.Join(rest...)
	return first
}

// check collects problems below a path.
type check struct {
	problems *Problems
	path     string
}

func (c check) at(format string, args ...any) check {
	step := fmt.Sprintf(format, args...)
	if c.path != "" && !strings.HasPrefix(step, "[") {
		step = "." + step
	}
	return check{c.problems, c.path + step}
}

func (c check) fail(value any, format string, args ...any) {
	*c.problems = append(*c.problems, Problem{c.path, value, fmt.Sprintf(format, args...)})
}

func (c check) that(ok bool, value any, format string, args ...any) {
	if !ok {
		c.fail(value, format, args...)
	}
}

// ValidatePrefix checks a deployment's prefix: a DNS label, which is what both
// container names and Kubernetes namespaces allow.
func ValidatePrefix(prefix string) Problems {
	var p Problems
	label(check{&p, "prefix"}, prefix)
	return p
}

// Validate checks a normalised deployment as a whole: every workload, and what
// must hold between them. It returns all problems it finds.
func Validate(d Deployment) Problems {
	var p Problems
	c := check{&p, ""}
	label(c.at("prefix"), d.Prefix)
	c.at("workloads").that(len(d.Workloads) <= MaxWorkloads, len(d.Workloads), "at most %d workloads", MaxWorkloads)

	checkPolicy(c.at("policy"), d.Policy)
	checkAdoptions(c, d)

	names := map[string]int{}
	published := map[string][]publication{}
	for i, w := range d.Workloads {
		c := c.at("workloads[%d]", i)
		c.at("image").that(w.Image.Reference != "", "", "is missing")
		if w.Container.Name == nil {
			c.at("name").fail(nil, "is missing")
		} else {
			containerNames(c.at("name"), d.Prefix, w, i, names)
		}
		container(c, w.Container)
		hostPorts(c, w.Container, published)
	}
	return p
}

// checkAdoptions checks that each container becomes that of one workload, and
// each workload's container is one.
func checkAdoptions(c check, d Deployment) {
	c.at("adopt").that(len(d.Adopt) <= MaxWorkloads, len(d.Adopt), "at most %d containers", MaxWorkloads)
	for i, a := range d.Adopt {
		c := c.at("adopt[%d]", i)
		c.at("container").that(containerName.MatchString(a.Container) && len(a.Container) <= MaxEngineNameLength, a.Container, "is not the name of a container")
		c.at("instanceId").that(slices.ContainsFunc(d.Workloads, func(w Workload) bool { return w.InstanceID == a.InstanceID }), a.InstanceID, "is none of the deployment's instances")
		for _, other := range d.Adopt[:i] {
			c.at("instanceId").that(other.InstanceID != a.InstanceID, a.InstanceID, "is named twice")
			c.at("container").that(other.Container != a.Container, a.Container, "is named twice")
		}
	}
}

// containerNames checks that no other workload has the name, or the name of one
// of several containers.
func containerNames(c check, prefix string, w Workload, index int, names map[string]int) {
	list := []string{w.Name()}
	if r := w.Container.Replicas; r != nil && *r > 1 && *r <= MaxReplicas {
		for i := range *r {
			list = append(list, ReplicaName(w.Name(), int(i)+1))
		}
	}
	for _, name := range list {
		if j, taken := names[name]; taken && j != index {
			c.fail(name, "is also the name of workload %d", j)
			return
		}
		names[name] = index
	}
	full := ContainerName(prefix, list[len(list)-1])
	c.that(len(full) <= MaxNameLength, full, "prefix and name together are longer than %d characters", MaxNameLength)
}

// ValidateContainer checks one container configuration on its own, as image
// and instance configurations are when they are edited. Paths start with path.
func ValidateContainer(path string, conf Container) Problems {
	var p Problems
	container(check{&p, path}, conf)
	return p
}

// hostPorts finds two containers of one deployment that publish the same port.
// It reports one port of a range: what follows is no news, and the ranges of
// one request could otherwise keep a processor busy for minutes.
func hostPorts(c check, conf Container, published map[string][]publication) {
	claim := func(c check, protocol, address string, port int32) bool {
		key := fmt.Sprintf("%d/%s", port, protocolOrTCP(protocol))
		for _, by := range published[key] {
			if everywhere(address) || everywhere(by.address) || address == by.address {
				c.fail(port, "host port %s is already published by %s", key, by.path)
				return false
			}
		}
		published[key] = append(published[key], publication{address, c.path})
		return true
	}
	for i, port := range conf.Ports {
		if port.External != nil {
			claim(c.at("ports[%d].external", i), port.Protocol, port.Address, *port.External)
		}
	}
	for i, r := range conf.PortRanges {
		if r.External.From < 1 || r.External.To > maxPort || r.External.To-r.External.From >= MaxPublishedPorts {
			continue // reported by the container's own check
		}
		for port := r.External.From; port <= r.External.To; port++ {
			if !claim(c.at("portRanges[%d].external", i), r.Protocol, "", port) {
				break
			}
		}
	}
}

// publication is where a host port is published, and by which part of a spec.
type publication struct{ address, path string }

// everywhere reports whether an address means all of the host's.
func everywhere(address string) bool {
	ip, err := netip.ParseAddr(address)
	return err != nil || ip.IsUnspecified()
}

func protocolOrTCP(protocol string) string {
	if protocol == "" {
		return "tcp"
	}
	return protocol
}

func label(c check, value string) {
	switch {
	case value == "":
		c.fail(value, "is missing")
	case len(value) > MaxNameLength:
		c.fail(value, "is longer than %d characters", MaxNameLength)
	case !dnsLabel.MatchString(value):
		c.fail(value, "must be lower-case letters, digits and inner hyphens (a DNS label)")
	}
}
