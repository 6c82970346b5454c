package agentrpc_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/shared/workload/workloadtest"
)

// backup copies the database of a controller that is stopped, and returns what
// puts it back.
func (s site) backup(t *testing.T) (restore func()) {
	t.Helper()
	config, err := pgx.ParseConfig(s.DSN)
	if err != nil {
		t.Fatal(err)
	}
	name := config.Database
	config.Database = "postgres"
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	run := func(statements ...string) {
		t.Helper()
		for _, statement := range statements {
			if _, err := conn.Exec(t.Context(), statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
	}
	copied := name + "_backup"
	run("create database " + copied + " template " + name)
	return func() {
		t.Helper()
		run("drop database "+name+" with (force)", "alter database "+copied+" rename to "+name)
		_ = conn.Close(t.Context())
	}
}

// place puts one image on the site's node under a prefix.
func (s site) place(t *testing.T, prefix string) string {
	t.Helper()
	add := func(path string, body any) string {
		return s.admin.Post("/api/acme"+path, body).Expect(t, http.StatusCreated).String(t, "id")
	}
	registry := add("/registries", map[string]any{"name": prefix, "type": "unchecked", "details": map[string]any{"url": "registry.example:5000"}})
	project := add("/projects", map[string]any{"name": prefix, "type": "versioned"})
	version := add("/projects/"+project+"/versions", map[string]any{"name": "1", "type": "rolling"})
	s.admin.Post("/api/acme/projects/"+project+"/versions/"+version+"/images",
		[]any{map[string]any{"registryId": registry, "images": []string{"web:1"}}}).Expect(t, http.StatusCreated)
	return "/api/acme/deployments/" + add("/deployments", map[string]any{"versionId": version, "nodeId": s.node, "prefix": prefix})
}

// awaitDiverged waits until the node says that its agent diverged because of a
// backup.
func (s site) awaitDiverged(t *testing.T) {
	t.Helper()
	controllertest.Await(t, "the node says that its agent diverged", func() (bool, string) {
		seen := s.admin.Get(s.nodePath()).Expect(t, http.StatusOK)
		why, _ := seen.Object(t)["diverged"].(map[string]any)
		reason, _ := why["reason"].(string)
		return strings.Contains(reason, "backup"), string(seen.Body)
	})
}

func TestAfterARestoreAnAgentIsSentNothingUntilSomebodyDecides(t *testing.T) {
	s := newSite(t)
	e := s.admin.Install(t, "acme", s.node)
	driver := workloadtest.NewFakeDriver(workloadtest.FakeOptions{})
	controllertest.StartAgent(t, t.TempDir(), &e, driver)
	shop := s.place(t, "shop")
	s.admin.Post(shop+"/start?wait=5m", nil).Expect(t, http.StatusOK)
	s.admin.Post(s.nodePath()+"/adopt", nil).Expect(t, http.StatusPreconditionFailed)

	s.Stop()
	restore := s.backup(t)
	s.Restart(t)
	s.awaitStatus(t, "connected")
	blog := s.place(t, "blog")
	s.admin.Post(blog+"/start?wait=5m", nil).Expect(t, http.StatusOK)
	s.admin.Post(shop+"/start?wait=5m", nil).Expect(t, http.StatusOK)
	before, err := driver.List(t.Context())
	if err != nil || len(before) != 2 {
		t.Fatalf("containers are %+v, %v", before, err)
	}

	s.Stop()
	restore()
	s.Restart(t)
	s.awaitDiverged(t)
	s.awaitStatus(t, "connected") // the session stays, and what the agent sees is taken
	s.awaitContainers(t, "blog/web running", "shop/web running")

	// What is wanted meanwhile waits.
	s.admin.Post(shop+"/start?wait=2s", nil).Expect(t, http.StatusAccepted)

	s.admin.Post(s.nodePath()+"/adopt", nil).Expect(t, http.StatusNoContent)
	s.awaitDeployment(t, shop, "successful")
	controllertest.Await(t, "what this controller does not know is left over", func() (bool, string) {
		var list []struct {
			ID       struct{ Prefix string }
			Leftover bool
		}
		reply := s.admin.Get(s.nodePath()+"/containers").Expect(t, http.StatusOK)
		reply.Into(t, &list)
		leftover := map[string]bool{}
		for _, c := range list {
			leftover[c.ID.Prefix] = c.Leftover
		}
		return len(list) == 2 && leftover["blog"] && !leftover["shop"], string(reply.Body)
	})
	if seen := s.admin.Get(s.nodePath()).Expect(t, http.StatusOK); seen.Object(t)["diverged"] != nil {
		t.Errorf("it still says that the agent diverged: %s", seen.Body)
	}
	after, err := driver.List(t.Context())
	if err != nil || len(after) != 2 {
		t.Errorf("containers were %+v, are %+v, %v", before, after, err)
	}
	for _, event := range []string{"node.diverged", "node.adopt"} {
		log := s.admin.Get("/api/acme/audit-log?skip=0&take=50&from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z&filter="+event).Expect(t, http.StatusOK)
		if !strings.Contains(string(log.Body), event) {
			t.Errorf("the audit log does not say %s: %s", event, log.Body)
		}
	}
}

// The same, but before the agent returns the database has counted past the set
// that it holds.
func TestARestoredDatabaseThatCountedPastWhatAnAgentHoldsIsNotFollowed(t *testing.T) {
	s := newSite(t)
	e := s.admin.Install(t, "acme", s.node)
	driver := workloadtest.NewFakeDriver(workloadtest.FakeOptions{})
	agent := controllertest.StartAgent(t, t.TempDir(), &e, driver)
	shop := s.place(t, "shop")
	s.admin.Post(shop+"/start?wait=5m", nil).Expect(t, http.StatusOK)

	s.Stop()
	restore := s.backup(t)
	s.Restart(t)
	s.awaitStatus(t, "connected")
	blog := s.place(t, "blog")
	s.admin.Post(blog+"/start?wait=5m", nil).Expect(t, http.StatusOK)
	if err := agent.Stop(); err != nil {
		t.Fatal(err)
	}
	before, err := driver.List(t.Context())
	if err != nil || len(before) != 2 {
		t.Fatalf("containers are %+v, %v", before, err)
	}

	s.Stop()
	restore()
	s.Restart(t)
	for range 4 { // nobody serves the node
		s.admin.Post(shop+"/start", nil).Expect(t, http.StatusNoContent)
	}
	controllertest.StartAgent(t, agent.StateDir, nil, driver)
	s.awaitDiverged(t)
	s.admin.Post(shop+"/start?wait=2s", nil).Expect(t, http.StatusAccepted)
	left, err := driver.List(t.Context())
	if err != nil || fmt.Sprint(left) != fmt.Sprint(before) {
		t.Errorf("containers were %+v, are %+v, %v", before, left, err)
	}

	s.admin.Post(s.nodePath()+"/adopt", nil).Expect(t, http.StatusNoContent)
	s.awaitDeployment(t, shop, "successful")
	if seen := s.admin.Get(s.nodePath()).Expect(t, http.StatusOK); seen.Object(t)["diverged"] != nil {
		t.Errorf("it still says that the agent diverged: %s", seen.Body)
	}
}
