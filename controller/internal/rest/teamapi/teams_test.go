package teamapi_test

import (
	"net/http"
	"testing"

	"fairlead.dev/controller/internal/actor"
)

// TestATeamsStatisticsCountWhatItHas compares them with what the lists show.
func TestATeamsStatisticsCountWhatItHas(t *testing.T) {
	k := newCast(t)
	x := k.newTenant(t, k.people[actor.Owner], "acme")
	for _, more := range []string{"second node", "third node", "fourth node"} {
		x.Post("/api/acme/nodes", object{"name": more}).Expect(t, http.StatusCreated)
	}
	x.Post("/api/acme/projects", object{"name": "plain", "type": "versionless"}).Expect(t, http.StatusCreated)

	type statistics struct{ Users, Projects, Nodes, Versions, Deployments int }
	type listed struct {
		Slug       string
		Statistics statistics
	}
	var projects []struct{ VersionCount int }
	var nodes, deployments []any
	var team struct {
		listed
		Users []struct{ Status string }
	}
	x.Get("/api/acme/projects").Into(t, &projects)
	x.Get("/api/acme/nodes").Into(t, &nodes)
	x.Get("/api/acme/deployments").Into(t, &deployments)
	x.Get("/api/teams/"+k.teamID).Expect(t, http.StatusOK).Into(t, &team)
	want := statistics{Projects: len(projects), Nodes: len(nodes), Deployments: len(deployments)}
	for _, p := range projects {
		want.Versions += p.VersionCount
	}
	for _, u := range team.Users {
		if u.Status == "verified" { // who is only invited is not in it yet
			want.Users++
		}
	}
	if team.Statistics != want || want.Nodes < 4 || want.Projects < 2 || want.Versions < 2 || want.Deployments < 1 || want.Users < 2 {
		t.Errorf("the team counts %+v, its lists %+v", team.Statistics, want)
	}
	var all []listed
	x.Get("/api/teams").Expect(t, http.StatusOK).Into(t, &all)
	if len(all) != 1 || all[0].Statistics != want {
		t.Errorf("the list of teams counts %+v, want %+v", all, want)
	}
	k.stranger.Get("/api/teams").Expect(t, http.StatusOK).Into(t, &all)
	if len(all) != 1 || all[0].Statistics != (statistics{Users: 1}) {
		t.Errorf("another team counts %+v, want nothing but its owner", all)
	}
}
