package route_test

import (
	"fmt"
	"net/http"
	"testing"

	"fairlead.dev/shared/spec"
)

// serversOf asks so often that every container of a route has its turn, and
// counts which ones answered.
func (n *node) serversOf(host, release string) int {
	n.Helper()
	seen := map[string]bool{}
	for range 60 {
		ask, err := http.NewRequestWithContext(n.Context(), http.MethodGet, "http://"+n.address()+"/", nil)
		if err != nil {
			n.Fatal(err)
		}
		ask.Host = host
		answer, err := http.DefaultClient.Do(ask)
		if err != nil {
			n.Fatal(err)
		}
		if err := answer.Body.Close(); err != nil {
			n.Fatal(err)
		}
		if got := answer.Header.Get("X-Release"); answer.StatusCode != http.StatusOK || got != release {
			n.Fatalf("answered with %s by release %q, want release %s", answer.Status, got, release)
		}
		seen[answer.Header.Get("X-Server")] = true
	}
	return len(seen)
}

// Numbered containers share one route, as many as there are: those that a
// change of their number keeps, and those that it makes.
func TestEveryReplicaIsRoutedTo(t *testing.T) {
	n := newNode(t, nil)
	for i, step := range []struct {
		replicas int32
		release  string
	}{{2, "1"}, {3, "1"}, {3, "2"}, {1, "2"}} {
		d := n.web(int64(i+1), "shop.test", func(c *spec.Container) {
			c.Replicas = &step.replicas
			c.Environment = []spec.KeyValue{{Key: "RELEASE", Value: step.release}}
		})
		n.apply(d)
		if got := n.serversOf("shop.test", step.release); got != int(step.replicas) {
			t.Errorf("step %d: %d containers answer, want %d", i+1, got, step.replicas)
		}
	}
	// An agent that starts finds the same from the containers alone.
	n.apply(n.web(5, "shop.test", func(c *spec.Container) {
		c.Replicas = new(int32(2))
		c.Environment = []spec.KeyValue{{Key: "RELEASE", Value: fmt.Sprint(3)}}
	}))
	n.start()
	if err := n.driver.SyncRoutes(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := n.serversOf("shop.test", "3"); got != 2 {
		t.Errorf("after a restart of the agent %d containers answer, want 2", got)
	}
}
