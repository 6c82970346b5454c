package app_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/workload/workloadtest"
)

// pair is two controllers on one database, and a node whose agent is connected
// to the second.
type pair struct {
	one, two   *controllertest.Controller
	asked      *controllertest.Client // at the first
	node       string
	deployment string
	driver     *workloadtest.FakeDriver
	agent      *controllertest.Agent
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{one: controllertest.New(t)}
	p.two = p.one.Replica(t)
	p.asked = p.one.Admin(t)
	p.node, p.deployment = place(t, p.asked)
	p.driver = workloadtest.NewFakeDriver(workloadtest.FakeOptions{})
	e := p.asked.Install(t, "acme", p.node)
	e.Controller = p.two.AgentAddr
	p.agent = controllertest.StartAgent(t, t.TempDir(), &e, p.driver)
	awaitNode(t, p.asked, p.node, "connected")
	return p
}

func nodePath(node string) string { return "/api/acme/nodes/" + node }

// place makes a team, a node and a deployment on it.
func place(t testing.TB, c *controllertest.Client) (node, deployment string) {
	t.Helper()
	add := func(path string, body any) string {
		return c.Post(path, body).Expect(t, http.StatusCreated).String(t, "id")
	}
	add("/api/teams", map[string]any{"name": "Acme", "slug": "acme"})
	node = add("/api/acme/nodes", map[string]any{"name": "one"})
	registry := add("/api/acme/registries", map[string]any{"name": "own", "type": "unchecked", "details": map[string]any{"url": "registry.example:5000"}})
	project := add("/api/acme/projects", map[string]any{"name": "shop", "type": "versioned"})
	version := add("/api/acme/projects/"+project+"/versions", map[string]any{"name": "1", "type": "rolling"})
	c.Post("/api/acme/projects/"+project+"/versions/"+version+"/images",
		[]any{map[string]any{"registryId": registry, "images": []string{"web:1"}}}).Expect(t, http.StatusCreated)
	return node, "/api/acme/deployments/" + add("/api/acme/deployments", map[string]any{"versionId": version, "nodeId": node, "prefix": "shop"})
}

func awaitNode(t testing.TB, c *controllertest.Client, node, want string) {
	t.Helper()
	controllertest.Await(t, "the node is "+want, func() (bool, string) {
		seen := c.Get(nodePath(node)).Expect(t, http.StatusOK)
		return seen.String(t, "liveness") == want, string(seen.Body)
	})
}

func TestWhateverIsAskedAtOneControllerWorksForAnAgentOfAnother(t *testing.T) {
	p := newPair(t)
	containers := nodePath(p.node) + "/shop/containers/web"
	p.asked.Post(p.deployment+"/start?wait=1m", nil).Expect(t, http.StatusOK)
	p.asked.Post(containers+"/restart", nil).Expect(t, http.StatusNoContent)
	p.asked.Post(containers+"/stop", nil).Expect(t, http.StatusNoContent)
	p.asked.Post(containers+"/start", nil).Expect(t, http.StatusNoContent)
	p.asked.Get(containers+"/log?take=10").Expect(t, http.StatusOK)

	events := p.asked.Follow(containers+"/log", "")
	events.Line()

	terminal := p.asked.Exec(containers+"/exec", map[string]any{"command": []string{workloadtest.FakeProgram, "echo"}, "stdin": true})
	terminal.Type("over two controllers")
	terminal.Say(map[string]any{"stdinClosed": true})
	if seen := terminal.ReadAll(); seen.Stdout != "over two controllers" || seen.Exit != 7 {
		t.Errorf("the terminal showed %+v", seen)
	}
	terminal = p.asked.Exec(containers+"/exec", map[string]any{"command": []string{"/no/such/program"}})
	if seen := terminal.ReadAll(); seen.Reason != "invalid" {
		t.Errorf("a program that is not there: %+v", seen)
	}

	p.asked.Delete(p.deployment).Expect(t, http.StatusNoContent)
	controllertest.Await(t, "the deployment is gone", func() (bool, string) {
		r := p.asked.Get(p.deployment)
		return r.Status == http.StatusNotFound, string(r.Body)
	})
	if reason := events.End(); reason != "ended" && reason != "not-found" {
		t.Errorf("the log of the removed container ended with %q", reason)
	}

	// A revocation reaches the other controller at once.
	began := time.Now()
	p.asked.Delete(nodePath(p.node)+"/token").Expect(t, http.StatusNoContent)
	if err := p.agent.Ended(t); !errors.Is(err, agentrt.ErrRevoked) {
		t.Errorf("the agent ended with %v", err)
	}
	t.Logf("revoked after %s", time.Since(began))
}

// TestTheAgentsTwoConnectionsMayArriveAtTwoControllers has a balancer in front
// of the controllers that gives each connection to the next of them.
func TestTheAgentsTwoConnectionsMayArriveAtTwoControllers(t *testing.T) {
	one := controllertest.New(t)
	all := []*controllertest.Controller{one, one.Replica(t), one.Replica(t)}
	var turn atomic.Int64
	balancer := controllertest.NewForwarder(t, func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", all[int(turn.Add(1))%len(all)].AgentAddr)
	})
	admin := one.Admin(t)
	node, deployment := place(t, admin)
	e := admin.Install(t, "acme", node)
	e.Controller = balancer.Addr
	driver := workloadtest.NewFakeDriver(workloadtest.FakeOptions{})
	agent := controllertest.StartAgent(t, t.TempDir(), &e, driver)
	admin.Post(deployment+"/start?wait=1m", nil).Expect(t, http.StatusOK)
	for i := range 6 {
		c := all[i%len(all)].Admin(t)
		terminal := c.Exec(nodePath(node)+"/shop/containers/web/exec", map[string]any{"command": []string{workloadtest.FakeProgram, "echo"}, "stdin": true})
		text := strings.Repeat(fmt.Sprint(i), 100_000)
		for part := range 10 {
			terminal.Type(text[part*10_000 : (part+1)*10_000])
		}
		terminal.Say(map[string]any{"stdinClosed": true})
		if seen := terminal.ReadAll(); seen.Stdout != text || seen.Exit != 7 {
			t.Errorf("round %d: %d bytes came back, exit %d, %s", i, len(seen.Stdout), seen.Exit, seen.Reason)
		}
	}
	if err := agent.Stop(); err != nil {
		t.Error(err)
	}
}
