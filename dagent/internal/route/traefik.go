package route

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/edgeapi"
	"fairlead.dev/shared/spec"
)

// TraefikOptions say what the Traefik of a node is set up with. Zero values
// mean the defaults, which are those of the product whose API is ours.
type TraefikOptions struct {
	// Network is the one that Traefik reaches containers through; required.
	Network string
	// EntryPoint and SecureEntryPoint are web and websecure.
	EntryPoint, SecureEntryPoint string
	// CertResolver is le.
	CertResolver string
	// DefaultDomain is as in Options.
	DefaultDomain string
}

// Traefik routes by labels that a Traefik (2 or 3) on the node reads. It moves
// nothing and drains nothing: Traefik does, as containers come and go.
type Traefik struct{ options TraefikOptions }

var _ docker.Router = (*Traefik)(nil)

// NewTraefik returns a router by labels.
func NewTraefik(o TraefikOptions) *Traefik {
	for at, value := range map[*string]string{&o.EntryPoint: "web", &o.SecureEntryPoint: "websecure", &o.CertResolver: "le"} {
		if *at == "" {
			*at = value
		}
	}
	return &Traefik{options: o}
}

// Plan says what labels a workload's containers get.
func (t *Traefik) Plan(d spec.Deployment, w spec.Workload) (docker.RoutePlan, []error) {
	a, refused := read(d, w, t.options.DefaultDomain)
	if len(refused) > 0 || a == nil {
		return docker.RoutePlan{}, refused
	}
	return docker.RoutePlan{Labels: t.labels(spec.ContainerName(d.Prefix, w.Name()), *a), Network: t.options.Network}, nil
}

// Prepare finds two workloads that ask for the same. What other deployments
// ask for, Traefik alone knows.
func (t *Traefik) Prepare(_ context.Context, d spec.Deployment) (done func(), err error) {
	done = func() {}
	if _, refused := routesOf(d, t.options.DefaultDomain); len(refused) > 0 {
		return done, refused[0]
	}
	return done, nil
}

// Move does nothing.
func (t *Traefik) Move(context.Context, string, []docker.RouteTarget) error { return nil }

// Drain does nothing.
func (t *Traefik) Drain(context.Context, []string, time.Duration) (left int, err error) {
	return 0, nil
}

// Tidy does nothing.
func (t *Traefik) Tidy(context.Context) error { return nil }

// labels are those that Traefik 2 and 3 read alike. What they name bears a
// digest of the route: containers of two releases are there at the same time,
// and Traefik drops a router that two containers describe differently.
func (t *Traefik) labels(name string, a asked) map[string]string {
	sum := sha256.Sum256([]byte(a.label()))
	name += "-" + hex.EncodeToString(sum[:4])
	labels := map[string]string{
		"traefik.enable":         "true",
		"traefik.docker.network": t.options.Network,
		"traefik.http.services." + name + ".loadbalancer.server.port": strconv.Itoa(a.Port),
	}
	middlewares := t.middlewares(name, a.Route, labels)
	router := func(id, entryPoint string, middlewares []string) {
		at := "traefik.http.routers." + id
		labels[at+".rule"] = rule(a.Route)
		labels[at+".entrypoints"] = entryPoint
		labels[at+".service"] = name
		if len(middlewares) > 0 {
			labels[at+".middlewares"] = strings.Join(middlewares, ",")
		}
	}
	if !a.Route.TLS {
		router(name, t.options.EntryPoint, middlewares)
		return labels
	}
	redirect := name + "-https"
	labels["traefik.http.middlewares."+redirect+".redirectscheme.scheme"] = "https"
	labels["traefik.http.middlewares."+redirect+".redirectscheme.permanent"] = "true"
	router(name, t.options.EntryPoint, []string{redirect})
	secure := name + "-secure"
	router(secure, t.options.SecureEntryPoint, middlewares)
	labels["traefik.http.routers."+secure+".tls"] = "true"
	labels["traefik.http.routers."+secure+".tls.certresolver"] = t.options.CertResolver
	return labels
}

// middlewares adds the labels of those that the route needs and names them.
func (t *Traefik) middlewares(name string, r edgeapi.Route, labels map[string]string) (names []string) {
	add := func(suffix string, set map[string]string) {
		names = append(names, name+suffix)
		for key, value := range set {
			labels["traefik.http.middlewares."+name+suffix+"."+key] = value
		}
	}
	if r.CORS != nil {
		add("-cors", map[string]string{
			"headers.accesscontrolalloworiginlist": "*",
			"headers.accesscontrolallowmethods":    "GET,HEAD,PUT,POST,DELETE,PATCH,OPTIONS",
			"headers.accesscontrolallowheaders":    strings.Join(r.CORS.AllowHeaders, ","),
			"headers.accesscontrolmaxage":          "86400",
		})
	}
	if r.MaxBody > 0 {
		add("-limit", map[string]string{"buffering.maxrequestbodybytes": strconv.FormatInt(r.MaxBody, 10)})
	}
	if r.StripPath && r.Path != "/" {
		add("-strip", map[string]string{"stripprefix.prefixes": r.Path})
	}
	return names
}

// rule is Traefik's for a route. Its PathPrefix does not end at a slash, so
// the path is said both ways.
func rule(r edgeapi.Route) string {
	var parts []string
	if r.Host != "" {
		parts = append(parts, fmt.Sprintf("Host(`%s`)", r.Host))
	}
	switch {
	case r.Path != "/":
		parts = append(parts, fmt.Sprintf("(Path(`%s`) || PathPrefix(`%s/`))", r.Path, r.Path))
	case r.Host == "":
		parts = append(parts, "PathPrefix(`/`)")
	}
	return strings.Join(parts, " && ")
}
