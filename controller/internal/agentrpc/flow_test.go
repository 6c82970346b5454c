package agentrpc_test

import (
	"net/http"
	"strings"
	"testing"

	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/shared/workload/workloadtest"
)

// shop places one image on the site's node under the prefix "shop" and returns
// the deployment's path.
func (s site) shop(t *testing.T) string {
	t.Helper()
	add := func(path string, body any) string {
		return s.admin.Post("/api/acme"+path, body).Expect(t, http.StatusCreated).String(t, "id")
	}
	registry := add("/registries", map[string]any{"name": "own", "type": "unchecked", "details": map[string]any{"url": "registry.example:5000"}})
	project := add("/projects", map[string]any{"name": "shop", "type": "versioned"})
	version := "/projects/" + project + "/versions/" + add("/projects/"+project+"/versions", map[string]any{"name": "1", "type": "rolling"})
	s.admin.Post("/api/acme"+version+"/images", []any{map[string]any{"registryId": registry, "images": []string{"web:1"}}}).Expect(t, http.StatusCreated)
	return "/api/acme/deployments/" + add("/deployments", map[string]any{
		"versionId": version[strings.LastIndex(version, "/")+1:], "nodeId": s.node, "prefix": "shop",
	})
}

func (s site) awaitDeployment(t *testing.T, path, want string) {
	t.Helper()
	controllertest.Await(t, "the deployment is "+want, func() (bool, string) {
		seen := s.admin.Get(path).Expect(t, http.StatusOK)
		return seen.String(t, "status") == want, string(seen.Body)
	})
}

func (s site) awaitContainers(t *testing.T, want ...string) {
	t.Helper()
	controllertest.Await(t, "the containers are "+strings.Join(want, ", "), func() (bool, string) {
		var list []struct {
			State string
			ID    struct{ Prefix, Name string }
		}
		reply := s.admin.Get(s.nodePath()+"/containers").Expect(t, http.StatusOK)
		reply.Into(t, &list)
		var seen []string
		for _, c := range list {
			seen = append(seen, c.ID.Prefix+"/"+c.ID.Name+" "+c.State)
		}
		return strings.Join(seen, ", ") == strings.Join(want, ", "), string(reply.Body)
	})
}

func TestStartWhileTheNodeIsAwayIsDeliveredWhenItReturns(t *testing.T) {
	s := newSite(t)
	shop := s.shop(t)
	s.admin.Post(shop+"/start", nil).Expect(t, http.StatusNoContent)
	detail := s.admin.Get(shop).Expect(t, http.StatusOK)
	if waiting := detail.Object(t)["waiting"]; waiting == nil || waiting == "" {
		t.Errorf("it does not say that it waits for the node: %s", detail.Body)
	}
	e := s.admin.Install(t, "acme", s.node)
	controllertest.StartAgent(t, t.TempDir(), &e, workloadtest.NewFakeDriver(workloadtest.FakeOptions{}))
	s.awaitDeployment(t, shop, "successful")
	s.awaitContainers(t, "shop/web running")
	if waiting := s.admin.Get(shop).Object(t)["waiting"]; waiting != nil && waiting != "" {
		t.Errorf("it still says that it waits: %v", waiting)
	}
}

func TestControllersRestartTouchesNothing(t *testing.T) {
	s := newSite(t)
	shop := s.shop(t)
	e := s.admin.Install(t, "acme", s.node)
	driver := workloadtest.NewFakeDriver(workloadtest.FakeOptions{})
	controllertest.StartAgent(t, t.TempDir(), &e, driver)
	s.admin.Post(shop+"/start", nil).Expect(t, http.StatusNoContent)
	s.awaitDeployment(t, shop, "successful")
	before, err := driver.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	s.Stop()
	s.Restart(t)
	s.awaitStatus(t, "connected")
	s.awaitDeployment(t, shop, "successful")
	after, err := driver.List(t.Context())
	if err != nil || len(after) != 1 || after[0].EngineID != before[0].EngineID {
		t.Errorf("containers were %+v, are %+v, %v", before, after, err)
	}

	// And it still works: delete empties the prefix.
	s.admin.Delete(shop).Expect(t, http.StatusNoContent)
	s.awaitContainers(t)
	s.admin.Get(shop).Expect(t, http.StatusNotFound)
}

func TestFailedDeployTellsWhy(t *testing.T) {
	s := newSite(t)
	shop := s.shop(t)
	e := s.admin.Install(t, "acme", s.node)
	driver := workloadtest.NewFakeDriver(workloadtest.FakeOptions{Missing: []string{"registry.example:5000/web:1"}})
	controllertest.StartAgent(t, t.TempDir(), &e, driver)
	s.admin.Post(shop+"/start", nil).Expect(t, http.StatusNoContent)
	s.awaitDeployment(t, shop, "failed")
	log := s.admin.Get(shop+"/log?skip=0&take=100").Expect(t, http.StatusOK)
	if !strings.Contains(string(log.Body), "registry.example:5000/web:1") {
		t.Errorf("the log does not name the image: %s", log.Body)
	}
	s.awaitContainers(t)
}

func TestCommandsActOnOurContainersOnly(t *testing.T) {
	s := newSite(t)
	shop := s.shop(t)
	containers := s.nodePath() + "/shop/containers/web"
	s.admin.Post(containers+"/stop", nil).Expect(t, http.StatusPreconditionFailed) // nobody there yet

	e := s.admin.Install(t, "acme", s.node)
	driver := workloadtest.NewFakeDriver(workloadtest.FakeOptions{})
	driver.AddForeign("neighbour")
	agent := controllertest.StartAgent(t, t.TempDir(), &e, driver)
	s.admin.Post(shop+"/start", nil).Expect(t, http.StatusNoContent)
	s.awaitDeployment(t, shop, "successful")

	s.admin.Post(containers+"/stop", nil).Expect(t, http.StatusNoContent)
	s.awaitContainers(t, "/neighbour running", "shop/web exited")
	s.admin.Post(containers+"/start", nil).Expect(t, http.StatusNoContent)
	s.awaitContainers(t, "/neighbour running", "shop/web running")
	s.admin.Post(containers+"/restart", nil).Expect(t, http.StatusNoContent)
	s.admin.Get(containers+"/log?take=5").Expect(t, http.StatusOK)
	s.admin.Get(containers+"/log?take=5&release=1").Expect(t, http.StatusNotFound) // this agent keeps none
	s.admin.Get(containers+"/log?take=5000").Expect(t, http.StatusBadRequest)

	s.admin.Post(s.nodePath()+"/containers/neighbour/stop", nil).Expect(t, http.StatusForbidden)
	s.admin.Post(s.nodePath()+"/shop/containers/nobody/stop", nil).Expect(t, http.StatusNotFound)
	s.awaitContainers(t, "/neighbour running", "shop/web running")

	s.admin.Delete(containers).Expect(t, http.StatusNoContent)
	s.awaitContainers(t, "/neighbour running")

	if err := agent.Stop(); err != nil {
		t.Fatal(err)
	}
	s.awaitStatus(t, "left")
	s.admin.Post(containers+"/start", nil).Expect(t, http.StatusPreconditionFailed)
}

func TestAPrefixIsEmptiedOfOurContainers(t *testing.T) {
	s := newSite(t)
	shop := s.shop(t)
	prefix := s.nodePath() + "/shop/containers"
	s.admin.Delete(prefix).Expect(t, http.StatusPreconditionFailed) // nobody there yet

	e := s.admin.Install(t, "acme", s.node)
	driver := workloadtest.NewFakeDriver(workloadtest.FakeOptions{})
	driver.AddForeign("neighbour")
	controllertest.StartAgent(t, t.TempDir(), &e, driver)
	s.awaitStatus(t, "connected")
	s.admin.Delete(prefix).Expect(t, http.StatusNotFound) // nothing there yet
	s.admin.Post(shop+"/start", nil).Expect(t, http.StatusNoContent)
	s.awaitDeployment(t, shop, "successful")
	s.awaitContainers(t, "/neighbour running", "shop/web running")

	s.admin.Delete(prefix).Expect(t, http.StatusNoContent)
	s.awaitContainers(t, "/neighbour running")
	// The deployment is as it was, and can be started again.
	s.admin.Post(shop+"/start?wait=5m", nil).Expect(t, http.StatusOK)
	s.awaitContainers(t, "/neighbour running", "shop/web running")
}
