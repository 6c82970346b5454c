package docker

import (
	"fmt"

	"fairlead.dev/shared/spec"
)

// refuseReplicas refuses what several containers of a workload cannot have at
// the same time.
func refuseReplicas(c spec.Container, p *problems) {
	if c.Replicas == nil || *c.Replicas <= 1 {
		return
	}
	for i, port := range c.Ports {
		if port.External != nil {
			p.invalid(fmt.Sprintf("ports[%d].external", i), "a port of the host cannot be published by %d containers; route to them instead", *c.Replicas)
		}
	}
	if len(c.PortRanges) > 0 {
		p.invalid("portRanges", "ports of the host cannot be published by %d containers", *c.Replicas)
	}
	for i, v := range c.Volumes {
		if v.Type == "" || v.Type == spec.VolumeReadWriteOnce {
			p.invalid(fmt.Sprintf("volumes[%d].type", i), "a volume of type rwo cannot be mounted by %d containers; type rwx can", *c.Replicas)
		}
	}
}

// refuseProbes refuses probes of a container that no network leads to.
func refuseProbes(c spec.Container, p *problems) {
	if h := c.HealthCheckConfig; h != nil && h.Port > 0 && c.NetworkMode != nil && *c.NetworkMode == spec.NetworkNone && len(c.Networks) == 0 {
		p.invalid("healthCheckConfig", "the container has no network with networkMode none")
	}
}
