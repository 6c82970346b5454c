package route_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/dagent/internal/route"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

var update = flag.Bool("update", false, "write the golden files")

func asking(expose spec.Expose, r spec.Routing, changes ...func(*spec.Container)) (spec.Deployment, spec.Workload) {
	name := "web"
	c := spec.Container{Name: &name, Expose: &expose, Routing: &r, Ports: []spec.Port{{Internal: 53, Protocol: "udp"}, {Internal: 3000}}}
	for _, change := range changes {
		change(&c)
	}
	d := spec.Normalize(spec.Deployment{ID: "d", Prefix: "shop", Workloads: []spec.Workload{{InstanceID: "i", Container: c}}})
	return d, d.Workloads[0]
}

func opens(c *spec.Container) {
	on := true
	c.ProxyHeaders, c.CustomHeaders = &on, []spec.Key{{Key: "X-Tenant"}}
}

// What the labels are, for every shape of a route: those of the edge, and those
// that Traefik 2 and 3 read alike.
func TestLabelsOfRoutes(t *testing.T) {
	edge := route.NewEdge(nil, route.Options{StateDir: "/state", DefaultDomain: "apps.test"})
	traefik := route.NewTraefik(route.TraefikOptions{Network: "proxy", DefaultDomain: "apps.test"})
	for name, shape := range map[string]struct {
		expose  spec.Expose
		routing spec.Routing
		change  func(*spec.Container)
	}{
		"plain":   {expose: spec.ExposePlain, routing: spec.Routing{Domain: "Shop.test"}},
		"default": {expose: spec.ExposePlain},
		"tls":     {expose: spec.ExposeWithTLS, routing: spec.Routing{Domain: "shop.test", Port: 8080}},
		"path":    {expose: spec.ExposePlain, routing: spec.Routing{Domain: "shop.test", Path: "/api/"}},
		"full": {expose: spec.ExposeWithTLS, change: opens, routing: spec.Routing{
			Domain: "shop.test", Path: "api/v1", StripPath: true, UploadLimit: "10m", Port: 8080,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			d, w := asking(shape.expose, shape.routing, func(c *spec.Container) {
				if shape.change != nil {
					shape.change(c)
				}
			})
			ours, refused := edge.Plan(d, w)
			theirs, refusedToo := traefik.Plan(d, w)
			if len(refused)+len(refusedToo) > 0 {
				t.Fatal(refused, refusedToo)
			}
			text, err := json.MarshalIndent(map[string]any{"edge": ours, "traefik": theirs}, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", "golden", name+".json")
			if *update {
				if err := os.WriteFile(file, append(text, '\n'), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil || strings.TrimSpace(string(want)) != string(text) {
				t.Errorf("labels are\n%s\nwant\n%s(%v; -update writes them)", text, want, err)
			}
		})
	}
}

func TestRoutingThatCannotBeHonoredIsNamed(t *testing.T) {
	edge := route.NewEdge(nil, route.Options{StateDir: "/state"})
	host := spec.NetworkHost
	for name, c := range map[string]struct {
		expose  spec.Expose
		routing spec.Routing
		change  func(*spec.Container)
		want    string
	}{
		"no domain":        {spec.ExposePlain, spec.Routing{}, nil, "routing.domain"},
		"no domain, TLS":   {spec.ExposeWithTLS, spec.Routing{Path: "/a"}, nil, "routing.domain"},
		"wildcard":         {spec.ExposeWithTLS, spec.Routing{Domain: "*.shop.test"}, nil, "routing.domain"},
		"address with TLS": {spec.ExposeWithTLS, spec.Routing{Domain: "10.0.0.1"}, nil, "certificate"},
		"bad domain":       {spec.ExposePlain, spec.Routing{Domain: "a b"}, nil, "host"},
		"domain with port": {spec.ExposePlain, spec.Routing{Domain: "shop.test:80"}, nil, "host"},
		"quote in path":    {spec.ExposePlain, spec.Routing{Domain: "shop.test", Path: "/`a"}, nil, "path"},
		"climbing path":    {spec.ExposePlain, spec.Routing{Domain: "shop.test", Path: "/a/../b"}, nil, "path"},
		"bad limit":        {spec.ExposePlain, spec.Routing{Domain: "shop.test", UploadLimit: "much"}, nil, "routing.uploadLimit"},
		"no port":          {spec.ExposePlain, spec.Routing{Domain: "shop.test"}, func(c *spec.Container) { c.Ports = nil }, "routing.port"},
		"host network":     {spec.ExposePlain, spec.Routing{Domain: "shop.test"}, func(c *spec.Container) { c.NetworkMode = &host }, "networkMode"},
		"bad header": {spec.ExposePlain, spec.Routing{Domain: "shop.test"}, func(c *spec.Container) {
			c.CustomHeaders = []spec.Key{{Key: "a b"}}
		}, "header"},
	} {
		t.Run(name, func(t *testing.T) {
			d, w := asking(c.expose, c.routing, func(s *spec.Container) {
				if c.change != nil {
					c.change(s)
				}
			})
			_, refused := edge.Plan(d, w)
			if len(refused) != 1 || !apperr.Is(refused[0], apperr.Invalid) || !strings.Contains(refused[0].Error(), c.want) {
				t.Errorf("refused with %v, want one about %s", refused, c.want)
			}
		})
	}
}

func TestWhatIsNotExposedHasNoRoute(t *testing.T) {
	edge := route.NewEdge(nil, route.Options{StateDir: "/state"})
	d, w := asking(spec.ExposeNone, spec.Routing{Domain: "shop.test"}, opens)
	if plan, refused := edge.Plan(d, w); len(refused) > 0 || plan.Network != "" || plan.Labels != nil {
		t.Errorf("planned %+v %v, want nothing", plan, refused)
	}
}
