package system_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/e2e/client"
	"fairlead.dev/e2e/registry"
	"fairlead.dev/e2e/sample/sampleimage"
	"fairlead.dev/shared/ociimage"
)

// TestWhatCannotBeDeployed starts what must fail. Each failure names its cause,
// and what ran before serves on.
func TestWhatCannotBeDeployed(t *testing.T) {
	t.Parallel()
	c := newController(t)
	n := c.newTeam(t).installedNode(t)

	t.Run("an image that does not exist", func(t *testing.T) {
		d := n.newSample(t, nil)
		must(t, d.project.SetTag(t.Context(), d.image, "missing"))
		d.mustFail(t, "pull", rig.registry+"/sample:missing")
		if left := under(t, d.prefix); len(left) != 0 {
			t.Errorf("the first release failed and left %q", left)
		}
		must(t, d.project.SetTag(t.Context(), d.image, "1"))
		d.deploy(t)
		before := running(t, d.container())
		must(t, d.project.SetTag(t.Context(), d.image, "missing"))
		d.mustFail(t, "pull", rig.registry+"/sample:missing")
		mustBeUntouched(t, before)
		d.mustGreet(t, "hello")
	})

	t.Run("a registry that wants a login", func(t *testing.T) {
		closed, err := registry.Start(t.Context(), registry.Config{Username: "ann", Password: "s3cret"})
		must(t, err)
		t.Cleanup(func() {
			try("docker", "image", "rm", closed.Addr()+"/sample:1")
			must(t, closed.Stop())
		})
		push(t, closed.Addr()+"/sample:1", ociimage.Credentials{Username: "ann", Password: "s3cret"})
		d := n.newSample(t, nil)
		must(t, d.project.Delete(t.Context(), d.image))
		anonymous, err := n.CreateRegistry(t.Context(), "anonymous", closed.Addr(), "", "")
		must(t, err)
		image, err := d.project.AddImage(t.Context(), anonymous, "sample:1", client.Object{"name": "web"})
		must(t, err)
		d.mustFail(t, "pull", closed.Addr()+"/sample:1")

		known, err := n.CreateRegistry(t.Context(), "known", closed.Addr(), "ann", "s3cret")
		must(t, err)
		must(t, d.project.Delete(t.Context(), image))
		_, err = d.project.AddImage(t.Context(), known, "sample:1", client.Object{"name": "web"})
		must(t, err)
		d.deploy(t)
		running(t, d.container())
	})

	t.Run("a port of the host in use", func(t *testing.T) {
		d := n.newSample(t, nil)
		d.deploy(t)
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		t.Cleanup(func() { _ = taken.Close() })
		port := taken.Addr().(*net.TCPAddr).Port
		ports := []client.Object{
			{"internal": 8080, "external": d.port, "address": "127.0.0.1"},
			{"internal": 8081, "external": port, "address": "127.0.0.1"},
		}
		must(t, d.project.ConfigureImage(t.Context(), d.image, client.Object{"ports": ports}))
		d.mustFail(t, "check", fmt.Sprint(port))
		d.mustGreet(t, "hello")
		_ = taken.Close()
		d.deploy(t)
	})

	t.Run("a key the agent does not support", func(t *testing.T) {
		d := n.newSample(t, client.Object{"useLoadBalancer": true})
		failure := d.mustFail(t, "", "useLoadBalancer")
		if failure.Kind != "unsupported" {
			t.Errorf("the failure is of the kind %q", failure.Kind)
		}
	})
}

// TestWhatTheAPIRefuses sends what never reaches a node.
func TestWhatTheAPIRefuses(t *testing.T) {
	t.Parallel()
	c := newController(t)
	n := c.newTeam(t).newNode(t)
	d := n.newSample(t, nil)

	t.Run("an environment key over two lines", func(t *testing.T) {
		err := n.SetEnvironment(t.Context(), d.id, client.KeyValue{Key: "GOOD", Value: "a"}, client.KeyValue{Key: "A\nB", Value: "b"})
		mustBeStatus(t, err, http.StatusBadRequest)
		var problem *client.Problem
		if errors.As(err, &problem) && problem.Property != "environment[1].key" {
			t.Errorf("the field at fault is %q: %v", problem.Property, err)
		}
		seen, err := n.Deployment(t.Context(), d.id)
		if err != nil || slices.ContainsFunc(seen.Environment, func(kv client.KeyValue) bool { return kv.Key != "GREETING" }) {
			t.Errorf("half of it was taken: %+v (%v)", seen.Environment, err)
		}
	})

	t.Run("a body of ten megabytes", func(t *testing.T) {
		body := append([]byte(`{"name":"`), bytes.Repeat([]byte("a"), 10<<20)...)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.url+"/api/auth/login", bytes.NewReader(append(body, `"}`...)))
		must(t, err)
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		must(t, err)
		defer response.Body.Close()
		if response.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("the API answered %s, want 413", response.Status)
		}
		if _, err := n.Node(t.Context(), n.id); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})

	t.Run("a start of a node without an agent", func(t *testing.T) {
		must(t, n.Start(t.Context(), d.id))
		seen, err := n.Deployment(t.Context(), d.id)
		if err != nil || seen.Status != client.InProgress || !strings.Contains(seen.Waiting, "no agent yet") {
			t.Errorf("the deployment is %+v (%v)", seen, err)
		}
	})
}

// TestStartsWhileTheNodeIsAway are delivered when it returns.
func TestStartsWhileTheNodeIsAway(t *testing.T) {
	t.Parallel()
	n := newController(t).newTeam(t).installedNode(t)
	d := n.newSample(t, nil)
	d.deploy(t)
	docker(t, "stop", n.agentName())
	n.awaitStatus(t, "unreachable")
	before := running(t, d.container())

	d.setEnvironment(t, "GREETING", "you were away")
	must(t, d.Start(t.Context(), d.id))
	must(t, d.Start(t.Context(), d.id)) // what is wanted last counts
	seen, err := d.Deployment(t.Context(), d.id)
	if err != nil || seen.Status != client.InProgress || !strings.Contains(seen.Waiting, "the node is unreachable since") {
		t.Errorf("the deployment is %+v (%v)", seen, err)
	}
	err = n.Act(t.Context(), n.id, d.prefix, "web", "restart")
	mustBeStatus(t, err, http.StatusPreconditionFailed)
	mustBeUntouched(t, before)

	docker(t, "start", n.agentName())
	if seen := d.mustEnd(t, client.Successful); seen.LastTry != 3 || seen.Waiting != "" {
		t.Errorf("the deployment is %+v, want release 3 and nothing waited for", seen)
	}
	d.mustGreet(t, "you were away")
	list, err := d.Releases(t.Context(), d.id)
	must(t, err)
	outcomes := map[int64]string{}
	for _, r := range list {
		outcomes[r.Number] = r.Outcome
	}
	if want := map[int64]string{1: "successful", 2: "superseded", 3: "successful"}; !maps.Equal(outcomes, want) {
		t.Errorf("the releases ended as %v, want %v", outcomes, want)
	}
}

// mustFail starts a release that fails at a step and says what it stumbled on.
func (d *deployed) mustFail(t testing.TB, step, says string) client.Failure {
	t.Helper()
	failure := d.deployInVain(t)
	if !strings.Contains(failure.Message, says) || (step != "" && failure.Step != step) {
		t.Errorf("it failed at %q with %q, want %q and a mention of %q", failure.Step, failure.Message, step, says)
	}
	return failure
}

// push builds the sample and puts it into a registry.
func push(t testing.TB, reference string, login ociimage.Credentials) {
	t.Helper()
	image, err := sampleimage.Build(t.Context(), "1")
	must(t, err)
	_, err = ociimage.Push(context.WithoutCancel(t.Context()), reference, image, login)
	must(t, err)
}
