package kube

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"fairlead.dev/shared/spec"
)

// service makes a workload reachable under its name, at the ports it serves.
func (b *built) service(dep spec.Deployment, w spec.Workload) {
	c := w.Container
	if len(c.Ports) == 0 {
		return
	}
	made := &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: meta(dep, w, b.name),
		Spec: corev1.ServiceSpec{Selector: podLabels(b.name), Type: corev1.ServiceTypeClusterIP},
	}
	for i, port := range c.Ports {
		made.Spec.Ports = append(made.Spec.Ports, corev1.ServicePort{
			Name: fmt.Sprintf("port-%d", i), Port: port.Internal, TargetPort: intstrOf(port.Internal), Protocol: protocol(port.Protocol),
		})
	}
	if c.UseLoadBalancer != nil && *c.UseLoadBalancer {
		made.Spec.Type = corev1.ServiceTypeLoadBalancer
		addPairs(made.Annotations, c.ExtraLBAnnotations)
		for i, port := range c.Ports {
			if port.External != nil {
				made.Spec.Ports[i].Port = *port.External
			}
		}
	}
	if c.Labels != nil {
		addPairs(made.Labels, c.Labels.Service)
	}
	if c.Annotations != nil {
		addPairs(made.Annotations, c.Annotations.Service)
	}
	b.rest = append(b.rest, made)
}

// ingress serves an exposed workload under its domain. What is asked of the
// ingress controller beyond host, path and TLS is said in the annotations that
// ingress-nginx reads; others leave them alone.
func (b *built) ingress(dep spec.Deployment, w spec.Workload) {
	c := w.Container
	if !exposed(c) || c.Routing == nil || len(c.Ports) == 0 {
		return
	}
	port := c.Routing.Port
	if port == 0 {
		port = c.Ports[0].Internal
	}
	path := c.Routing.Path
	if path == "" {
		path = "/"
	}
	made := &networkingv1.Ingress{
		TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "Ingress"}, ObjectMeta: meta(dep, w, b.name),
		Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{
			Host: c.Routing.Domain,
			IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
				Path: path, PathType: ptr.To(networkingv1.PathTypePrefix),
				Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
					Name: b.name, Port: networkingv1.ServiceBackendPort{Number: port},
				}},
			}}}},
		}}},
	}
	if c.Routing.UploadLimit != "" {
		made.Annotations["nginx.ingress.kubernetes.io/proxy-body-size"] = c.Routing.UploadLimit
	}
	if c.ProxyHeaders != nil && *c.ProxyHeaders {
		made.Annotations["nginx.ingress.kubernetes.io/enable-cors"] = "true"
		made.Annotations["nginx.ingress.kubernetes.io/proxy-buffering"] = "on"
		made.Annotations["nginx.ingress.kubernetes.io/proxy-buffer-size"] = "256k"
	}
	if *c.Expose == spec.ExposeWithTLS {
		made.Annotations["kubernetes.io/tls-acme"] = "true"
		made.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{c.Routing.Domain}, SecretName: b.name + "-tls"}}
	}
	if c.Labels != nil {
		addPairs(made.Labels, c.Labels.Ingress)
	}
	if c.Annotations != nil {
		addPairs(made.Annotations, c.Annotations.Ingress)
	}
	b.rest = append(b.rest, made)
}
