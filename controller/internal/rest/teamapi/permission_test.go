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
		case strings.HasSuffix(part, "Number}"):
			parts[i] = "1"
		case strings.HasPrefix(part, "{"):
			parts[i] = "some-name"
		}
	}
	var query []string
	for _, p := range o.Parameters {
		if value := map[string]string{"skip": "0", "take": "1", "from": "2020-01-01T00:00:00Z", "to": "2030-01-01T00:00:00Z"}[p.Name]; p.In == "query" && value != "" {
			query = append(query, p.Name+"="+value)
		}
	}
	path := strings.Join(parts, "/")
	if len(query) > 0 {
		path += "?" + strings.Join(query, "&")
	}
	return path
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
		"POST /api/{teamSlug}/nodes/{nodeId}/update":                                       map[string]any{},
		"POST /api/{teamSlug}/rollouts":                                                    map[string]any{},
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
		"POST /api/{teamSlug}/compose":                                                     map[string]any{"compose": "services: {web: {image: nginx}}", "name": "some-name", "dryRun": true},
		"POST /api/{teamSlug}/deployments":                                                 map[string]any{"versionId": id, "nodeId": id, "prefix": "some"},
		"POST /api/{teamSlug}/projects/{projectId}/versions/{versionId}/increase":          named(nil),
		"POST /api/{teamSlug}/deployments/{deploymentId}/copy":                             map[string]any{"nodeId": id, "prefix": "some"},
		"POST /api/{teamSlug}/deployments/{deploymentId}/plan":                             map[string]any{},
		"PUT /api/{teamSlug}/deployments/{deploymentId}/token":                             named(nil),
		"PUT /api/{teamSlug}/deployments/{deploymentId}/releases/{releaseNumber}/hold":     map[string]any{"reason": "it leaks"},
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
	for _, role := range []actor.Role{actor.Admin, actor.Member} {
		k.people[role] = c.Register(t, string(role)+".role@example.com")
		k.execute(t, `insert into team_members (team_id, user_id, role, joined_at)
			select $1, id, $2, now() from users where email = $3`, k.teamID, role, string(role)+".role@example.com")
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

// caller is somebody who asks.
type caller struct {
	name   string
	client *controllertest.Client
	// role in the team asked about; empty for whoever is not in it.
	role actor.Role
	// deployment is the one that a deploy token is for.
	deployment string
	// nobody: what is presented stands for nobody (any more).
	nobody bool
}

// callers are one of every kind there is. Those who may do the most come last,
// since they may end what others are tried with.
func (k cast) callers(t *testing.T) []caller {
	t.Helper()
	owner, admin := k.people[actor.Owner], k.people[actor.Admin]
	personal := func(name string) *controllertest.Client {
		made := admin.Post("/api/tokens", object{"name": name, "expirationInDays": 1}).Expect(t, http.StatusCreated)
		return admin.WithToken(made.String(t, "token"))
	}
	expired, revoked := personal("expired"), personal("revoked")
	k.execute(t, "update access_tokens set expires_at = now() - interval '1 second' where name = 'expired'")
	var tokens []struct{ ID, Name string }
	admin.Get("/api/tokens").Expect(t, http.StatusOK).Into(t, &tokens)
	for _, token := range tokens {
		if token.Name == "revoked" {
			revoked.Get("/api/teams").Expect(t, http.StatusOK) // was good
			admin.Delete("/api/tokens/"+token.ID).Expect(t, http.StatusNoContent)
		}
	}
	deployment := k.deployments(t, 3)
	pipeline := func(id, name string) *controllertest.Client {
		made := owner.Put("/api/acme/deployments/"+id+"/token", object{"name": name, "expirationInDays": 1}).Expect(t, http.StatusCreated)
		return owner.WithToken(made.String(t, "token"))
	}
	deploys := pipeline(deployment[0], "good")
	deploysNoMore, deployed := pipeline(deployment[1], "expired"), pipeline(deployment[2], "revoked")
	k.execute(t, "update deployment_tokens set expires_at = now() - interval '1 second' where name = 'expired'")
	deployed.Get("/api/acme/deployments/"+deployment[2]).Expect(t, http.StatusOK) // was good
	owner.Delete("/api/acme/deployments/"+deployment[2]+"/token").Expect(t, http.StatusNoContent)
	return []caller{
		{name: "anonymous", client: k.Anonymous(t), nobody: true},
		{name: "garbage for a token", client: k.Anonymous(t).WithToken("garbage"), nobody: true},
		{name: "expired token", client: expired, nobody: true},
		{name: "revoked token", client: revoked, nobody: true},
		{name: "expired deploy token", client: deploysNoMore, nobody: true},
		{name: "revoked deploy token", client: deployed, nobody: true},
		{name: "deploy token", client: deploys, deployment: deployment[0]},
		{name: "owner of another team", client: k.stranger},
		{name: "user", client: k.people[actor.Member], role: actor.Member},
		{name: "admin", client: personal("good"), role: actor.Admin},
		{name: "owner", client: owner, role: actor.Owner},
	}
}

// deployments makes deployments of a rolling version and returns their ids.
func (k cast) deployments(t *testing.T, count int) []string {
	t.Helper()
	owner := k.people[actor.Owner]
	add := func(path string, body any) string {
		return owner.Post("/api/acme"+path, body).Expect(t, http.StatusCreated).String(t, "id")
	}
	node, project := add("/nodes", object{"name": "tried"}), add("/projects", object{"name": "tried", "type": "versioned"})
	registry := add("/registries", object{"name": "tried", "type": "unchecked", "details": object{"url": "example.org"}})
	version := add("/projects/"+project+"/versions", object{"name": "main", "type": "rolling"})
	owner.Post("/api/acme/projects/"+project+"/versions/"+version+"/images",
		[]object{{"registryId": registry, "images": []string{"web:1"}}}).Expect(t, http.StatusCreated)
	ids := make([]string, count)
	for i := range ids {
		ids[i] = add("/deployments", object{"versionId": version, "nodeId": node, "prefix": "tried-" + strconv.Itoa(i)})
	}
	return ids
}

// execute changes the controller's database behind its back.
func (k cast) execute(t testing.TB, statement string, args ...any) {
	t.Helper()
	db, err := pgx.Connect(t.Context(), k.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(t.Context()) }()
	if _, err := db.Exec(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

// verdict is what the table says to a caller: a status that refuses, or 0 when
// the caller is let in.
func (o operation) verdict(c caller) int {
	// A template is used in the team that the body names, and adds a registry.
	template := o.Permission == authz.TemplateUse
	inTeam := strings.Contains(o.Path, "{teamSlug}") || template
	byID := strings.HasPrefix(o.Path, "/api/teams/{teamId}")
	switch {
	case c.nobody:
		return http.StatusUnauthorized
	case c.deployment != "" && byID:
		return http.StatusNotFound // it is in no team's list of people
	case c.deployment != "":
		if strings.Contains(o.Path, "{deploymentId}") && authz.ForDeployToken(o.Permission) {
			return 0
		}
		return http.StatusForbidden
	case !inTeam && !byID:
		return 0
	case c.role == "":
		return http.StatusNotFound
	case template && authz.Allowed(c.role, authz.RegistryCreate):
		return 0
	case !authz.Allowed(c.role, o.Permission):
		return http.StatusForbidden
	}
	return 0
}

// needsNoLogin names the routes that are for everybody.
func needsNoLogin(path string) bool {
	return slices.Contains([]string{
		"/api/health", "/api/auth/login", "/api/auth/register",
		"/api/{teamSlug}/deployments/{deploymentId}/token/exchange", // the identity token is the right
		"/api/{teamSlug}/nodes/{nodeId}/script",                     // fetched by the machine that is to be a node
	}, path)
}

func TestEveryRouteAgainstEveryCaller(t *testing.T) {
	k := newCast(t)
	callers := k.callers(t)
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
				if !needsNoLogin(o.Path) {
					t.Fatal("asks for no log-in, and is not one of those that need none")
				}
				return
			}
			if !authz.Known(o.Permission) {
				t.Fatalf("its permission %q is in no table", o.Permission)
			}
			k, callers := k, callers
			if o.endsTheCast() {
				k = newCast(t)
				callers = k.callers(t)
			}
			body := o.body(t)
			for _, c := range callers {
				rows := map[string]string{}
				if c.deployment != "" {
					rows["{deploymentId}"] = c.deployment
				}
				o.try(t, c, o.at("acme", k.teamID, rows), body)
			}
		})
	}
}

// try sends the request of a caller and holds the answer to the table.
func (o operation) try(t *testing.T, c caller, path string, body any) {
	t.Helper()
	got := c.client.Do(o.Method, path, body)
	want := o.verdict(c)
	refused := got.Status == http.StatusUnauthorized || got.Status == http.StatusForbidden
	switch {
	case want != 0 && got.Status != want, want == 0 && refused:
		t.Errorf("%s: status %d, and the table says %d (0 is let in): %s", c.name, got.Status, want, got.Body)
	case got.Status >= http.StatusInternalServerError:
		t.Errorf("%s: status %d: %s", c.name, got.Status, got.Body)
	case o.Responses[strconv.Itoa(got.Status)] == nil:
		t.Errorf("%s: status %d is not in the document", c.name, got.Status)
	}
	if want != 0 {
		problem(t, got, want)
	}
}

func TestDeployTokensReachNoOtherDeployment(t *testing.T) {
	k := newCast(t)
	ids := k.deployments(t, 2)
	owner := k.people[actor.Owner]
	pipeline := owner.WithToken(owner.Put("/api/acme/deployments/"+ids[0]+"/token", object{"name": "main"}).
		Expect(t, http.StatusCreated).String(t, "token"))
	for _, o := range operations(t, k.Controller) {
		if !strings.Contains(o.Path, "{deploymentId}") || len(o.Security) == 0 {
			continue
		}
		// One that is there and one that is nowhere.
		for _, id := range []string{ids[1], uuid.NewString()} {
			path := o.at("acme", k.teamID, map[string]string{"{deploymentId}": id})
			if got := pipeline.Do(o.Method, path, o.body(t)); got.Status != http.StatusForbidden {
				t.Errorf("%s %s: status %d, want 403: %s", o.Method, o.Path, got.Status, got.Body)
			}
		}
	}
}

func TestLogoutEndsTheSessionItComesWith(t *testing.T) {
	k := newCast(t)
	for _, c := range k.callers(t) {
		switch {
		case c.nobody:
			problem(t, c.client.Post(logout, nil), http.StatusUnauthorized)
		case c.deployment != "":
			problem(t, c.client.Post(logout, nil), http.StatusForbidden)
		default:
			c.client.Get("/api/teams").Expect(t, http.StatusOK)
			c.client.Post(logout, nil).Expect(t, http.StatusNoContent)
			problem(t, c.client.Get("/api/teams"), http.StatusUnauthorized)
		}
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
