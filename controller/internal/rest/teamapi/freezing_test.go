package teamapi_test

import (
	"fmt"
	"net/http"
	"testing"

	"fairlead.dev/shared/workload/workloadtest"
)

// chain is a project of incremental versions, and a node with an agent.
type chain struct {
	pipeline
	t       *testing.T
	project string
}

func newChain(t *testing.T) chain {
	t.Helper()
	p := newPipeline(t)
	p.agent(t, workloadtest.FakeOptions{})
	made := p.owner.Post("/api/acme/projects", object{"name": "chain", "type": "versioned"}).Expect(t, http.StatusCreated)
	return chain{p, t, "/api/acme/projects/" + made.String(t, "id")}
}

// firstVersion makes a version with an image and a deployment of it.
func (c chain) firstVersion(kind, prefix string) (version, image, deployment string) {
	c.t.Helper()
	version = c.project + "/versions/" + c.owner.Post(c.project+"/versions", object{"name": "1.0 " + kind, "type": kind}).
		Expect(c.t, http.StatusCreated).String(c.t, "id")
	var images []struct{ ID string }
	c.owner.Post(version+"/images", []object{{"registryId": c.rows["{registryId}"], "images": []string{"web:1"}}}).
		Expect(c.t, http.StatusCreated).Into(c.t, &images)
	deployment = "/api/acme/deployments/" + c.owner.Post("/api/acme/deployments", object{
		"versionId": version[len(c.project+"/versions/"):], "nodeId": c.rows["{nodeId}"], "prefix": prefix,
	}).Expect(c.t, http.StatusCreated).String(c.t, "id")
	return version, version + "/images/" + images[0].ID, deployment
}

func (c chain) start(deployment string) {
	c.t.Helper()
	r := c.owner.Post(deployment+"/start?wait=5m", nil).Expect(c.t, http.StatusOK)
	if r.String(c.t, "status") != "successful" {
		c.t.Fatalf("the start ended with %s", r.Body)
	}
}

func (c chain) mustBe(deployment, status string) {
	c.t.Helper()
	if got := c.owner.Get(deployment).Expect(c.t, http.StatusOK).String(c.t, "status"); got != status {
		c.t.Errorf("the deployment is %s, want %s", got, status)
	}
}

// can is what may be done with a version.
type can struct{ Mutable, Increasable, Deletable bool }

func (c chain) mustAllow(version string, want can) {
	c.t.Helper()
	var got can
	c.owner.Get(version).Expect(c.t, http.StatusOK).Into(c.t, &got)
	if got != want {
		c.t.Errorf("the version says %+v, want %+v", got, want)
	}
}

func (c chain) instance(deployment string) string {
	c.t.Helper()
	var detail struct{ Instances []struct{ ID string } }
	c.owner.Get(deployment).Expect(c.t, http.StatusOK).Into(c.t, &detail)
	return deployment + "/instances/" + detail.Instances[0].ID
}

// edit is a change to a version or what is in it.
type edit struct {
	method, path string
	body         any
}

// edits are all there are, those that take something away last.
func (c chain) edits(version, image, deployment string) []edit {
	id := image[len(version+"/images/"):]
	return []edit{
		{http.MethodPatch, image, object{"tag": "2"}},
		{http.MethodPatch, image, object{"config": object{"environment": []object{{"key": "A", "value": "a"}}}}},
		{http.MethodPut, version + "/images/order", []string{id}},
		{http.MethodPost, version + "/images", []object{{"registryId": c.rows["{registryId}"], "images": []string{"more:1"}}}},
		{http.MethodPatch, deployment, object{"note": "changed", "environment": []object{{"key": "B", "value": "b"}}}},
		{http.MethodPatch, c.instance(deployment), object{"config": object{"user": 7}}},
		{http.MethodPut, version, object{"name": "renamed", "changelog": "anew"}},
	}
}

func TestASuccessfulDeploymentFreezesAnIncrementalVersion(t *testing.T) {
	c := newChain(t)
	first, image, deployment := c.firstVersion("incremental", "chain")
	c.mustAllow(first, can{Mutable: true, Increasable: true, Deletable: true})
	for _, e := range c.edits(first, image, deployment) { // until then everything may be changed
		if r := c.owner.Do(e.method, e.path, e.body); r.Status >= http.StatusBadRequest {
			t.Fatalf("%s %s: %s", e.method, e.path, r.Body)
		}
	}
	problem(t, c.owner.Post("/api/acme/deployments", object{
		"versionId": first[len(c.project+"/versions/"):], "nodeId": c.rows["{nodeId}"], "prefix": "chain",
	}), http.StatusConflict) // one in preparation is enough

	c.start(deployment)
	c.mustAllow(first, can{Increasable: true})
	seen := func() string {
		return fmt.Sprintf("%s\n%s\n%s", c.owner.Get(image).Body, c.owner.Get(c.instance(deployment)).Body, c.owner.Get(deployment).Object(t)["environment"])
	}
	frozen := seen()
	for _, e := range append(c.edits(first, image, deployment), edit{http.MethodDelete, image, nil}, edit{http.MethodDelete, first, nil}) {
		problem(t, c.owner.Do(e.method, e.path, e.body), http.StatusPreconditionFailed)
	}
	problem(t, c.owner.Post(deployment+"/start", nil), http.StatusPreconditionFailed)
	if now := seen(); now != frozen {
		t.Errorf("what was frozen has become\n%s\nfrom\n%s", now, frozen)
	}

	// The next version begins with a copy, to be changed.
	second := c.project + "/versions/" + c.owner.Post(first+"/increase", object{"name": "1.1"}).Expect(t, http.StatusCreated).String(t, "id")
	problem(t, c.owner.Post(first+"/increase", object{"name": "1.2"}), http.StatusConflict)
	c.mustAllow(first, can{})
	c.mustAllow(second, can{Mutable: true, Increasable: true, Deletable: true})
	var detail struct {
		Images []struct {
			Tag    string
			Config struct{ Environment []struct{ Key string } }
		}
		Deployments []struct{ ID, Status string }
	}
	c.owner.Get(second).Expect(t, http.StatusOK).Into(t, &detail)
	if len(detail.Images) != 2 || detail.Images[0].Tag != "2" || detail.Images[0].Config.Environment[0].Key != "A" ||
		len(detail.Deployments) != 1 || detail.Deployments[0].Status != "preparing" {
		t.Fatalf("the next version begins with %+v", detail)
	}
	next := "/api/acme/deployments/" + detail.Deployments[0].ID
	environment := c.owner.Get(next).Expect(t, http.StatusOK).Object(t)["environment"].([]any)
	if len(environment) != 1 || environment[0].(object)["key"] != "B" {
		t.Errorf("the environment did not come along: %v", environment)
	}

	// It takes the place over, and gives it back when the first is started again.
	c.start(next)
	c.mustBe(deployment, "obsolete")
	c.start(deployment)
	c.mustBe(deployment, "successful")
	c.mustBe(next, "downgraded")
	problem(t, c.owner.Post(next+"/start", nil), http.StatusPreconditionFailed)
	problem(t, c.owner.Patch(next, object{"note": "x"}), http.StatusPreconditionFailed)
	c.mustAllow(second, can{Increasable: true})
	c.mustAllow(first, can{})
}

func TestARollingVersionIsNeverFrozen(t *testing.T) {
	c := newChain(t)
	version, image, deployment := c.firstVersion("rolling", "rolling")
	c.start(deployment)
	c.mustAllow(version, can{Mutable: true}) // not deletable: a node runs it
	for _, e := range c.edits(version, image, deployment) {
		if r := c.owner.Do(e.method, e.path, e.body); r.Status >= http.StatusBadRequest {
			t.Errorf("%s %s: %s", e.method, e.path, r.Body)
		}
	}
	c.start(deployment)
	problem(t, c.owner.Post(version+"/increase", object{"name": "2.0"}), http.StatusPreconditionFailed)
	taken := c.owner.Post("/api/acme/deployments", object{
		"versionId": version[len(c.project+"/versions/"):], "nodeId": c.rows["{nodeId}"], "prefix": "rolling",
	})
	problem(t, taken, http.StatusConflict)
	if taken.String(t, "error") != "rollingVersionDeployment" || "/api/acme/deployments/"+taken.String(t, "value") != deployment {
		t.Errorf("what is in the way: %s", taken.Body)
	}

	// Another version on the same node and prefix takes its place.
	second := c.owner.Post(c.project+"/versions", object{"name": "beta", "type": "rolling"}).Expect(t, http.StatusCreated).String(t, "id")
	var begun struct{ Deployments []struct{ ID string } }
	c.owner.Get(c.project+"/versions/"+second).Expect(t, http.StatusOK).Into(t, &begun)
	other := "/api/acme/deployments/" + begun.Deployments[0].ID
	c.mustBe(deployment, "successful")
	c.start(other)
	c.mustBe(deployment, "obsolete")
	c.owner.Patch(deployment, object{"note": "still to be edited"}).Expect(t, http.StatusNoContent)
}
