package fleetsim_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/workload/workloadtest"

	"fairlead.dev/e2e/client"
	"fairlead.dev/e2e/fleetsim"
	"fairlead.dev/e2e/fleetsim/rig"
)

// newController runs a controller on a PostgreSQL of its own.
func newController(t *testing.T) *rig.Controller {
	t.Helper()
	controller, _ := newControllerAndDatabase(t)
	return controller
}

func newControllerAndDatabase(t *testing.T) (*rig.Controller, *rig.PostgreSQL) {
	t.Helper()
	program, artifacts, err := rig.Build(t.Context(), "../..")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "fleetsim-test-") //nolint:usetesting // its folders are closed to PostgreSQL's account
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	postgres, err := rig.NewPostgreSQL(t.Context(), filepath.Join(dir, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := postgres.Stop(); err != nil {
			t.Error(err)
		}
	})
	controller, err := rig.NewController(t.Context(), rig.ControllerConfig{
		Program: program, Artifacts: artifacts, Dir: dir, DatabaseURL: postgres.URL(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the controller's last lines:\n%s", controller.Tail())
		}
		if err := controller.Stop(); err != nil {
			t.Error(err)
		}
	})
	return controller, postgres
}

// shop makes a deployment of one image on each node.
func shop(t *testing.T, team *client.Team, nodes []string) (deployments []string) {
	t.Helper()
	var registry struct {
		ID string `json:"id"`
	}
	err := team.Call(t.Context(), http.MethodPost, "/api/"+team.Slug+"/registries",
		client.Object{"type": "unchecked", "name": "images", "details": client.Object{"url": "registry.example.org"}}, &registry)
	if err != nil {
		t.Fatal(err)
	}
	project, err := team.CreateProject(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := project.AddImage(t.Context(), registry.ID, "shop/web:1", client.Object{"name": "web"}); err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes {
		id, err := team.CreateDeployment(t.Context(), project.VersionID, node, "shop")
		if err != nil {
			t.Fatal(err)
		}
		deployments = append(deployments, id)
	}
	return deployments
}

func startAll(t *testing.T, team *client.Team, deployments []string) {
	t.Helper()
	for _, id := range deployments {
		if err := team.Start(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
}

// mustRun waits until every light agent's node runs a release and the API says
// that every deployment is successful.
func mustRun(t *testing.T, fleet *fleetsim.Fleet, team *client.Team, deployments []string, release int64) {
	t.Helper()
	await(t, fleet, fmt.Sprintf("release %d everywhere", release), func(fleetsim.Counts) bool {
		for _, a := range fleet.Agents() {
			if p := a.Prefixes()["shop"]; p.Release != release || p.Phase != agentv1.Phase_PHASE_SUCCESSFUL {
				return false
			}
		}
		return true
	})
	for _, id := range deployments {
		d, err := team.Outcome(t.Context(), id, patience)
		if err != nil || d.Status != client.Successful || d.LastTry != release {
			t.Fatalf("deployment %+v, %v", d, err)
		}
	}
}

func TestAFleetConvergesThroughKillsAndRestarts(t *testing.T) {
	const light, heavy = 46, 4
	controller := newController(t)
	team, err := controller.Client.CreateTeam(t.Context(), "fleet")
	if err != nil {
		t.Fatal(err)
	}
	tokens, address, pin, err := fleetsim.Tokens(t.Context(), team, "node", light+heavy, 4)
	if err != nil {
		t.Fatal(err)
	}
	fleet, err := fleetsim.New(fleetsim.Config{
		Controller: address, Pin: pin, Seed: 50, Engine: fleetsim.Engine{MaxLatency: 300 * time.Millisecond, Foreign: 2},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fleet.Close)
	if err := fleet.Enrol(t.Context(), tokens[:light], 8); err != nil {
		t.Fatal(err)
	}
	if winners, refused := fleet.Race(t.Context(), tokens[0].Token, 5); winners != 0 || len(refused) != 1 {
		t.Errorf("a used token: %d won, %v", winners, refused)
	}
	var reals []*fleetsim.Real
	for i, token := range tokens[light:] {
		driver := workloadtest.NewFakeDriver(workloadtest.FakeOptions{Seed: uint64(i), MaxLatency: 50 * time.Millisecond})
		r, err := fleetsim.NewReal(t.Context(), address, pin, token, t.TempDir(), driver, uint64(i), nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		r.Start(context.WithoutCancel(t.Context()))
		reals = append(reals, r)
	}
	fleet.Start(context.WithoutCancel(t.Context()))
	await(t, fleet, "all to be connected", func(c fleetsim.Counts) bool { return c.Echoed == light })

	var nodes []string
	for _, token := range tokens {
		nodes = append(nodes, token.NodeID)
	}
	deployments := shop(t, team, nodes)
	startAll(t, team, deployments)
	mustRun(t, fleet, team, deployments, 1)

	// Some agents and the controller die; what is started meanwhile comes to
	// all of them, and nothing that is unchanged is made anew.
	for i := range 10 {
		fleet.Agent(i).Kill()
	}
	if err := reals[0].Kill(); err != nil {
		t.Fatal(err)
	}
	controller.Kill()
	if err := controller.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	startAll(t, team, deployments)
	for i := range 10 {
		fleet.Agent(i).Start(context.WithoutCancel(t.Context()))
	}
	reals[0].Start(context.WithoutCancel(t.Context()))
	mustRun(t, fleet, team, deployments, 2)
	for _, a := range fleet.Agents() {
		if starts := a.Prefixes()["shop"].Containers["web"].Starts; starts != 1 {
			t.Errorf("agent %d made an unchanged container %d times", a.Index(), starts)
		}
	}
	for i, r := range reals {
		list, err := r.Driver.List(t.Context())
		if err != nil || len(list) != 1 || list[0].Release != 2 && list[0].Release != 1 {
			t.Errorf("real agent %d runs %+v, %v", i, list, err)
		}
	}
	if c := fleet.Counts(); c.RefusedSets != 0 || c.Quarantined != 0 {
		t.Errorf("after all: %s", c)
	}
}

func TestARestingFleetCostsOneStatementASecondHoweverOftenItBeats(t *testing.T) {
	const agents, beats = 60, 3000
	controller, postgres := newControllerAndDatabase(t)
	team, err := controller.Client.CreateTeam(t.Context(), "fleet")
	if err != nil {
		t.Fatal(err)
	}
	tokens, address, pin, err := fleetsim.Tokens(t.Context(), team, "node", agents, 4)
	if err != nil {
		t.Fatal(err)
	}
	fleet, err := fleetsim.New(fleetsim.Config{Controller: address, Pin: pin, Seed: 60, Heartbeat: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fleet.Close)
	if err := fleet.Enrol(t.Context(), tokens, 8); err != nil {
		t.Fatal(err)
	}
	fleet.Start(context.WithoutCancel(t.Context()))
	await(t, fleet, "all to be connected and told", func(c fleetsim.Counts) bool { return c.Echoed == agents && c.ReportAcks >= agents })

	before, err := postgres.Statements(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	began, echoes := time.Now(), fleet.Counts().Echoes
	await(t, fleet, "heartbeats", func(c fleetsim.Counts) bool { return c.Echoes-echoes >= beats })
	after, err := postgres.Statements(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Some are of what is done seldom, and of the sessions' beginning.
	const seldom = 20
	if n, most := after-before, int64(time.Since(began).Seconds())+seldom; n > most {
		top, err := postgres.Top(t.Context(), 20)
		t.Errorf("%d heartbeats took %d statements, at most %d are right: %v %v", beats, n, most, top, err)
	}
}
