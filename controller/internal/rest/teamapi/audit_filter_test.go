package teamapi_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/shared/workload/workloadtest"
)

func TestAuditLogIsFilteredByWhoWhatAndWhen(t *testing.T) {
	k := newCast(t)
	owner, admin := k.people[actor.Owner], k.people[actor.Admin]
	rows := k.rows(t)
	self := admin.Post("/api/users/me", nil).Expect(t, http.StatusOK).Object(t)["user"].(object)["id"].(string)
	admin.Put("/api/acme/nodes/"+rows["{nodeId}"], object{"name": "two"}).Expect(t, http.StatusNoContent)
	admin.Delete("/api/acme/storages/"+rows["{storageId}"]).Expect(t, http.StatusNoContent)
	deploy := owner.WithToken(owner.Put("/api/acme/deployments/"+rows["{deploymentId}"]+"/token", object{"name": "pipeline"}).
		Expect(t, http.StatusCreated).String(t, "token"))
	deploy.Post("/api/acme/deployments/"+rows["{deploymentId}"]+"/start", nil).Expect(t, http.StatusNoContent)

	type page struct {
		Items []struct{ Event, Method, Name, ActorType, CreatedAt string }
		Total int
	}
	read := func(query string) (p page) {
		owner.Get("/api/acme/audit-log?"+query).Expect(t, http.StatusOK).Into(t, &p)
		return p
	}
	for name, c := range map[string]struct {
		query url.Values
		want  []string // events, newest first
	}{
		"by a person":           {url.Values{"actor": {self}}, []string{"storage.delete", "node.update"}},
		"by a kind of actor":    {url.Values{"actorType": {"deployment-token"}}, []string{"deployment.start"}},
		"by what was done":      {url.Values{"event": {"node.update"}}, []string{"node.update"}},
		"by a noun":             {url.Values{"event": {"node"}}, []string{"node.update", "node.create"}},
		"a noun is whole":       {url.Values{"event": {"nod"}}, nil},
		"nouns have no pattern": {url.Values{"event": {"%"}}, nil},
		"by method":             {url.Values{"method": {"delete"}}, []string{"storage.delete"}},
		"by what it was about":  {url.Values{"entity": {rows["{nodeId}"]}}, []string{"deployment.start", "node.update", "deployment.create", "node.create"}},
		"also one of several":   {url.Values{"entity": {rows["{imageId}"]}}, []string{"image.create"}},
		"everything together":   {url.Values{"actor": {self}, "entity": {rows["{nodeId}"]}, "method": {"put"}, "filter": {"UPDATE"}}, []string{"node.update"}},
		"nobody's":              {url.Values{"actor": {rows["{nodeId}"]}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := read(allTimes + "&skip=0&take=100&" + c.query.Encode())
			var events []string
			for _, item := range p.Items {
				events = append(events, item.Event)
			}
			if !slices.Equal(events, c.want) || p.Total != len(c.want) {
				t.Errorf("%d events %v, want %v", p.Total, events, c.want)
			}
		})
	}

	// A page of what fits, and the moment that one was done.
	second := read(allTimes + "&skip=1&take=1&event=node")
	if second.Total != 2 || len(second.Items) != 1 || second.Items[0].Event != "node.create" {
		t.Errorf("the second page is %+v", second)
	}
	at := url.QueryEscape(second.Items[0].CreatedAt)
	if p := read("from=" + at + "&to=" + at + "&skip=0&take=10"); p.Total != 1 || p.Items[0].Event != "node.create" {
		t.Errorf("at that moment: %+v", p)
	}
	for _, wrong := range []string{"actor=me", "actorType=robot", "method=brew", "entity=x"} {
		problem(t, owner.Get("/api/acme/audit-log?"+allTimes+"&skip=0&take=10&"+wrong), http.StatusBadRequest)
	}
}

func TestNodeAuditIsFilteredByWhoWhatAndWhen(t *testing.T) {
	k := newCast(t)
	owner, member := k.people[actor.Owner], k.people[actor.Member]
	rows := k.rows(t)
	node := "/api/acme/nodes/" + rows["{nodeId}"]
	e := owner.Install(t, "acme", rows["{nodeId}"])
	controllertest.StartAgent(t, t.TempDir(), &e, workloadtest.NewFakeDriver(workloadtest.FakeOptions{}))
	controllertest.Await(t, "the node is connected", func() (bool, string) {
		r := owner.Get(node)
		return r.Object(t)["status"] == "connected", string(r.Body)
	})
	owner.Post("/api/acme/deployments/"+rows["{deploymentId}"]+"/start?wait=5m", nil).Expect(t, http.StatusOK)
	controllertest.Await(t, "the container is there", func() (bool, string) {
		r := owner.Get(node + "/containers?prefix=shop")
		return strings.Contains(string(r.Body), `"web"`), string(r.Body)
	})
	member.Post(node+"/shop/containers/web/restart", nil).Expect(t, http.StatusNoContent)
	owner.Post(node+"/shop/containers/web/stop", nil).Expect(t, http.StatusNoContent)
	owner.Delete(node+"/token").Expect(t, http.StatusNoContent)

	type page struct {
		Items []struct {
			Event, CreatedAt string
			Data             object
		}
		Total int
	}
	read := func(query string) (p page) {
		owner.Get(node+"/audit?skip=0&take=100&"+query).Expect(t, http.StatusOK).Into(t, &p)
		return p
	}
	for name, c := range map[string]struct {
		query string
		want  []string
	}{
		"by a person":      {"user=user.role", []string{"containerCommand"}},
		"by another":       {"user=admin", []string{"kicked", "containerCommand"}},
		"by what happened": {"filterEventType=containerCommand", []string{"containerCommand", "containerCommand"}},
		"by a part of it":  {"filter=RESTART", []string{"containerCommand"}},
		"together":         {"user=admin&filterEventType=kicked&filter=revoke", []string{"kicked"}},
		"nobody":           {"user=nobody", nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := read(allTimes + "&" + c.query)
			var events []string
			for _, item := range p.Items {
				events = append(events, item.Event)
			}
			if !slices.Equal(events, c.want) || p.Total != len(c.want) {
				t.Errorf("%d events %v, want %v", p.Total, events, c.want)
			}
		})
	}
	kicked := read(allTimes + "&filterEventType=kicked").Items[0]
	at := url.QueryEscape(kicked.CreatedAt)
	if p := read("from=" + at + "&to=" + at); p.Total != 1 || p.Items[0].Event != "kicked" {
		t.Errorf("at that moment: %+v", p)
	}
}
