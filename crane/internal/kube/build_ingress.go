package kube

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"fairlead.dev/shared/spec"
)

const (
	// nginx begins the annotations that ingress-nginx reads.
	nginx = "nginx.ingress.kubernetes.io/"
	// ingressClass is the annotation that names the class of an Ingress: it
	// becomes the field that took its place.
	ingressClass = "kubernetes.io/ingress.class"
)

// ingress serves an exposed workload under its domain. What is asked of the
// ingress controller beyond host, path, class and TLS is said in the annotations
// that ingress-nginx reads; others leave them alone.
func (b *built) ingress(dep spec.Deployment, w spec.Workload) {
	c := w.Container
	if !exposed(c) || c.Routing == nil {
		return
	}
	port := routedPort(c)
	if port == 0 {
		return
	}
	path := "/" + strings.Trim(c.Routing.Path, "/")
	served := networkingv1.HTTPIngressPath{
		Path: path, PathType: ptr.To(networkingv1.PathTypePrefix),
		Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
			Name: b.name, Port: networkingv1.ServiceBackendPort{Number: port},
		}},
	}
	made := &networkingv1.Ingress{
		TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "Ingress"}, ObjectMeta: meta(dep, w, b.name),
	}
	if c.Routing.StripPath && path != "/" {
		served.Path, served.PathType = regexp.QuoteMeta(path)+"(/|$)(.*)", ptr.To(networkingv1.PathTypeImplementationSpecific)
		made.Annotations[nginx+"use-regex"] = "true"
		made.Annotations[nginx+"rewrite-target"] = "/$2"
	}
	made.Spec.Rules = []networkingv1.IngressRule{{
		Host:             c.Routing.Domain,
		IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{served}}},
	}}
	if limit, err := bodySize(c.Routing.UploadLimit); err == nil && limit != "" {
		made.Annotations[nginx+"proxy-body-size"] = limit
		// As ingress-nginx does by itself: Traefik holds to the limit only so.
		made.Annotations[nginx+"proxy-request-buffering"] = "on"
	}
	if headers := allowedHeaders(c); len(headers) > 0 {
		made.Annotations[nginx+"enable-cors"] = "true"
		made.Annotations[nginx+"cors-allow-headers"] = strings.Join(headers, ",")
	}
	if proxied(c) {
		made.Annotations[nginx+"proxy-buffering"] = "on"
		made.Annotations[nginx+"proxy-buffer-size"] = "256k"
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
	if class := made.Annotations[ingressClass]; class != "" {
		made.Spec.IngressClassName = &class
		delete(made.Annotations, ingressClass)
	}
	b.rest = append(b.rest, made)
}

// routedPort is the port of the Service that an Ingress leads to; 0 when there
// is none.
func routedPort(c spec.Container) int32 {
	for _, port := range servicePorts(c) {
		fits := c.Routing == nil || c.Routing.Port == 0 || port.object.TargetPort.IntVal == c.Routing.Port
		if fits && port.protocol == corev1.ProtocolTCP {
			return port.port
		}
	}
	return 0
}

func proxied(c spec.Container) bool { return c.ProxyHeaders != nil && *c.ProxyHeaders }

// allowedHeaders are the request headers that pages of other origins may send;
// none when nothing is asked for.
func allowedHeaders(c spec.Container) []string {
	if !proxied(c) && len(c.CustomHeaders) == 0 {
		return nil
	}
	return append(spec.OrdinaryHeaders(), words(c.CustomHeaders)...)
}

// bodySize says a limit in the way of nginx, which knows no fractions and no
// words such as MiB; "" for none said.
func bodySize(text string) (string, error) {
	text = strings.ToLower(strings.ReplaceAll(strings.TrimSpace(text), " ", ""))
	if text == "" {
		return "", nil
	}
	number := strings.TrimRight(text, "kmgtpib")
	power := 0
	if unit := strings.TrimRight(text[len(number):], "ib"); unit != "" {
		power = strings.Index("kmgtp", unit) + 1
	}
	value, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return "", fmt.Errorf("%q is not a size such as 10m", text)
	}
	return strconv.FormatFloat(math.Ceil(value*math.Pow(1024, float64(power))), 'f', 0, 64), nil
}

func (p *problems) checkIngress(c spec.Container) {
	if !exposed(c) {
		return // clients keep a routing they filled in while nothing is exposed
	}
	if ends(c) {
		p.unsupported("expose", "a workload that is meant to end is a job, and serves nobody")
		return
	}
	if c.Routing == nil || c.Routing.Domain == "" {
		p.invalid("routing.domain", "what is exposed needs a domain")
		return
	}
	switch {
	case len(servicePorts(c)) == 0:
		p.invalid("ports", "what is exposed needs a port")
	case routedPort(c) == 0:
		p.invalid("routing.port", "%d is none of the TCP ports in ports and portRanges", c.Routing.Port)
	}
	if _, err := bodySize(c.Routing.UploadLimit); err != nil {
		p.invalid("routing.uploadLimit", "%v", err)
	}
	if class := classOf(c); c.Routing.StripPath && class != "" && !strings.Contains(class, "nginx") {
		p.unsupported("routing.stripPath", fmt.Sprintf(
			"the Ingress is of class %s, whose controller does it in a way of its own; say it in annotations.ingress, as that controller documents, and leave stripPath out", class))
	}
}

// classOf is the class of the Ingress; "" for the cluster's default.
func classOf(c spec.Container) string {
	if c.Annotations == nil {
		return ""
	}
	at := slices.IndexFunc(c.Annotations.Ingress, func(kv spec.KeyValue) bool { return kv.Key == ingressClass })
	if at < 0 {
		return ""
	}
	return c.Annotations.Ingress[at].Value
}

// ingressNotes say which keys only ingress-nginx heeds.
func ingressNotes(c spec.Container) []string {
	if !exposed(c) || c.Routing == nil || strings.Contains(classOf(c), "nginx") {
		return nil
	}
	var keys []string
	for key, said := range map[string]bool{
		"routing.stripPath": c.Routing.StripPath, "routing.uploadLimit": c.Routing.UploadLimit != "",
		"customHeaders": len(c.CustomHeaders) > 0, "proxyHeaders": proxied(c),
	} {
		if said {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	slices.Sort(keys)
	return []string{strings.Join(keys, ", ") + ": said in annotations that ingress-nginx reads; another ingress controller needs its own, in annotations.ingress"}
}
