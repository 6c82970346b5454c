//go:build linux

package kube_test

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"fairlead.dev/crane/internal/kube"
	"fairlead.dev/crane/kubetest"
	"fairlead.dev/shared/spec"
)

// changing remembers the requests that were to change something.
type changing struct {
	mu   sync.Mutex
	all  []string
	next http.RoundTripper
}

func (c *changing) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet && r.URL.Query().Get("dryRun") == "" {
		c.mu.Lock()
		c.all = append(c.all, r.Method+" "+r.URL.Path)
		c.mu.Unlock()
	}
	return c.next.RoundTrip(r)
}

func TestDeployingTheSameAgainAsksForNoChange(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const prefix = "unchanged"
	with := func(number int64) spec.Deployment {
		return release(prefix, number, func(c *spec.Container) {
			c.Environment = []spec.KeyValue{{Key: "GREETING", Value: "hello"}}
			c.Secrets = []spec.Secret{{Key: "PASSWORD", Value: "hush"}}
			c.Ports = []spec.Port{{Internal: 80}}
			c.Volumes = []spec.Volume{{Name: "data", Path: "/data", Size: "1Mi"}}
			c.Expose, c.Routing = new(spec.ExposePlain), &spec.Routing{Domain: "unchanged.test"}
		})
	}
	if err := s.Apply(t.Context(), with(1), silence()); err != nil {
		t.Fatal(err)
	}
	admin, err := kubetest.Running(t).Config()
	if err != nil {
		t.Fatal(err)
	}
	config := asAgent(t, admin)
	var mu sync.Mutex
	var counts []*changing // the driver makes several clients
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		mu.Lock()
		defer mu.Unlock()
		counts = append(counts, &changing{next: next})
		return counts[len(counts)-1]
	})
	// Another agent, as after a restart: what it knows is in the cluster.
	again, err := kube.New(config, kube.Options{Image: agentImage})
	if err != nil {
		t.Fatal(err)
	}
	asked := func() (all []string) {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range counts {
			all = append(all, c.all...)
		}
		return all
	}
	if err := again.Apply(t.Context(), with(2), silence()); err != nil {
		t.Fatal(err)
	}
	if all := asked(); len(all) > 0 {
		t.Errorf("deploying the same again asked for %q", all)
	}
	if err := again.Apply(t.Context(), release(prefix, 3, func(*spec.Container) {}), silence()); err != nil {
		t.Fatal(err)
	}
	if all := asked(); !slices.ContainsFunc(all, func(r string) bool { return strings.HasPrefix(r, "PATCH ") && strings.HasSuffix(r, "/deployments/web") }) {
		t.Errorf("deploying something else asked for %q, which is not counted", all)
	}
}
