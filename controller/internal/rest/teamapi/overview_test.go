package teamapi_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"fairlead.dev/controller/internal/actor"
)

const allTimes = "from=2020-01-01T00:00:00Z&to=2060-01-01T00:00:00Z"

func TestDashboardFollowsTheFirstSteps(t *testing.T) {
	k := newCast(t)
	owner := k.people[actor.Owner]
	type step struct {
		Done       bool
		ResourceID *string
	}
	var before, after struct {
		Users, AuditLog, Projects, Versions, Deployments, FailedDeployments int
		Onboarding                                                          map[string]step
	}
	owner.Get("/api/acme/dashboard").Expect(t, http.StatusOK).Into(t, &before)
	for _, name := range []string{"createNode", "createProject", "createVersion", "addImages", "addDeployment", "deploy"} {
		if s, there := before.Onboarding[name]; !there || s.Done || s.ResourceID != nil {
			t.Errorf("%s at the start: %+v", name, s)
		}
	}
	if s := before.Onboarding["createTeam"]; !s.Done || *s.ResourceID != k.teamID {
		t.Errorf("createTeam: %+v", s)
	}
	rows := k.rows(t)
	owner.Get("/api/acme/dashboard").Expect(t, http.StatusOK).Into(t, &after)
	for name, param := range map[string]string{
		"createNode": "{nodeId}", "createProject": "{projectId}", "createVersion": "{versionId}",
		"addImages": "{imageId}", "addDeployment": "{deploymentId}",
	} {
		if s := after.Onboarding[name]; !s.Done || *s.ResourceID != rows[param] {
			t.Errorf("%s: %+v, want %s", name, s, rows[param])
		}
	}
	if after.Onboarding["deploy"].Done {
		t.Error("deployed, though nothing was started")
	}
	if after.Users != 3 || after.Projects != 1 || after.Versions != 1 || after.Deployments != 1 || after.AuditLog <= before.AuditLog {
		t.Errorf("counts %+v", after)
	}
}

func TestAuditLogIsReadInPagesAndFiltered(t *testing.T) {
	k := newCast(t)
	owner := k.people[actor.Owner]
	k.rows(t)
	type page struct {
		Items []struct {
			ActorType, Context, Method, Name, Event string
			CreatedAt                               time.Time
			User                                    *struct{ ID, Email string }
			Data                                    map[string]any
		}
		Total int
	}
	read := func(query string) page {
		var p page
		owner.Get("/api/acme/audit-log?"+query).Expect(t, http.StatusOK).Into(t, &p)
		return p
	}
	all := read(allTimes + "&skip=0&take=100")
	if all.Total != len(all.Items) || all.Total < 6 {
		t.Fatalf("%d of %d rows", len(all.Items), all.Total)
	}
	first := all.Items[len(all.Items)-1]
	if first.Event != "team.create" || first.ActorType != "user" || first.Context != "http" || first.Method != strings.ToLower(http.MethodPost) ||
		first.User == nil || first.User.Email != "admin@example.com" || first.Data["slug"] != "acme" {
		t.Errorf("first row %+v", first)
	}
	second := read(allTimes + "&skip=1&take=1")
	if second.Total != all.Total || len(second.Items) != 1 || second.Items[0].Event != all.Items[1].Event {
		t.Errorf("second page %+v", second)
	}
	nodes := read(allTimes + "&skip=0&take=10&filter=NODE.")
	if nodes.Total != 1 || nodes.Items[0].Event != "node.create" {
		t.Errorf("filtered: %+v", nodes)
	}
	if wild := read(allTimes + "&skip=0&take=10&filter=%25"); wild.Total != 0 {
		t.Errorf("a percent sign finds %d rows", wild.Total)
	}
	if past := read("from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z&skip=0&take=10"); past.Total != 0 {
		t.Errorf("long ago: %d rows", past.Total)
	}
	problem(t, owner.Get("/api/acme/audit-log?skip=0&take=10"), http.StatusBadRequest)
	problem(t, owner.Get("/api/acme/audit-log?"+allTimes+"&skip=0&take=1001"), http.StatusBadRequest)
}
