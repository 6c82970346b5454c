package teamapi_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/controllertest"
)

// rows makes one of each noun in the team and returns their ids by parameter.
func (k cast) rows(t *testing.T) map[string]string {
	t.Helper()
	return rowsIn(t, k.people[actor.Owner], "acme")
}

// rowsIn is rows for the team with this slug.
func rowsIn(t testing.TB, owner *controllertest.Client, slug string) map[string]string {
	t.Helper()
	add := func(path string, body any) string {
		return owner.Post("/api/"+slug+path, body).Expect(t, http.StatusCreated).String(t, "id")
	}
	rows := map[string]string{
		"{nodeId}":         add("/nodes", map[string]any{"name": "one"}),
		"{registryId}":     add("/registries", map[string]any{"name": "own", "type": "unchecked", "details": map[string]any{"url": "example.com"}}),
		"{storageId}":      add("/storages", map[string]any{"name": "files", "url": "s3.example.com"}),
		"{notificationId}": add("/notifications", map[string]any{"name": "chat", "type": "slack", "url": "https://127.0.0.1/x", "active": true, "enabledEvents": []string{"version-created"}}),
		"{projectId}":      add("/projects", map[string]any{"name": "shop", "type": "versioned"}),
	}
	rows["{versionId}"] = add("/projects/"+rows["{projectId}"]+"/versions", map[string]any{"name": "1.0", "type": "rolling"})
	var images []struct{ ID string }
	owner.Post("/api/"+slug+"/projects/"+rows["{projectId}"]+"/versions/"+rows["{versionId}"]+"/images",
		[]any{map[string]any{"registryId": rows["{registryId}"], "images": []string{"web:1"}}}).Expect(t, http.StatusCreated).Into(t, &images)
	rows["{imageId}"] = images[0].ID
	rows["{deploymentId}"] = add("/deployments", map[string]any{"versionId": rows["{versionId}"], "nodeId": rows["{nodeId}"], "prefix": "shop"})
	var detail struct{ Instances []struct{ ID string } }
	owner.Get("/api/"+slug+"/deployments/"+rows["{deploymentId}"]).Expect(t, http.StatusOK).Into(t, &detail)
	rows["{instanceId}"] = detail.Instances[0].ID
	return rows
}

// tenant is an owner and one of everything of their team's, by parameter.
type tenant struct {
	*controllertest.Client
	rows map[string]string
}

// newTenant fills a team with one of everything that has an id.
func (k cast) newTenant(t testing.TB, owner *controllertest.Client, slug string) tenant {
	t.Helper()
	rows := rowsIn(t, owner, slug)
	rows["{teamSlug}"] = slug
	var teams []struct{ ID, Slug string }
	owner.Get("/api/teams").Expect(t, http.StatusOK).Into(t, &teams)
	for _, team := range teams {
		if team.Slug == slug {
			rows["{teamId}"] = team.ID
		}
	}
	rows["{trustId}"] = owner.Post("/api/"+slug+"/oidc-trusts", object{
		"name": "main", "provider": "github", "deploymentId": rows["{deploymentId}"], "conditions": object{"repository_id": []string{"1"}},
	}).Expect(t, http.StatusCreated).String(t, "id")
	// Nobody is at its URL; that it was tried is in its log.
	notification := "/api/" + slug + "/notifications/" + rows["{notificationId}"]
	owner.Post(notification+"/test", nil).Expect(t, http.StatusBadRequest)
	var log struct{ Items []struct{ ID string } }
	owner.Get(notification+"/deliveries?skip=0&take=1").Expect(t, http.StatusOK).Into(t, &log)
	rows["{deliveryId}"] = log.Items[0].ID
	rows["{tokenId}"] = owner.Post("/api/tokens", object{"name": "of " + slug, "expirationInDays": 1}).Expect(t, http.StatusCreated).String(t, "id")
	rows["{userId}"] = owner.Post("/api/teams/"+rows["{teamId}"]+"/users", object{"email": "friend@" + slug + ".example.com", "firstName": "Some"}).
		Expect(t, http.StatusCreated).String(t, "id")
	// No agents are there to be replaced, so that one can't be made by a request.
	rows["{rolloutId}"] = uuid.NewString()
	k.execute(t, `insert into rollouts (id, team_id, to_version, state, waves, created_at, created_by)
		values ($1, $2, 'v', 'running', 1, now(), 'x')`, rows["{rolloutId}"], rows["{teamId}"])
	return tenant{owner, rows}
}

// nowhere is a row that no team has: an id, or a team's slug.
func nowhere(parameter string) string {
	if parameter == "{teamSlug}" {
		return "nowhere-at-all"
	}
	return uuid.NewString()
}

// isRow tells whether a part of a path stands for something of a team's or a
// person's. Templates are everybody's, names are looked for on one node.
func isRow(part string) bool {
	return part == "{teamSlug}" || strings.HasSuffix(part, "Id}") && part != "{templateId}"
}

// TestAnotherTeamsIDsAnswerLikeNone replaces each id of each route by one of
// another team's and by one that is nowhere: nobody can tell the two apart.
func TestAnotherTeamsIDsAnswerLikeNone(t *testing.T) {
	k := newCast(t)
	theirs := k.newTenant(t, k.people[actor.Owner], "acme")
	mine := k.newTenant(t, k.stranger, "others")
	for _, o := range operations(t, k.Controller) {
		if len(o.Security) == 0 {
			continue
		}
		parts := strings.Split(o.Path, "/")
		for n, part := range parts {
			if !isRow(part) {
				continue
			}
			t.Run(o.Method+" "+o.Path+" "+part, func(t *testing.T) {
				there, none := map[string]string{}, map[string]string{}
				for m, other := range parts {
					switch {
					case !isRow(other):
					case m < n:
						there[other], none[other] = mine.row(t, other), mine.row(t, other)
					default:
						there[other], none[other] = theirs.row(t, other), nowhere(other)
					}
				}
				got := mine.Do(o.Method, o.at("", "", there), o.body(t)).Expect(t, http.StatusNotFound)
				want := mine.Do(o.Method, o.at("", "", none), o.body(t)).Expect(t, http.StatusNotFound)
				sameButForIDs(t, got, there, want, none)
			})
		}
	}
	theirs.unharmed(t)
}

// row is the tenant's own for a parameter.
func (x tenant) row(t *testing.T, parameter string) string {
	t.Helper()
	if x.rows[parameter] == "" {
		t.Fatalf("give this test something for %s", parameter)
	}
	return x.rows[parameter]
}

// unharmed checks that everything is still there.
func (x tenant) unharmed(t *testing.T) {
	t.Helper()
	slug := "/api/" + x.rows["{teamSlug}"]
	version := slug + "/projects/" + x.rows["{projectId}"] + "/versions/" + x.rows["{versionId}"]
	for _, path := range []string{
		slug + "/nodes/" + x.rows["{nodeId}"], slug + "/registries/" + x.rows["{registryId}"], slug + "/storages/" + x.rows["{storageId}"],
		slug + "/notifications/" + x.rows["{notificationId}"], version, version + "/images/" + x.rows["{imageId}"],
		slug + "/deployments/" + x.rows["{deploymentId}"], slug + "/deployments/" + x.rows["{deploymentId}"] + "/instances/" + x.rows["{instanceId}"],
		"/api/tokens/" + x.rows["{tokenId}"], "/api/teams/" + x.rows["{teamId}"],
	} {
		x.Get(path).Expect(t, http.StatusOK)
	}
}

// sameButForIDs checks that two answers differ in nothing but what was asked
// for and when.
func sameButForIDs(t *testing.T, got controllertest.Reply, asked map[string]string, want controllertest.Reply, wanted map[string]string) {
	t.Helper()
	plain := func(r controllertest.Reply, rows map[string]string) (string, []string) {
		body := string(r.Body)
		for parameter, id := range rows {
			body = strings.ReplaceAll(body, id, parameter)
		}
		names := []string{}
		for name := range r.Header {
			names = append(names, name)
		}
		slices.Sort(names)
		return body, names
	}
	gotBody, gotHeaders := plain(got, asked)
	wantBody, wantHeaders := plain(want, wanted)
	if got.Status != want.Status || gotBody != wantBody || !slices.Equal(gotHeaders, wantHeaders) {
		t.Errorf("what is another team's answers\n%d %v %s\nwhat is nowhere\n%d %v %s",
			got.Status, gotHeaders, got.Body, want.Status, wantHeaders, want.Body)
	}
}

// TestAnotherTeamsIDsInBodiesAnswerLikeNone is the same for ids in bodies.
func TestAnotherTeamsIDsInBodiesAnswerLikeNone(t *testing.T) {
	k := newCast(t)
	theirs := k.newTenant(t, k.people[actor.Owner], "acme")
	mine := k.newTenant(t, k.stranger, "others")
	const version, one = "/api/{teamSlug}/projects/{projectId}/versions/{versionId}", "/api/{teamSlug}/deployments/{deploymentId}"
	stored := object{"config": object{"storage": object{"storageId": "{storageId}", "bucket": "b", "path": "/p"}}}
	for endpoint, bodies := range map[string][]any{
		"POST " + version + "/images":              {[]object{{"registryId": "{registryId}", "images": []string{"web:1"}}}},
		"PUT " + version + "/images/order":         {[]string{"{imageId}"}},
		"PATCH " + version + "/images/{imageId}":   {stored},
		"POST /api/{teamSlug}/deployments":         {object{"versionId": "{versionId}", "nodeId": "mine {nodeId}", "prefix": "p"}, object{"versionId": "mine {versionId}", "nodeId": "{nodeId}", "prefix": "p"}},
		"POST " + one + "/copy":                    {object{"nodeId": "{nodeId}", "prefix": "p"}},
		"PATCH " + one + "/instances/{instanceId}": {stored},
		"POST " + one + "/start":                   {object{"instances": []string{"{instanceId}"}}},
		"POST /api/{teamSlug}/oidc-trusts":         {object{"name": "trust", "provider": "github", "deploymentId": "{deploymentId}", "conditions": object{"repository_id": []string{"1"}}}},
		"POST /api/templates":                      {object{"type": "versionless", "id": "gitea", "teamSlug": "{teamSlug}", "name": "Blog"}},
	} {
		for _, body := range bodies {
			encoded, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			t.Run(endpoint+" "+string(encoded), func(t *testing.T) {
				method, path, _ := strings.Cut(endpoint, " ")
				o := operation{Method: method, Path: path}
				there, none := map[string]string{}, map[string]string{}
				theirText, noText := string(encoded), string(encoded)
				for parameter, id := range mine.rows {
					theirText = strings.ReplaceAll(theirText, "mine "+parameter, id)
					noText = strings.ReplaceAll(noText, "mine "+parameter, id)
				}
				for parameter, id := range theirs.rows {
					there[parameter], none[parameter] = id, nowhere(parameter)
					theirText = strings.ReplaceAll(theirText, parameter, id)
					noText = strings.ReplaceAll(noText, parameter, none[parameter])
				}
				if theirText == noText {
					t.Fatal("no id of the other team's in it")
				}
				got := mine.Do(o.Method, o.at("", "", mine.rows), theirText)
				want := mine.Do(o.Method, o.at("", "", mine.rows), noText)
				if got.Status < http.StatusBadRequest {
					t.Errorf("status %d: %s", got.Status, got.Body)
				}
				sameButForIDs(t, got, there, want, none)
			})
		}
	}
	theirs.unharmed(t)
}
