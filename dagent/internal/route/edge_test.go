package route_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/go-connections/nat"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// get asks the edge for a path of a host and returns what it answers.
func (n *node) get(host, path string) (status int, body string) {
	n.Helper()
	ask, err := http.NewRequestWithContext(n.Context(), http.MethodGet, "http://"+n.address()+path, nil)
	if err != nil {
		n.Fatal(err)
	}
	ask.Host = host
	answer, err := (&http.Client{Timeout: 30 * time.Second}).Do(ask)
	if err != nil {
		n.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		n.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func (n *node) serves(host, path, want string) {
	n.Helper()
	if status, body := n.get(host, path); status != http.StatusOK || !strings.Contains(body, want) {
		n.Errorf("%s%s is answered with %d %q, want %q", host, path, status, body, want)
	}
}

func TestDeploymentIsServedUnderItsDomain(t *testing.T) {
	n := newNode(t, nil)
	n.apply(n.web(1, "Shop.Test"))
	n.serves("shop.test", "/a", "release 1 path /a host shop.test proto http")
	if status, _ := n.get("other.test", "/"); status != http.StatusNotFound {
		t.Errorf("another host is answered with %d", status)
	}
	n.apply(n.web(2, "shop.test", func(c *spec.Container) { c.Routing.Path, c.Routing.StripPath = "/api", true }))
	n.serves("shop.test", "/api/a", "release 2 path /a ")
	if status, _ := n.get("shop.test", "/a"); status != http.StatusNotFound {
		t.Errorf("what is not below the path is answered with %d", status)
	}
	info, err := os.Stat(filepath.Join(n.options.StateDir, "edge", "admin.sock"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the edge's socket: %v %v, want 0600", info, err)
	}
}

func TestRouteOfAnotherDeploymentIsRefusedWithItsName(t *testing.T) {
	n := newNode(t, nil)
	n.apply(n.web(1, "shop.test"))
	err := n.driver.Apply(t.Context(), n.deployment(n.prefix+"b", 1, "shop.test"), n)
	if !apperr.Is(err, apperr.Conflict) || !strings.Contains(err.Error(), "web under prefix "+n.prefix) {
		t.Errorf("a second deployment on the same route: %v, want a conflict that names the first", err)
	}
	n.serves("shop.test", "/", "release 1")
	n.apply(n.deployment(n.prefix+"b", 1, "shop.test", func(c *spec.Container) { c.Routing.Path = "/b" }))
	if err := n.driver.Remove(t.Context(), n.prefix, n); err != nil {
		t.Fatal(err)
	}
	if status, _ := n.get("shop.test", "/"); status != http.StatusNotFound {
		t.Errorf("a removed deployment is answered with %d", status)
	}
	n.serves("shop.test", "/b", "release 1")
}

func TestFailedReleaseLeavesItsRouteToThePreviousOne(t *testing.T) {
	n := newNode(t, nil)
	n.apply(n.web(1, "shop.test"))
	err := n.driver.Apply(t.Context(), n.web(2, "other.test", func(c *spec.Container) {
		c.Commands = []spec.Key{{Key: "/no-such-program"}}
	}), n)
	if err == nil {
		t.Fatal("a release that cannot start was accepted")
	}
	n.serves("shop.test", "/", "release 1")
	if status, _ := n.get("other.test", "/"); status != http.StatusNotFound {
		t.Errorf("the route of the failed release is answered with %d", status)
	}
}

// The edge serves on while the agent is away, when it is itself restarted, and
// when a container comes back with another address; an agent that starts finds
// everything as it should be, or makes it so.
func TestEdgeServesWithoutTheAgent(t *testing.T) {
	n := newNode(t, nil)
	n.apply(n.web(1, "shop.test"))
	name, _ := n.edgeContainer(t.Context())
	if err := n.engine.ContainerRestart(t.Context(), name, container.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	n.await("the edge serves after its restart", func() bool { return n.reaches("shop.test") })
	// Another container takes the address that the first gives back.
	web := spec.ContainerName(n.prefix, "web")
	if err := n.engine.ContainerStop(t.Context(), web, container.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := n.engine.ContainerStart(t.Context(), web, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	n.await("the container is served again", func() bool { return n.reaches("shop.test") })

	if err := n.engine.ContainerRemove(t.Context(), name, container.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(n.options.StateDir, "edge", "routes.json")); err != nil {
		t.Fatal(err)
	}
	n.start() // the agent comes back and finds neither edge nor routes
	if err := n.driver.SyncRoutes(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.serves("shop.test", "/", "release 1")
}

func TestTakenPortNamesItsOwner(t *testing.T) {
	n := newNode(t, nil)
	owner := "fairlead-test-owner-" + n.prefix
	port := nat.Port("8080/tcp")
	made, err := n.engine.ContainerCreate(t.Context(), &container.Config{Image: serverImage, ExposedPorts: nat.PortSet{port: {}}},
		&container.HostConfig{PortBindings: nat.PortMap{port: {{HostPort: fmt.Sprint(n.http)}}}}, nil, nil, owner)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = n.engine.ContainerRemove(context.WithoutCancel(t.Context()), made.ID, container.RemoveOptions{Force: true})
	})
	if err := n.engine.ContainerStart(t.Context(), made.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	err = n.driver.Apply(t.Context(), n.web(1, "shop.test"), n)
	if !apperr.Is(err, apperr.Conflict) || !strings.Contains(err.Error(), owner) || !strings.Contains(err.Error(), fmt.Sprint(n.http)) {
		t.Errorf("a deployment with a route: %v, want a conflict that names port %d and %s", err, n.http, owner)
	}
	if err := n.engine.ContainerRemove(t.Context(), made.ID, container.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	n.apply(n.web(1, "shop.test"))
	n.serves("shop.test", "/", "release 1")
}

func TestEdgeOfAnotherVersionIsReplaced(t *testing.T) {
	n := newNode(t, nil)
	n.apply(n.web(1, "shop.test"))
	before, _ := n.edgeContainer(t.Context())
	seen, err := n.engine.ContainerInspect(t.Context(), before)
	if err != nil {
		t.Fatal(err)
	}
	n.options.TrustedProxies = []string{"10.0.0.0/8"}
	n.start()
	if err := n.driver.SyncRoutes(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.edge.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, err := n.engine.ContainerInspect(t.Context(), before)
	if err != nil || after.ID == seen.ID {
		t.Errorf("the edge is %.12s still: %v", after.ID, err)
	}
	n.serves("shop.test", "/", "release 1")
}

// releaseServed is the release that answers on shop.test, "" when none does.
func (n *node) releaseServed() string {
	ask, err := http.NewRequestWithContext(n.Context(), http.MethodGet, "http://"+n.address()+"/", nil)
	if err != nil {
		n.Fatal(err)
	}
	ask.Host = "shop.test"
	answer, err := (&http.Client{Timeout: 10 * time.Second}).Do(ask)
	if err != nil {
		return ""
	}
	_ = answer.Body.Close()
	return answer.Header.Get("X-Release")
}

func (n *node) reaches(host string) bool {
	ask, err := http.NewRequestWithContext(n.Context(), http.MethodGet, "http://"+n.address()+"/", nil)
	if err != nil {
		n.Fatal(err)
	}
	ask.Host = host
	answer, err := (&http.Client{Timeout: 10 * time.Second}).Do(ask)
	if err != nil {
		return false
	}
	return answer.Body.Close() == nil && answer.StatusCode == http.StatusOK
}

func (n *node) await(what string, done func() bool) {
	n.Helper()
	ctx, cancel := context.WithTimeout(n.Context(), 3*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			n.Fatalf("waited in vain until %s", what)
		}
	}
}
