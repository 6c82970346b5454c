package teamapi_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/protocol"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
	"fairlead.dev/shared/workload/workloadtest"
)

// adopter is a driver that notes what it is to adopt.
type adopter struct {
	workload.Driver
	mu      sync.Mutex
	planned []spec.Adoption
	applied [][]spec.Adoption
}

func (a *adopter) Plan(ctx context.Context, d spec.Deployment) (workload.Plan, error) {
	a.mu.Lock()
	a.planned = d.Adopt
	a.mu.Unlock()
	plan, err := a.Driver.Plan(ctx, d)
	if len(d.Adopt) > 0 && err == nil {
		plan.Workloads[0].Action = workload.ActionAdopt
	}
	return plan, err
}

func (a *adopter) Apply(ctx context.Context, d spec.Deployment, report workload.Reporter) error {
	a.mu.Lock()
	a.applied = append(a.applied, d.Adopt)
	a.mu.Unlock()
	return a.Driver.Apply(ctx, d, report)
}

// A start names which of the node's containers become those of instances; the
// node is asked in the plan, told by the release, and not told again by a
// rollback.
func TestAStartAdoptsContainers(t *testing.T) {
	p := newPipeline(t)
	driver := &adopter{Driver: workloadtest.NewFakeDriver(workloadtest.FakeOptions{})}
	e := p.owner.Install(t, "acme", p.rows["{nodeId}"])
	folder := t.TempDir()
	agent := controllertest.StartAgent(t, folder, &e, driver)
	await := func(status string) {
		t.Helper()
		controllertest.Await(t, "the node is "+status, func() (bool, string) {
			is := p.owner.Get("/api/acme/nodes/"+p.rows["{nodeId}"]).String(t, "status")
			return is == status, is
		})
	}
	await("connected")
	var instance string
	for _, i := range p.owner.Get(p.path).Expect(t, http.StatusOK).Object(t)["instances"].([]any) {
		instance = i.(map[string]any)["id"].(string)
	}
	body := map[string]any{"adopt": []any{map[string]any{"instanceId": instance, "container": "shop_web_1"}}}
	refused := p.owner.Post(p.path+"/start", body).Expect(t, http.StatusNotImplemented).Object(t)
	if !strings.Contains(refused["message"].(string), "cannot adopt containers") {
		t.Errorf("an agent that cannot: %v", refused)
	}

	if err := agent.Stop(); err != nil {
		t.Fatal(err)
	}
	controllertest.StartAgentWith(t, folder, nil, driver, func(c *agentrt.Config) { c.Capabilities = []string{protocol.Adopt} })
	controllertest.Await(t, "the agent says that it can", func() (bool, string) {
		reply := p.owner.Post(p.path+"/plan", body)
		return reply.Status == http.StatusOK, string(reply.Body)
	})
	var plan planned
	p.owner.Post(p.path+"/plan", body).Expect(t, http.StatusOK).Into(t, &plan)
	want := spec.Adoption{InstanceID: instance, Container: "shop_web_1"}
	if plan.Workloads[0].Action != "adopt" || len(driver.planned) != 1 || driver.planned[0] != want {
		t.Errorf("the plan is %+v, the node was asked for %v", plan, driver.planned)
	}
	// With a token of the deployment, and for what is none of it.
	p.client.Post(p.path+"/start", body).Expect(t, http.StatusForbidden)
	p.owner.Post(p.path+"/start", map[string]any{"adopt": []any{map[string]any{"instanceId": p.rows["{nodeId}"], "container": "shop_web_1"}}}).
		Expect(t, http.StatusBadRequest)

	// By a plan without it, a start that adopts is another one.
	var without planned
	p.owner.Post(p.path+"/plan", nil).Expect(t, http.StatusOK).Into(t, &without)
	body["plan"] = without.Plan
	p.owner.Post(p.path+"/start", body).Expect(t, http.StatusPreconditionFailed)

	delete(body, "plan")
	var got outcome
	p.owner.Post(p.path+"/start?wait=5m", body).Expect(t, http.StatusOK).Into(t, &got)
	if got.Status != "successful" {
		t.Fatalf("got %+v", got)
	}
	p.owner.Post(p.path+"/releases/1/rollback?wait=5m", nil).Expect(t, http.StatusOK)
	driver.mu.Lock()
	defer driver.mu.Unlock()
	if len(driver.applied) != 2 || len(driver.applied[0]) != 1 || driver.applied[0][0] != want || len(driver.applied[1]) != 0 {
		t.Errorf("the node was told %v", driver.applied)
	}
}
