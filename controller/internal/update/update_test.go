package update_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/controller/internal/node"
	"fairlead.dev/shared/buildinfo"
	"fairlead.dev/shared/workload/workloadtest"
)

const older = "0.0.0-alpha"

// fleet is a team with nodes that run an older agent.
type fleet struct {
	*controllertest.Controller
	owner *controllertest.Client
	nodes []*controllertest.Updatable
	ids   []string
}

func newFleet(t *testing.T, size int) *fleet {
	t.Helper()
	c := controllertest.New(t)
	f := &fleet{Controller: c, owner: c.Admin(t)}
	f.owner.Post("/api/teams", map[string]any{"name": "Acme", "slug": "acme"}).Expect(t, http.StatusCreated)
	for i := range size {
		id := f.owner.Post("/api/acme/nodes", map[string]any{"name": fmt.Sprintf("node-%d", i)}).Expect(t, http.StatusCreated).String(t, "id")
		e := f.owner.Install(t, "acme", id)
		f.ids = append(f.ids, id)
		f.nodes = append(f.nodes, controllertest.StartUpdatable(t, t.TempDir(), older, &e, workloadtest.NewFakeDriver(workloadtest.FakeOptions{})))
	}
	for _, id := range f.ids {
		f.await(t, "/api/acme/nodes/"+id, `"liveness":"connected"`)
	}
	return f
}

// await reads a path until its answer has every text.
func (f *fleet) await(t *testing.T, path string, texts ...string) controllertest.Reply {
	t.Helper()
	var r controllertest.Reply
	controllertest.Await(t, path+" tells of "+strings.Join(texts, " and "), func() (bool, string) {
		r = f.owner.Get(path)
		for _, text := range texts {
			if !strings.Contains(string(r.Body), text) {
				return false, string(r.Body)
			}
		}
		return true, ""
	})
	return r
}

// TestANodesAgentIsReplaced: what the API says of the node is true all the way.
func TestANodesAgentIsReplaced(t *testing.T) {
	f := newFleet(t, 1)
	path := "/api/acme/nodes/" + f.ids[0]
	f.await(t, path, `"version":"`+older+`"`, `"updating":false`, `"update":null`)

	f.nodes[0].Bad.Store(true)
	f.owner.Post(path+"/update", nil).Expect(t, http.StatusNoContent)
	f.await(t, path, `"phase":"failed"`, "this build does not start", `"version":"`+older+`"`, `"updating":false`, `"status":"connected"`)

	f.nodes[0].Bad.Store(false)
	f.owner.Post(path+"/update", nil).Expect(t, http.StatusNoContent)
	r := f.owner.Post(path+"/update", nil)
	if r.Status != http.StatusPreconditionFailed && !strings.Contains(string(f.owner.Get(path).Body), "successful") {
		t.Errorf("a second update at the same time: %d %s", r.Status, r.Body)
	}
	f.await(t, path, `"phase":"successful"`, `"version":"`+buildinfo.Version()+`"`, `"updating":false`, `"status":"connected"`)
	f.await(t, path+"/audit?from=2000-01-01T00:00:00Z&to=2100-01-01T00:00:00Z&skip=0&take=50", `"updateFailed"`, `"updateCompleted"`)
}

func TestUpdatesThatAreRefused(t *testing.T) {
	c := controllertest.New(t)
	owner := c.Admin(t)
	owner.Post("/api/teams", map[string]any{"name": "Acme", "slug": "acme"}).Expect(t, http.StatusCreated)
	id := owner.Post("/api/acme/nodes", map[string]any{"name": "one"}).Expect(t, http.StatusCreated).String(t, "id")
	path := "/api/acme/nodes/" + id
	owner.Post(path+"/update", nil).Expect(t, http.StatusPreconditionFailed) // nobody is there
	owner.Post("/api/acme/rollouts", nil).Expect(t, http.StatusPreconditionFailed)

	e := owner.Install(t, "acme", id)
	agent := controllertest.StartAgent(t, t.TempDir(), &e, workloadtest.NewFakeDriver(workloadtest.FakeOptions{}))
	f := &fleet{Controller: c, owner: owner}
	f.await(t, path, `"liveness":"connected"`)
	owner.Post(path+"/update", nil).Expect(t, http.StatusNotImplemented) // it can't replace itself
	if err := agent.Stop(); err != nil {
		t.Fatal(err)
	}
	owner.Delete(path+"/token").Expect(t, http.StatusNoContent)

	e = owner.Install(t, "acme", id)
	controllertest.StartUpdatable(t, t.TempDir(), "99.0.0", &e, workloadtest.NewFakeDriver(workloadtest.FakeOptions{}))
	f.await(t, path, `"version":"99.0.0"`, `"liveness":"connected"`)
	r := owner.Post(path+"/update", nil).Expect(t, http.StatusPreconditionFailed) // older than what runs
	if !strings.Contains(string(r.Body), "downgrade") {
		t.Errorf("it says %s", r.Body)
	}
	f.await(t, path, `"phase":"failed"`, `"updating":false`)
	owner.Post(path+"/update", map[string]any{"allowDowngrade": true}).Expect(t, http.StatusNoContent)
	f.await(t, path, `"phase":"successful"`, `"version":"`+buildinfo.Version()+`"`)
}

// TestARolloutTakesWaves: one node first, then the others.
func TestARolloutTakesWaves(t *testing.T) {
	f := newFleet(t, 3)
	r := f.owner.Post("/api/acme/rollouts", nil).Expect(t, http.StatusCreated)
	path := "/api/acme/rollouts/" + r.String(t, "id")
	f.owner.Post("/api/acme/rollouts", nil).Expect(t, http.StatusConflict)
	f.await(t, path, `"state":"successful","wave":2,"waves":2`)
	for _, id := range f.ids {
		f.await(t, "/api/acme/nodes/"+id, `"phase":"successful"`, `"version":"`+buildinfo.Version()+`"`)
	}
	f.owner.Post(path+"/cancel", nil).Expect(t, http.StatusPreconditionFailed)
	f.owner.Post("/api/acme/rollouts", nil).Expect(t, http.StatusPreconditionFailed) // all have it
}

// TestARolloutStopsAtAFailure: no node of a later wave is touched.
func TestARolloutStopsAtAFailure(t *testing.T) {
	f := newFleet(t, 2)
	for _, n := range f.nodes {
		n.Bad.Store(true)
	}
	r := f.owner.Post("/api/acme/rollouts", nil).Expect(t, http.StatusCreated)
	path := "/api/acme/rollouts/" + r.String(t, "id")
	f.await(t, path, `"state":"failed","wave"`, "this build does not start", `"state":"waiting"`)
	f.await(t, "/api/acme/rollouts", `"total":1`)
	for _, id := range f.ids {
		f.await(t, "/api/acme/nodes/"+id, `"version":"`+older+`"`, `"liveness":"connected"`)
	}

	// One that is cancelled begins no further update.
	for _, n := range f.nodes {
		n.Bad.Store(false)
	}
	r = f.owner.Post("/api/acme/rollouts", nil).Expect(t, http.StatusCreated)
	path = "/api/acme/rollouts/" + r.String(t, "id")
	f.owner.Post(path+"/cancel", nil).Expect(t, http.StatusNoContent)
	f.await(t, path, `"state":"cancelled"`)
	f.owner.Get("/api/acme/rollouts/"+f.ids[0]).Expect(t, http.StatusNotFound)
}

func TestAnUpdateOfWhichNothingIsHeardIsOver(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, c := range map[string]struct {
		phase   node.UpdatePhase
		since   time.Duration
		over    bool
		running bool
	}{
		"asked for":    {node.UpdateRequested, 30 * time.Second, false, true},
		"not taken on": {node.UpdateRequested, time.Minute, false, false},
		"proving":      {node.UpdateProving, 5 * time.Minute, false, true},
		"silent":       {node.UpdateProving, time.Hour, false, false},
		"over":         {node.UpdateSuccessful, time.Second, true, false},
		"failed":       {node.UpdateFailed, time.Second, true, false},
	} {
		u := node.Update{ID: [16]byte{1}, Phase: c.phase, StartedAt: now.Add(-c.since), ChangedAt: now.Add(-c.since)}
		if c.over {
			u.FinishedAt = now
		}
		if got := u.Running(now); got != c.running {
			t.Errorf("%s: running %t", name, got)
		}
		if why := u.Outcome(now); (why != "") == (c.running || u.Phase == node.UpdateSuccessful) {
			t.Errorf("%s: outcome %q", name, why)
		}
	}
}
