package docker

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// problems collects what is wrong with one workload, in the words of the API.
type problems struct {
	refused []error
}

func (p *problems) unsupported(key, why string) {
	text := "is not supported by the docker agent yet"
	if why != "" {
		text += ": " + why
	}
	p.refused = append(p.refused, apperr.New(apperr.Unsupported, "%s %s", key, text))
}

func (p *problems) invalid(key, format string, args ...any) {
	p.refused = append(p.refused, apperr.New(apperr.Invalid, "%s: %s", key, fmt.Sprintf(format, args...)))
}

// Check reports everything in the deployment that cannot be honored here: an
// Unsupported error, or Invalid when all that is wrong can never be right.
func (d *Driver) Check(dep spec.Deployment) error {
	var all []error
	kind := apperr.Invalid
	if len(dep.Adopt) > 0 && d.options.Adoptions == nil {
		kind = apperr.Unsupported
		all = append(all, apperr.New(apperr.Unsupported, "adopt: the agent has no record of adopted containers, see its log"))
	}
	for _, w := range dep.Workloads {
		for _, err := range d.problemsOf(dep, w) {
			if apperr.Is(err, apperr.Unsupported) {
				kind = apperr.Unsupported
			}
			all = append(all, fmt.Errorf("instances %q: %w", w.Name(), err))
		}
	}
	if len(all) == 0 {
		return nil
	}
	return apperr.Wrap(kind, errors.Join(all...), "check what the deployment asks of this node")
}

func (d *Driver) problemsOf(dep spec.Deployment, w spec.Workload) []error {
	p := refusals(w.Container)
	d.refuseSecretFiles(w.Container, &p)
	d.refuseFills(w.Container, &p)
	checkImage("image", w.Image.Reference, &p)
	b, built := build(dep, w, w.Image.Reference)
	p.refused = append(p.refused, built.refused...)
	p.refused = append(p.refused, d.planRoutes(dep, w, &b)...)
	p.refused = append(p.refused, d.permit(b)...)
	for _, kind := range w.HookKinds() {
		b, _ := buildHook(dep, w, kind, w.Image.Reference) // has the problems of the workload's
		p.refused = append(p.refused, d.permit(b)...)
	}
	for _, ic := range w.Container.InitContainers {
		checkImage("initContainers."+ic.Name+".image", ic.Image, &p)
		b, built := buildInit(dep, w, ic, ic.Image)
		p.refused = append(p.refused, built.refused...)
		p.refused = append(p.refused, d.permit(b)...)
	}
	return p.refused
}

// permit decides whether the node lets a container be made.
func (d *Driver) permit(b blueprint) []error {
	return d.options.Policy.permit(b.config, b.host, b.networking(), b.secretFolder)
}

func checkImage(key, text string, p *problems) {
	if _, err := reference.ParseDockerRef(text); err != nil {
		p.invalid(key, "%q is not an image reference: %v", text, err)
	}
}

// networkName is what the engine accepts. It keeps words with a meaning of
// their own, such as "container:id", from becoming a network mode.
var networkName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

// networkID is how the engine finds a network before it looks at names.
var networkID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// refusals are the keys the driver does not honor yet, and combinations the
// engine would silently ignore.
func refusals(c spec.Container) problems {
	p := problems{}
	for i, s := range c.Secrets {
		if s.Required && s.Value == "" {
			p.invalid(fmt.Sprintf("secrets[%d].value", i), "the required secret %s has no value", s.Key)
		}
	}
	refuseReplicas(c, &p)
	refuseProbes(c, &p)
	refuseKubernetesOnly(c, &p)
	refuseNetworks(c, &p)
	return p
}

// refuseKubernetesOnly refuses what containers would be wrong without. What has
// no effect here and does no harm by it is told instead; see notes.
func refuseKubernetesOnly(c spec.Container, p *problems) {
	if c.UseLoadBalancer != nil && *c.UseLoadBalancer {
		p.refused = append(p.refused, apperr.New(apperr.Unsupported,
			"useLoadBalancer is not possible on Docker, which has no load balancers: publish a port of the host (ports) or expose the container"))
	}
}

func refuseNetworks(c spec.Container, p *problems) {
	for i, n := range c.Networks {
		field := fmt.Sprintf("networks[%d].key", i)
		if !networkName.MatchString(n.Key) || slices.Contains([]string{"host", "none", "bridge", "default"}, n.Key) {
			p.invalid(field, "%q cannot be the name of a network", n.Key)
		}
		if networkID.MatchString(n.Key) {
			p.invalid(field, "%q looks like the id of a network; name it", n.Key)
		}
		if slices.ContainsFunc(c.Networks[:i], func(o spec.Key) bool { return o.Key == n.Key }) {
			p.invalid(field, "%q is named twice", n.Key)
		}
	}
	if c.NetworkMode == nil || *c.NetworkMode == spec.NetworkBridge {
		return
	}
	if len(c.Networks) > 0 {
		p.invalid("networks", "cannot be joined with networkMode %s", *c.NetworkMode)
	}
	for i, port := range c.Ports {
		if port.External != nil {
			p.invalid(fmt.Sprintf("ports[%d].external", i), "cannot be published with networkMode %s", *c.NetworkMode)
		}
	}
	if len(c.PortRanges) > 0 {
		p.invalid("portRanges", "cannot be published with networkMode %s", *c.NetworkMode)
	}
}

// isReserved reports whether a label is one of the agent's own.
func isReserved(key string) bool { return strings.HasPrefix(key, labelPrefix) }
