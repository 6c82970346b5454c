package kube

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// Check reports everything in the deployment that cannot be honored in a
// cluster: an Unsupported error, or Invalid when all that is wrong can never be
// right.
func (d *Driver) Check(dep spec.Deployment) error {
	var all []error
	kind := apperr.Invalid
	if served := d.options.Namespaces; len(served) > 0 && !slices.Contains(served, dep.Prefix) {
		kind = apperr.Unsupported
		all = append(all, apperr.New(apperr.Unsupported, "prefix %q: this agent serves the namespaces %s only; name one of them, or install it for more",
			dep.Prefix, strings.Join(served, ", ")))
	}
	for _, w := range dep.Workloads {
		p := problems{}
		p.check(w.Container, d.options.Image)
		for _, err := range p.refused {
			if apperr.Is(err, apperr.Unsupported) {
				kind = apperr.Unsupported
			}
			all = append(all, fmt.Errorf("instances %q: %w", w.Name(), err))
		}
	}
	if len(all) == 0 {
		return nil
	}
	return apperr.Wrap(kind, errors.Join(all...), "check what the deployment asks of this cluster")
}

// problems collects what is wrong with one workload, in the words of the API.
type problems struct{ refused []error }

func (p *problems) unsupported(key, why string) {
	text := "is not supported by the kubernetes agent"
	if why != "" {
		text += ": " + why
	}
	p.refused = append(p.refused, apperr.New(apperr.Unsupported, "%s %s", key, text))
}

func (p *problems) invalid(key, format string, args ...any) {
	p.refused = append(p.refused, apperr.New(apperr.Invalid, "%s: %s", key, fmt.Sprintf(format, args...)))
}

// check refuses keys of engines of another kind and what no object can say; none
// is left out in silence. The image is the agent's own, empty when unknown.
func (p *problems) check(c spec.Container, image string) {
	if c.NetworkMode != nil && *c.NetworkMode != spec.NetworkBridge {
		p.unsupported("networkMode", "pods have a network of their own")
	}
	if len(c.Networks) > 0 {
		p.unsupported("networks", "pods of a cluster share one network; use its network policies")
	}
	if c.LogConfig != nil {
		p.unsupported("logConfig", "the cluster's nodes decide how logs are kept")
	}
	if len(c.DockerLabels) > 0 {
		p.unsupported("dockerLabels", "use labels")
	}
	p.checkVariables(c)
	p.checkPorts(c)
	p.checkIngress(c)
	p.checkVolumes(c)
	p.checkFills(c, image)
	p.checkCapabilities(c)
	p.checkMarkers(c)
	p.checkMetrics(c)
	p.checkResources(c.ResourceConfig)
}

func (p *problems) checkResources(c *spec.ResourceConfig) {
	if c == nil {
		return
	}
	for kind, r := range map[string]*spec.Resources{"limits": c.Limits, "requests": c.Requests} {
		if r == nil {
			continue
		}
		for key, value := range map[string]string{"cpu": r.CPU, "memory": r.Memory} {
			if _, err := quantity(value); err != nil {
				p.invalid("resourceConfig."+kind+"."+key, "%v", err)
			}
		}
	}
}

// quantity reads an amount such as 250m or 64Mi; nothing is nil.
func quantity(text string) (*resource.Quantity, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // absent is a value here
	}
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not a quantity such as 250m or 64Mi", text)
	}
	return &q, nil
}

func exposed(c spec.Container) bool { return c.Expose != nil && *c.Expose != spec.ExposeNone }

// ends reports whether a workload is meant to end: it is then a Job.
func ends(c spec.Container) bool {
	if c.ExpectedState != nil && c.ExpectedState.State == spec.StateExited {
		return true
	}
	return c.RestartPolicy != nil && (*c.RestartPolicy == spec.RestartNo || *c.RestartPolicy == spec.RestartOnFailure)
}
