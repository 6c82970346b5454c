package teamapi_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/workload"
	"fairlead.dev/shared/workload/workloadtest"
)

type planned struct {
	Plan      string
	Empty     bool
	Workloads []struct {
		Name, Action string
		Changes      []string
		Starts       bool
	}
}

// plan asks for a plan and returns it with its actions.
func (p pipeline) plan(t *testing.T, who *controllertest.Client) (planned, string) {
	t.Helper()
	var got planned
	reply := who.Post(p.path+"/plan", nil).Expect(t, http.StatusOK)
	reply.Into(t, &got)
	if strings.Contains(string(reply.Body), "hunter2") {
		t.Errorf("a plan tells values: %s", reply.Body)
	}
	var actions []string
	for _, w := range got.Workloads {
		actions = append(actions, w.Name+" "+w.Action)
	}
	return got, strings.Join(actions, ", ")
}

func TestAStartGoesByItsPlanOrNotAtAll(t *testing.T) {
	p := newPipeline(t)
	if got := p.owner.Post(p.path+"/plan", nil).Expect(t, http.StatusPreconditionFailed).Object(t); got["property"] != "nodeId" {
		t.Errorf("without an agent: %v", got)
	}
	driver := workloadtest.NewFakeDriver(workloadtest.FakeOptions{})
	e := p.owner.Install(t, "acme", p.rows["{nodeId}"])
	agent := controllertest.StartAgent(t, t.TempDir(), &e, driver)
	node := "/api/acme/nodes/" + p.rows["{nodeId}"]
	connected := func() (bool, string) {
		status := p.owner.Get(node).String(t, "status")
		return status == "connected", status
	}
	controllertest.Await(t, "the node is connected", connected)

	first, actions := p.plan(t, p.client) // with the deployment's token
	if first.Empty || actions != "web create" {
		t.Fatalf("got %+v", first)
	}
	byPlan := func(plan string) controllertest.Reply {
		return p.client.Post(p.path+"/start?wait=5m", map[string]any{"plan": plan})
	}
	var got outcome
	byPlan(first.Plan).Expect(t, http.StatusOK).Into(t, &got)
	if got.Status != "successful" {
		t.Fatalf("got %+v", got)
	}
	release := p.owner.Get(p.path+"/releases/1").Expect(t, http.StatusOK).Object(t)
	if kept, ok := release["plan"].(map[string]any); !ok || kept["workloads"].([]any)[0].(map[string]any)["action"] != "create" {
		t.Errorf("the release keeps the plan %v", release["plan"])
	}
	if digests := release["digests"].([]any); len(digests) != 1 {
		t.Errorf("the release tells the digests %v", digests)
	}

	// The node has changed since.
	byPlan(first.Plan).Expect(t, http.StatusOK).Into(t, &got)
	if got.Status != "failed" || got.Failure == nil || got.Failure.Step != string(workload.StepPlan) || !strings.Contains(got.Failure.Message, "stale") {
		t.Errorf("by a plan from before: %+v, %+v", got, got.Failure)
	}
	second, actions := p.plan(t, p.owner)
	if !second.Empty || actions != "web keep" {
		t.Errorf("got %+v", second)
	}
	byPlan(second.Plan).Expect(t, http.StatusOK).Into(t, &got)
	if got.Status != "successful" {
		t.Errorf("by a plan of now: %+v, %+v", got, got.Failure)
	}

	// The configuration has.
	p.owner.Patch(p.path, map[string]any{"environment": []any{map[string]any{"id": p.rows["{nodeId}"], "key": "PASSWORD", "value": "hunter2"}}}).Expect(t, http.StatusNoContent)
	for _, plan := range []string{second.Plan, strings.Repeat("0", 64)} {
		refused := byPlan(plan).Expect(t, http.StatusPreconditionFailed).Object(t)
		if refused["error"] != deployment.ReasonStalePlan {
			t.Errorf("got %v", refused)
		}
	}
	if third, actions := p.plan(t, p.owner); actions != "web replace" || slices.Contains([]string{first.Plan, second.Plan}, third.Plan) {
		t.Errorf("got %+v", third)
	}

	if err := agent.Stop(); err != nil {
		t.Fatal(err)
	}
	controllertest.Await(t, "the node is away", func() (bool, string) {
		ok, seen := connected()
		return !ok, seen
	})
	refused := p.owner.Post(p.path+"/plan", nil).Expect(t, http.StatusPreconditionFailed).Object(t)
	if !strings.Contains(refused["message"].(string), "unreachable since 20") {
		t.Errorf("got %v", refused)
	}
}

func TestRollbackRunsWhatTheNodeToldOf(t *testing.T) {
	p := newPipeline(t)
	p.agent(t, workloadtest.FakeOptions{})
	var got outcome
	start := func(path string) {
		t.Helper()
		p.owner.Post(p.path+path+"?wait=5m", nil).Expect(t, http.StatusOK).Into(t, &got)
		if got.Status != "successful" {
			t.Fatalf("%s: %+v, %+v", path, got, got.Failure)
		}
	}
	start("/start")
	start("/releases/1/rollback")
	content := p.owner.Get(p.path+"/releases/2").Expect(t, http.StatusOK).Object(t)["content"].(map[string]any)
	image := content["containers"].(map[string]any)["web"].(map[string]any)["image"].(map[string]any)
	if digest, _ := image["digest"].(string); digest == "" || !strings.HasSuffix(image["reference"].(string), ":1@"+digest) {
		t.Errorf("got %v", image)
	}
}
