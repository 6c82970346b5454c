package agentrpc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/workload/workloadtest"
)

// slowReplacer does not get a new agent started, and takes its time to.
type slowReplacer struct{ release chan struct{} }

func (slowReplacer) Self(context.Context) (string, error) { return "self", nil }
func (r slowReplacer) Start(ctx context.Context, _ agentrt.Build) error {
	select {
	case <-r.release:
	case <-ctx.Done():
	}
	return errors.New("this build does not start")
}
func (slowReplacer) Look(context.Context, string) (agentrt.Look, error) {
	return agentrt.Look{Words: "it is gone"}, nil
}
func (slowReplacer) Discard(context.Context, string) error         { return nil }
func (slowReplacer) Keep(context.Context, string) error            { return nil }
func (slowReplacer) Succeed(context.Context, string, string) error { return nil }

// seen is what the API says of a node's agent.
type seen struct {
	Status, Liveness, Version string
	HasToken, Install         bool
	// Connected and Addressed tell that connectedAt and address are there.
	Connected, Addressed, Updating bool
}

func (s site) seen(t *testing.T) seen {
	t.Helper()
	var n struct {
		Status, Liveness, Version, Address string
		HasToken, Updating                 bool
		ConnectedAt                        *string
		Install                            *struct{ Command, Script string }
	}
	if err := json.Unmarshal(s.admin.Get(s.nodePath()).Expect(t, http.StatusOK).Body, &n); err != nil {
		t.Fatal(err)
	}
	if n.Address != "" && !strings.HasPrefix(n.Address, "127.0.0.1") {
		t.Errorf("the agent comes from %q", n.Address)
	}
	return seen{n.Status, n.Liveness, n.Version, n.HasToken, n.Install != nil, n.ConnectedAt != nil, n.Address != "", n.Updating}
}

// expect waits until the API says what is true at a moment.
func (s site) expect(t *testing.T, moment string, want seen) {
	t.Helper()
	controllertest.Await(t, moment, func() (bool, string) {
		got := s.seen(t)
		return got == want, fmt.Sprintf("%+v, want %+v", got, want)
	})
}

// TestNodeTellsTheTruthAllItsLife: after each thing that happens to a node the
// API says what holds from then on of its token, its install script, its
// connection, its update and its agent.
func TestNodeTellsTheTruthAllItsLife(t *testing.T) {
	s := newSite(t)
	s.expect(t, "just made", seen{Status: "unreachable", Liveness: "left"})

	s.admin.Install(t, "acme", s.node)
	s.expect(t, "a script is made", seen{Status: "unreachable", Liveness: "left", Install: true})
	s.admin.Delete(s.nodePath()+"/script").Expect(t, http.StatusNoContent)
	s.expect(t, "the script is deleted", seen{Status: "unreachable", Liveness: "left"})

	e := s.admin.Install(t, "acme", s.node)
	dir, driver := t.TempDir(), workloadtest.NewFakeDriver(workloadtest.FakeOptions{})
	if err := os.WriteFile(filepath.Join(dir, "release-keys"), []byte(e.ReleaseKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	start := func(version string, e *controllertest.Enrolment) *controllertest.Agent {
		return controllertest.StartAgentWith(t, dir, e, driver, func(c *agentrt.Config) {
			c.Version, c.Replacer = version, slowReplacer{release}
			goes(c)
		})
	}
	connected := seen{Status: "connected", Liveness: "connected", Version: "0.0.0-alpha", HasToken: true, Connected: true, Addressed: true}
	agent := start("0.0.0-alpha", &e)
	s.expect(t, "enrolled: the script is used up", connected)

	updating := connected
	updating.Status, updating.Updating = "updating", true
	s.admin.Post(s.nodePath()+"/update", map[string]any{}).Expect(t, http.StatusNoContent)
	s.expect(t, "its agent is being replaced", updating)
	close(release)
	s.expect(t, "that came to nothing", connected)

	if err := agent.Stop(); err != nil {
		t.Fatal(err)
	}
	left := connected
	left.Status, left.Liveness = "unreachable", "left"
	s.expect(t, "its agent was stopped", left)
	again := left
	again.Install = true
	s.admin.Install(t, "acme", s.node)
	s.expect(t, "a script is made for a node that has an agent", again)
	agent = start("0.0.1", nil)
	back := connected
	back.Version, back.Install = "0.0.1", true
	s.expect(t, "its agent is back, in another version", back)

	s.admin.Delete(s.nodePath()+"/token").Expect(t, http.StatusNoContent)
	if err := agent.Ended(t); !errors.Is(err, agentrt.ErrRevoked) {
		t.Errorf("the revoked agent ended with %v", err)
	}
	s.expect(t, "its agent was revoked", seen{Status: "unreachable", Liveness: "left", Install: true})

	dir = t.TempDir()
	e = s.admin.Install(t, "acme", s.node)
	agent = start("0.0.1", &e)
	back.Install = false
	s.expect(t, "enrolled anew", back)

	// The agent of a node that is deleted stops, says why, and leaves what runs.
	driver.AddForeign("neighbour")
	s.admin.Delete(s.nodePath()).Expect(t, http.StatusNoContent)
	if err := agent.Ended(t); !errors.Is(err, agentrt.ErrDeleted) {
		t.Errorf("the agent of a deleted node ended with %v", err)
	}
	if why, err := os.ReadFile(filepath.Join(dir, "deleted")); err != nil || len(why) == 0 {
		t.Errorf("the agent of a deleted node does not know why it stopped: %q %v", why, err)
	}
	s.admin.Get(s.nodePath()).Expect(t, http.StatusNotFound)
	audit := s.admin.Get("/api/acme/audit-log?skip=0&take=100&from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z").Expect(t, http.StatusOK)
	for _, act := range []string{"node.create", "node.install", "node.upgrade", "node.revoke", "node.delete"} {
		if !strings.Contains(string(audit.Body), `"`+act+`"`) {
			t.Errorf("the audit log does not tell of %s: %s", act, audit.Body)
		}
	}
}
