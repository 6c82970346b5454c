package route

import (
	"encoding/json"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"

	"github.com/docker/go-units"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/edgeapi"
	"fairlead.dev/shared/spec"
)

// labelRoute is what a container's route is.
const labelRoute = docker.LabelRoute

// asked is what a workload asks for.
type asked struct {
	// Route has no upstreams.
	Route edgeapi.Route `json:"route"`
	// Port is the container's.
	Port int `json:"port"`
}

// label is what is asked for, as it is written on containers.
func (a asked) label() string {
	text, _ := json.Marshal(a) // strings and numbers always can be
	return string(text)
}

// read says which route a workload asks for, nil for none, or what of its
// keys cannot be honored.
func read(d spec.Deployment, w spec.Workload, defaultDomain string) (*asked, []error) {
	c := w.Container
	var refused []error
	invalid := func(key, format string, args ...any) {
		refused = append(refused, apperr.New(apperr.Invalid, "%s: %s", key, fmt.Sprintf(format, args...)))
	}
	routing := spec.Routing{}
	if c.Routing != nil {
		routing = *c.Routing
	}
	cors := len(c.CustomHeaders) > 0 || c.ProxyHeaders != nil && *c.ProxyHeaders
	if c.Expose == nil || *c.Expose == spec.ExposeNone {
		// Clients of the API keep a routing they filled in while nothing is exposed.
		return nil, nil
	}
	if c.NetworkMode != nil && *c.NetworkMode != spec.NetworkBridge {
		invalid("expose", "cannot be combined with networkMode %s: the proxy reaches containers over a network of its own", *c.NetworkMode)
	}
	a := &asked{Route: edgeapi.Route{
		Name: w.Name(), Host: hostOf(d, w, routing, defaultDomain), Path: pathOf(routing.Path), StripPath: routing.StripPath,
		TLS: *c.Expose == spec.ExposeWithTLS,
	}, Port: portOf(c, routing)}
	switch {
	case a.Route.Host == "" && a.Route.TLS:
		invalid("routing.domain", "is missing; a certificate needs one, or a default domain of the node")
	case a.Route.Host == "" && routing.Path == "":
		invalid("routing.domain", "is missing, and so are routing.path and a default domain of the node: one of them is needed")
	case strings.Contains(a.Route.Host, "*"):
		invalid("routing.domain", "%q: domains with * are not served", routing.Domain)
	}
	if a.Port == 0 {
		invalid("routing.port", "is missing, and ports names no TCP port to route to")
	}
	if limit, err := sizeOf(routing.UploadLimit); err != nil {
		invalid("routing.uploadLimit", "%v", err)
	} else {
		a.Route.MaxBody = limit
	}
	if cors {
		a.Route.CORS = &edgeapi.CORS{AllowHeaders: spec.OrdinaryHeaders()}
		for _, h := range c.CustomHeaders {
			a.Route.CORS.AllowHeaders = append(a.Route.CORS.AllowHeaders, h.Key)
		}
	}
	if err := a.Route.Validate(); err != nil && len(refused) == 0 {
		invalid("routing", "%v", err)
	}
	return a, refused
}

func hostOf(d spec.Deployment, w spec.Workload, r spec.Routing, defaultDomain string) string {
	if r.Domain != "" {
		return strings.ToLower(strings.TrimSuffix(r.Domain, "."))
	}
	if defaultDomain == "" {
		return ""
	}
	return w.Name() + "." + d.Prefix + "." + strings.ToLower(defaultDomain)
}

func pathOf(path string) string {
	if path = "/" + strings.Trim(path, "/"); path != "/" {
		return path
	}
	return "/"
}

// portOf is the container port that is routed to: the one that is said, else
// the first TCP port.
func portOf(c spec.Container, r spec.Routing) int {
	if r.Port != 0 {
		return int(r.Port)
	}
	for _, p := range c.Ports {
		if p.Protocol == "" || p.Protocol == "tcp" {
			return int(p.Internal)
		}
	}
	return 0
}

// sizeOf reads a size such as 10m, 10MB or 1048576, in powers of 1024.
func sizeOf(text string) (int64, error) {
	if strings.TrimSpace(text) == "" {
		return 0, nil
	}
	size, err := units.RAMInBytes(strings.TrimSpace(text))
	if err != nil || size < 0 || size > math.MaxInt64/2 {
		return 0, fmt.Errorf("%q must be a size such as 10m or 512k; 0 is no limit", text)
	}
	return size, nil
}

// routesOf are the routes that a deployment asks for, without upstreams. Two
// workloads that ask for the same are refused.
func routesOf(d spec.Deployment, defaultDomain string) (routes []edgeapi.Route, refused []error) {
	for _, w := range d.Workloads {
		a, problems := read(d, w, defaultDomain)
		refused = append(refused, problems...)
		if a != nil {
			routes = append(routes, a.Route)
		}
	}
	if conflict := edgeapi.Clash(nil, d.Prefix, routes); conflict != nil {
		refused = append(refused, apperr.Wrap(apperr.Invalid, conflict, "routing: two containers ask for the same route"))
	}
	return routes, refused
}

// routesTo are the routes that the containers' labels ask for, to them.
func routesTo(targets []docker.RouteTarget, networkName string) ([]edgeapi.Route, error) {
	var order []string
	routes := map[string]*edgeapi.Route{}
	for _, t := range targets {
		label, routed := t.Labels[labelRoute]
		if !routed {
			continue
		}
		var a asked
		if err := json.Unmarshal([]byte(label), &a); err != nil {
			return nil, apperr.Wrap(apperr.Internal, err, "read the label %s of container %.12s", labelRoute, t.ID)
		}
		if routes[label] == nil {
			order = append(order, label)
			routes[label] = &a.Route
		}
		if t.Down {
			continue
		}
		u := edgeapi.Upstream{ID: t.ID, Host: docker.RouteAlias(t.ID), Port: a.Port, Unhealthy: t.Unhealthy}
		if net.ParseIP(t.Address[networkName]) != nil {
			u.Address = t.Address[networkName]
		}
		routes[label].Upstreams = append(routes[label].Upstreams, u)
	}
	var list []edgeapi.Route
	for _, label := range order {
		list = append(list, *routes[label])
	}
	slices.SortFunc(list, func(a, b edgeapi.Route) int { return strings.Compare(a.Name+a.Host+a.Path, b.Name+b.Host+b.Path) })
	return list, nil
}
