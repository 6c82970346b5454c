package kube

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/shared/spec"
)

// service makes a workload reachable under its name, at the ports it serves.
func (b *built) service(dep spec.Deployment, w spec.Workload) {
	c := w.Container
	ports := servicePorts(c)
	if len(ports) == 0 {
		return
	}
	made := &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: meta(dep, w, b.name),
		Spec: corev1.ServiceSpec{Selector: podLabels(b.name), Type: corev1.ServiceTypeClusterIP},
	}
	taken := map[endpoint]bool{}
	for _, port := range ports {
		if !taken[port.endpoint] { // a port that is named twice is one of the Service
			made.Spec.Ports = append(made.Spec.Ports, port.object)
		}
		taken[port.endpoint] = true
	}
	if balanced(c) {
		made.Spec.Type = corev1.ServiceTypeLoadBalancer
		addPairs(made.Annotations, c.ExtraLBAnnotations)
	}
	if c.Labels != nil {
		addPairs(made.Labels, c.Labels.Service)
	}
	if c.Annotations != nil {
		addPairs(made.Annotations, c.Annotations.Service)
	}
	b.rest = append(b.rest, made)
}

func balanced(c spec.Container) bool { return c.UseLoadBalancer != nil && *c.UseLoadBalancer }

// endpoint is what no two ports of one object may have in common.
type endpoint struct {
	port     int32
	protocol corev1.Protocol
}

// servicePort is a port of a Service, and the key that asks for it.
type servicePort struct {
	endpoint
	key    string
	object corev1.ServicePort
}

// servicePorts are the ports that a workload's configuration asks for. A load
// balancer serves the external ones; within the cluster the container's own are
// served.
func servicePorts(c spec.Container) []servicePort {
	var all []servicePort
	add := func(key, name string, internal, external int32, transport string) {
		port := internal
		if balanced(c) && external != 0 {
			port = external
		}
		at := endpoint{port, protocol(transport)}
		all = append(all, servicePort{at, key, corev1.ServicePort{
			Name: name, Port: port, TargetPort: intstrOf(internal), Protocol: at.protocol,
		}})
	}
	for i, port := range c.Ports {
		var external int32
		if port.External != nil {
			external = *port.External
		}
		add(fmt.Sprintf("ports[%d]", i), fmt.Sprintf("port-%d", i), port.Internal, external, port.Protocol)
	}
	for i, r := range c.PortRanges {
		for n := range r.Internal.To - r.Internal.From + 1 {
			add(fmt.Sprintf("portRanges[%d]", i), fmt.Sprintf("range-%d-%d", i, n), r.Internal.From+n, r.External.From+n, r.Protocol)
		}
	}
	return all
}

// containerPorts name the ports of the container, each once; those of ranges are
// open without.
func containerPorts(c spec.Container) []corev1.ContainerPort {
	var all []corev1.ContainerPort
	taken := map[endpoint]bool{}
	for i, port := range c.Ports {
		at := endpoint{port.Internal, protocol(port.Protocol)}
		if !taken[at] {
			all = append(all, corev1.ContainerPort{Name: fmt.Sprintf("port-%d", i), ContainerPort: at.port, Protocol: at.protocol})
		}
		taken[at] = true
	}
	return all
}

// maxServicePorts is how many ports a Service may have: each is a rule, or
// several, on every node of the cluster.
const maxServicePorts = 1000

func (p *problems) checkPorts(c spec.Container) {
	for i, port := range c.Ports {
		if port.Address != "" {
			p.unsupported(fmt.Sprintf("ports[%d].address", i), "a Service has an address of the cluster's own")
		}
	}
	ports := servicePorts(c)
	if len(ports) > maxServicePorts {
		p.unsupported("portRanges", fmt.Sprintf("together with ports these are %d ports, and a Service gets %d at most", len(ports), maxServicePorts))
		return
	}
	if len(ports) == 0 && balanced(c) {
		p.invalid("useLoadBalancer", "a load balancer needs a port; name one in ports or portRanges")
	}
	taken := map[endpoint]servicePort{}
	for _, port := range ports {
		before, found := taken[port.endpoint]
		if found && before.object.TargetPort != port.object.TargetPort {
			p.invalid(port.key, "port %d of the Service is that of %s already", port.port, before.key)
		}
		taken[port.endpoint] = port
	}
}
