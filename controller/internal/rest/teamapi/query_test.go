package teamapi_test

import (
	"net/http"
	"strings"
	"testing"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/controllertest"
)

// TestUnknownQueryParametersAreRefused tries every route with a parameter that
// it does not have, beside all that it needs.
func TestUnknownQueryParametersAreRefused(t *testing.T) {
	k := newCast(t)
	x := k.newTenant(t, k.people[actor.Owner], "acme")
	for _, o := range operations(t, k.Controller) {
		t.Run(o.Method+" "+o.Path, func(t *testing.T) {
			path := o.at("acme", k.teamID, x.rows)
			joint := "?"
			if strings.Contains(path, "?") {
				joint = "&"
			}
			var body any
			if len(o.Security) > 0 {
				body = o.body(t)
			}
			r := x.Do(o.Method, path+joint+"container=keep", body)
			queryProblem(t, r, "container")
			for _, p := range o.Parameters {
				if p.In == "query" && !strings.Contains(r.String(t, "message"), p.Name) {
					t.Errorf("%s is not named as known: %s", p.Name, r.Body)
				}
			}
		})
	}
	x.unharmed(t)
}

// TestAQueryIsClear refuses what would be read in one of two ways.
func TestAQueryIsClear(t *testing.T) {
	k := newCast(t)
	x := k.newTenant(t, k.people[actor.Owner], "acme")
	deployment := "/api/acme/deployments/" + x.rows["{deploymentId}"]
	for query, property := range map[string]string{
		"containers=keep&containers=remove": "containers", // twice
		"containers=":                       "containers", // e.g. of a variable that is not set
		"Containers=keep":                   "Containers",
		"containers=kept":                   "containers",
		"a=1&containers=keep":               "a",
		"containers=keep;x=%zz":             "",
		strings.Repeat("x", 5000) + "=1":    strings.Repeat("x", 70) + "…",
	} {
		queryProblem(t, x.Delete(deployment+"?"+query), property)
	}
	var several struct{ Errors []struct{ Property string } }
	x.Get("/api/acme/deployments?b=1&a=2").Expect(t, http.StatusBadRequest).Into(t, &several)
	if len(several.Errors) != 2 || several.Errors[0].Property != "a" || several.Errors[1].Property != "b" {
		t.Errorf("of two that are unknown it is said %+v", several.Errors)
	}
	x.Get("/api/acme/nodes/"+x.rows["{nodeId}"]+"/audit?skip=0&take=1&from=2020-01-01T00:00:00Z&to=2030-01-01T00:00:00Z&filter=").
		Expect(t, http.StatusOK) // as forms send what nobody filled in
	x.unharmed(t)
	problem(t, k.Anonymous(t).Delete(deployment+"?container=keep"), http.StatusUnauthorized)
}

func queryProblem(t *testing.T, r controllertest.Reply, property string) {
	t.Helper()
	problem(t, r, http.StatusBadRequest)
	var said struct{ Property, Pointer string }
	r.Into(t, &said)
	if said.Property != property || said.Pointer != "" {
		t.Errorf("it names the property %q and the pointer %q, want %q and none: %s", said.Property, said.Pointer, property, r.Body)
	}
}
