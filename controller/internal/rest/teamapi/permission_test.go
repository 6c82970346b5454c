package teamapi_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/controllertest"
)

// operation is one endpoint as the OpenAPI document has it.
type operation struct {
	Method, Path string
	Security     []map[string][]string
	Permission   authz.Action `json:"x-permission"`
	RequestBody  *struct{ Required bool }
	Parameters   []parameter
	Responses    map[string]any
}

func operations(t *testing.T, c *controllertest.Controller) []operation {
	t.Helper()
	var document struct {
		OpenAPI string
		Paths   map[string]map[string]json.RawMessage
	}
	c.Anonymous(t).Get("/openapi.json").Expect(t, http.StatusOK).Into(t, &document)
	if !strings.HasPrefix(document.OpenAPI, "3.1") {
		t.Errorf("the document is OpenAPI %q, want 3.1", document.OpenAPI)
	}
	var list []operation
	for path, methods := range document.Paths {
		for method, raw := range methods {
			var o operation
			if err := json.Unmarshal(raw, &o); err != nil {
				t.Fatalf("%s %s: %v", method, path, err)
			}
			o.Method, o.Path = strings.ToUpper(method), path
			list = append(list, o)
		}
	}
	sort.Slice(list, func(i, j int) bool {
		return list[i].Path < list[j].Path || list[i].Path == list[j].Path && list[i].Method < list[j].Method
	})
	if len(list) < 40 {
		t.Fatalf("only %d operations in the document", len(list))
	}
	return list
}

// at fills in the path's parameters: the team's slug and id as given, the ids
// of rows that exist, or else ids that exist nowhere, names, and the query that
// lists need.
func (o operation) at(slug, teamID string, rows map[string]string) string {
	parts := strings.Split(o.Path, "/")
	for i, part := range parts {
		switch {
		case rows[part] != "":
			parts[i] = rows[part]
		case part == "{teamSlug}":
			parts[i] = slug
		case part == "{teamId}":
			parts[i] = teamID
		case strings.HasSuffix(part, "Id}"):
			parts[i] = uuid.NewString()
		case strings.HasPrefix(part, "{"):
			parts[i] = "some-name"
		}
	}
	return strings.Join(parts, "/") + "?skip=0&take=1&from=2020-01-01T00:00:00Z&to=2030-01-01T00:00:00Z"
}

// body is one that fits the operation's schema.
func (o operation) body(t *testing.T) any {
	t.Helper()
	if o.RequestBody == nil {
		return nil
	}
	named := func(more map[string]any) map[string]any {
		m := map[string]any{"name": "some-name"}
		for k, v := range more {
			m[k] = v
		}
		return m
	}
	id := uuid.NewString()
	bodies := map[string]any{
		"POST /api/teams":                                                                  named(map[string]any{"slug": "some-slug"}),
		"PUT /api/teams/{teamId}":                                                          map[string]any{"name": "Acme", "slug": "acme"},
		"POST /api/teams/{teamId}/users":                                                   map[string]any{"email": "some.body@example.com", "firstName": "Some"},
		"PUT /api/teams/{teamId}/users/{userId}/role":                                      map[string]any{"role": "admin"},
		"POST /api/{teamSlug}/notifications":                                               named(map[string]any{"type": "slack", "url": "https://127.0.0.1/x", "active": true, "enabledEvents": []string{"node-added"}}),
		"PUT /api/{teamSlug}/notifications/{notificationId}":                               named(map[string]any{"type": "slack", "url": "https://127.0.0.1/x", "active": true, "enabledEvents": []string{"node-added"}}),
		"POST /api/users/me/invitations/{teamId}":                                          map[string]any{},
		"POST /api/tokens":                                                                 named(map[string]any{"expirationInDays": 1}),
		"POST /api/{teamSlug}/nodes":                                                       named(nil),
		"PUT /api/{teamSlug}/nodes/{nodeId}":                                               named(nil),
		"POST /api/{teamSlug}/nodes/{nodeId}/script":                                       map[string]any{"type": "docker", "scriptType": "shell"},
		"POST /api/{teamSlug}/registries":                                                  named(map[string]any{"type": "unchecked", "details": map[string]any{"url": "example.com"}}),
		"PUT /api/{teamSlug}/registries/{registryId}":                                      named(map[string]any{"type": "unchecked", "details": map[string]any{"url": "example.com"}}),
		"POST /api/{teamSlug}/storages":                                                    named(map[string]any{"url": "s3.example.com"}),
		"PUT /api/{teamSlug}/storages/{storageId}":                                         named(map[string]any{"url": "s3.example.com"}),
		"POST /api/{teamSlug}/projects":                                                    named(map[string]any{"type": "versionless"}),
		"PUT /api/{teamSlug}/projects/{projectId}":                                         named(nil),
		"POST /api/{teamSlug}/projects/{projectId}/versions":                               named(map[string]any{"type": "rolling"}),
		"PUT /api/{teamSlug}/projects/{projectId}/versions/{versionId}":                    named(nil),
		"POST /api/{teamSlug}/projects/{projectId}/versions/{versionId}/images":            []any{map[string]any{"registryId": id, "images": []string{"a:1"}}},
		"PUT /api/{teamSlug}/projects/{projectId}/versions/{versionId}/images/order":       []string{id},
		"PATCH /api/{teamSlug}/projects/{projectId}/versions/{versionId}/images/{imageId}": map[string]any{"tag": "1"},
		"POST /api/{teamSlug}/oidc-trusts":                                                 named(map[string]any{"provider": "github", "deploymentId": id, "conditions": map[string]any{"repository_id": []string{"1"}}}),
		"POST /api/templates":                                                              named(map[string]any{"id": "gitea", "teamSlug": "acme", "type": "versionless"}),
		"POST /api/{teamSlug}/deployments":                                                 map[string]any{"versionId": id, "nodeId": id, "prefix": "some"},
		"POST /api/{teamSlug}/projects/{projectId}/versions/{versionId}/increase":          named(nil),
		"POST /api/{teamSlug}/deployments/{deploymentId}/copy":                             map[string]any{"nodeId": id, "prefix": "some"},
		"PUT /api/{teamSlug}/deployments/{deploymentId}/token":                             named(nil),
		"PATCH /api/{teamSlug}/deployments/{deploymentId}":                                 map[string]any{"note": "x"},
		"POST /api/{teamSlug}/deployments/{deploymentId}/start":                            map[string]any{},
		"PATCH /api/{teamSlug}/deployments/{deploymentId}/instances/{instanceId}":          map[string]any{"config": map[string]any{}},
	}
	body, known := bodies[o.Method+" "+o.Path]
	if !known {
		t.Fatalf("%s %s takes a body; give this test one that fits", o.Method, o.Path)
	}
	return body
}

// cast is a controller with a team and people of every kind.
type cast struct {
	*controllertest.Controller
	teamID string
	people map[actor.Role]*controllertest.Client
	// stranger has an account and another team.
	stranger *controllertest.Client
}

func newCast(t *testing.T) cast {
	t.Helper()
	c := controllertest.New(t)
	k := cast{Controller: c, people: map[actor.Role]*controllertest.Client{actor.Owner: c.Admin(t)}}
	k.teamID = k.people[actor.Owner].Post("/api/teams", map[string]any{"name": "Acme", "slug": "acme"}).Expect(t, http.StatusCreated).String(t, "id")
	db, err := pgx.Connect(t.Context(), c.DSN)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(t.Context()) })
	for _, role := range []actor.Role{actor.Admin, actor.Member} {
		k.people[role] = c.Register(t, string(role)+".role@example.com")
		_, err := db.Exec(t.Context(), `insert into team_members (team_id, user_id, role, joined_at)
			select $1, id, $2, now() from users where email = $3`, k.teamID, role, string(role)+".role@example.com")
		if err != nil {
			t.Fatal(err)
		}
	}
	k.stranger = c.Register(t, "stranger@example.com")
	k.stranger.Post("/api/teams", map[string]any{"name": "Others", "slug": "others"}).Expect(t, http.StatusCreated)
	return k
}

// endsTheCast tells whether the operation, when it succeeds, leaves nothing to
// try others with.
func (o operation) endsTheCast() bool {
	return o.Method == http.MethodDelete && (o.Path == "/api/teams/{teamId}" || o.Path == "/api/teams/{teamId}/users/leave")
}

// ends the caller's session, so it is tried last and with a session of its own.
const logout = "/api/auth/logout"

func TestEveryRouteAgainstEveryRoleAndTenant(t *testing.T) {
	k := newCast(t)
	for _, o := range operations(t, k.Controller) {
		if o.Path == logout {
			continue
		}
		t.Run(o.Method+" "+o.Path, func(t *testing.T) {
			public := len(o.Security) == 0
			if public != (o.Permission == "") {
				t.Fatalf("security %v but permission %q", o.Security, o.Permission)
			}
			if public {
				known := []string{"/api/health", "/api/auth/login", "/api/auth/register", "/api/{teamSlug}/deployments/{deploymentId}/token/exchange", "/api/{teamSlug}/nodes/{nodeId}/script"}
				if !slices.Contains(known, o.Path) {
					t.Fatal("asks for no log-in, and is not one of those that need none")
				}
				return
			}
			if !authz.Known(o.Permission) {
				t.Fatalf("its permission %q is in no table", o.Permission)
			}
			body := o.body(t)
			path := o.at("acme", k.teamID, nil)
			problem(t, k.Anonymous(t).Do(o.Method, path, body), http.StatusUnauthorized)
			problem(t, k.Anonymous(t).WithToken("garbage").Do(o.Method, path, body), http.StatusUnauthorized)
			inTeam := strings.Contains(o.Path, "{teamSlug}") || strings.HasPrefix(o.Path, "/api/teams/{teamId}")
			if !inTeam {
				return
			}
			problem(t, k.stranger.Do(o.Method, path, body), http.StatusNotFound)
			k := k
			if o.endsTheCast() {
				k = newCast(t)
				path = o.at("acme", k.teamID, nil)
			}
			for _, role := range []actor.Role{actor.Member, actor.Admin, actor.Owner} {
				got := k.people[role].Do(o.Method, path, body)
				if allowed := authz.Allowed(role, o.Permission); allowed == (got.Status == http.StatusForbidden) {
					t.Errorf("%s: status %d, and the table says allowed=%v: %s", role, got.Status, allowed, got.Body)
				}
				if got.Status >= http.StatusInternalServerError {
					t.Errorf("%s: status %d: %s", role, got.Status, got.Body)
				}
				// What it answers is documented.
				if o.Responses[strconv.Itoa(got.Status)] == nil {
					t.Errorf("%s: status %d is not in the document", role, got.Status)
				}
			}
		})
	}
}

// problem checks an error answer's status and shape.
func problem(t *testing.T, r controllertest.Reply, status int) {
	t.Helper()
	r.Expect(t, status)
	if got := r.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("content type %q", got)
	}
	p := r.Object(t)
	for _, key := range []string{"type", "title", "status", "detail", "message"} {
		if p[key] == nil || p[key] == "" {
			t.Errorf("the problem lacks %q: %s", key, r.Body)
		}
	}
}

// rows makes one of each noun in the team and returns their ids by parameter.
func (k cast) rows(t *testing.T) map[string]string {
	t.Helper()
	owner := k.people[actor.Owner]
	add := func(path string, body any) string {
		return owner.Post("/api/acme"+path, body).Expect(t, http.StatusCreated).String(t, "id")
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
	owner.Post("/api/acme/projects/"+rows["{projectId}"]+"/versions/"+rows["{versionId}"]+"/images",
		[]any{map[string]any{"registryId": rows["{registryId}"], "images": []string{"web:1"}}}).Expect(t, http.StatusCreated).Into(t, &images)
	rows["{imageId}"] = images[0].ID
	rows["{deploymentId}"] = add("/deployments", map[string]any{"versionId": rows["{versionId}"], "nodeId": rows["{nodeId}"], "prefix": "shop"})
	var detail struct{ Instances []struct{ ID string } }
	owner.Get("/api/acme/deployments/"+rows["{deploymentId}"]).Expect(t, http.StatusOK).Into(t, &detail)
	rows["{instanceId}"] = detail.Instances[0].ID
	return rows
}

func TestAnotherTeamsRowsLookLikeNone(t *testing.T) {
	k := newCast(t)
	rows := k.rows(t)
	for _, o := range operations(t, k.Controller) {
		named := slices.ContainsFunc(strings.Split(o.Path, "/"), func(part string) bool { return rows[part] != "" })
		if len(o.Security) == 0 || !named {
			continue
		}
		t.Run(o.Method+" "+o.Path, func(t *testing.T) {
			// The owner of another team asks for this team's rows inside their own.
			theirs := k.stranger.Do(o.Method, o.at("others", k.teamID, rows), o.body(t))
			none := k.stranger.Do(o.Method, o.at("others", k.teamID, nil), o.body(t))
			theirs.Expect(t, http.StatusNotFound)
			if none.Status != http.StatusNotFound || none.Object(t)["message"] != theirs.Object(t)["message"] {
				t.Errorf("a row of another team answers %s, one that is nowhere %s", theirs.Body, none.Body)
			}
		})
	}
	// Nothing of it changed anything.
	for param, path := range map[string]string{"{nodeId}": "/nodes/", "{registryId}": "/registries/", "{projectId}": "/projects/", "{deploymentId}": "/deployments/"} {
		k.people[actor.Owner].Get("/api/acme"+path+rows[param]).Expect(t, http.StatusOK)
	}
}
