package agentrpc_test

import (
	"net/http"
	"strings"
	"testing"

	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/shared/workload/workloadtest"
)

// running starts the deployment shop on a real agent and returns its engine and
// the deployment's path.
func (s site) running(t *testing.T) (driver *workloadtest.FakeDriver, shop string) {
	t.Helper()
	e := s.admin.Install(t, "acme", s.node)
	driver = workloadtest.NewFakeDriver(workloadtest.FakeOptions{})
	controllertest.StartAgent(t, t.TempDir(), &e, driver)
	shop = s.place(t, "shop")
	s.admin.Post(shop+"/start?wait=5m", nil).Expect(t, http.StatusOK)
	s.awaitContainers(t, "shop/web running")
	return driver, shop
}

func TestHowAContainerEndedIsToldOnceAndStays(t *testing.T) {
	s := newSite(t)
	driver, shop := s.running(t)
	if !driver.KillForMemory("shop-web") {
		t.Fatal("there is no such container")
	}
	type event struct {
		Type      string
		Name      string
		ExitCode  *int
		OOMKilled bool
	}
	events := func() (list struct {
		Items []event
		Total int
	}, body string) {
		reply := s.admin.Get(s.nodePath()+"/events?skip=0&take=10&prefix=shop").Expect(t, http.StatusOK)
		reply.Into(t, &list)
		return list, string(reply.Body)
	}
	controllertest.Await(t, "the end is told", func() (bool, string) {
		list, body := events()
		return list.Total == 1 && list.Items[0].OOMKilled && list.Items[0].ExitCode != nil && *list.Items[0].ExitCode == 137, body
	})
	controllertest.Await(t, "the deployment's log tells it", func() (bool, string) {
		log := string(s.admin.Get(shop+"/log?skip=0&take=100").Expect(t, http.StatusOK).Body)
		return strings.Contains(log, "container shop-web exited with code 137, out of memory"), log
	})

	// A controller that comes back is told nothing twice.
	s.Stop()
	s.Restart(t)
	s.awaitStatus(t, "connected")
	s.admin.Post(s.nodePath()+"/shop/containers/web/start", nil).Expect(t, http.StatusNoContent)
	s.awaitContainers(t, "shop/web running")
	if list, body := events(); list.Total != 1 {
		t.Errorf("events are %s", body)
	}
	if list, _ := events(); list.Items[0].Name != "web" || list.Items[0].Type != "exit" {
		t.Errorf("the event is %+v", list.Items[0])
	}
}

func TestContainersAreInspectedAndActedOnOnlyAsMeant(t *testing.T) {
	s := newSite(t)
	s.running(t)
	web := s.nodePath() + "/shop/containers/web"
	if seen := s.admin.Get(web+"/inspect").Expect(t, http.StatusOK); len(seen.Object(t)) == 0 {
		t.Errorf("the inspection is %s", seen.Body)
	}
	s.admin.Get(s.nodePath()+"/containers/shop-web/inspect").Expect(t, http.StatusOK)
	s.admin.Get(s.nodePath()+"/shop/containers/nobody/inspect").Expect(t, http.StatusNotFound)

	var list []struct{ EngineID string }
	s.admin.Get(s.nodePath()+"/containers").Expect(t, http.StatusOK).Into(t, &list)
	s.admin.Post(web+"/stop?engineId=another", nil).Expect(t, http.StatusPreconditionFailed)
	s.awaitContainers(t, "shop/web running")
	s.admin.Post(web+"/stop?engineId="+list[0].EngineID, nil).Expect(t, http.StatusNoContent)
	s.awaitContainers(t, "shop/web exited")
}
