package docker

import (
	"fmt"
	"strings"

	"fairlead.dev/shared/spec"
)

// gate is what a container that is meant to run must pass to count as healthy.
// The zero value is a container that cannot tell.
type gate struct {
	// image is true when the image's own health check counts: once it has
	// succeeded, whether the engine ran it or the agent.
	image bool
	// probes are those that the agent makes over the container's network, one
	// after the other; each must succeed once.
	probes []networkProbe
}

// networkProbe is a question to a port of a container.
type networkProbe struct {
	// key is what asks for it, as the API calls it.
	key  string
	port int32
	// path is that of an HTTP GET; without one a connection is enough.
	path string
}

func (n networkProbe) String() string {
	if n.path == "" {
		return fmt.Sprintf("connect to port %d", n.port)
	}
	return fmt.Sprintf("GET :%d/%s", n.port, strings.TrimPrefix(n.path, "/"))
}

// free reports whether there is nothing to pass.
func (g gate) free() bool { return !g.image && len(g.probes) == 0 }

// gateOf is the gate of a container: what healthCheckConfig says; else the
// image's health check; else, for one that a proxy serves, that its port takes
// connections. The order of probes is that of Kubernetes, where the others
// begin when the startup probe has succeeded.
func gateOf(c spec.Container, checked bool) gate {
	if h := c.HealthCheckConfig; h != nil && h.Port > 0 {
		var g gate
		for _, p := range []networkProbe{
			{"healthCheckConfig.startupProbe", h.Port, h.StartupProbe},
			{"healthCheckConfig.livenessProbe", h.Port, h.LivenessProbe},
			{"healthCheckConfig.readinessProbe", h.Port, h.ReadinessProbe},
		} {
			if p.path != "" {
				g.probes = append(g.probes, p)
			}
		}
		if len(g.probes) == 0 {
			g.probes = []networkProbe{{key: "healthCheckConfig.port", port: h.Port}}
		}
		return g
	}
	if checked {
		return gate{image: true}
	}
	if port := routedPort(c); port > 0 {
		return gate{probes: []networkProbe{{key: "routing.port", port: port}}}
	}
	return gate{}
}

// routedPort is the port that a proxy leads to, 0 when none does.
func routedPort(c spec.Container) int32 {
	if c.Expose == nil || *c.Expose == spec.ExposeNone {
		return 0
	}
	if c.Routing != nil && c.Routing.Port > 0 {
		return c.Routing.Port
	}
	for _, p := range c.Ports {
		if p.Protocol != "udp" {
			return p.Internal
		}
	}
	return 0
}
