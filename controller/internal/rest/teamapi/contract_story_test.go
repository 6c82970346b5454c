package teamapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/shared/workload/workloadtest"
)

// storyteller calls the documented endpoints one after the other, each with
// what the ones before it made.
type storyteller struct {
	*contract
	cast
	owner  *controllertest.Client
	values map[string]string
	db     *pgx.Conn
}

// tell calls an endpoint, expects the status, and checks the answer.
func (s *storyteller) tell(who *controllertest.Client, endpoint string, body any, status int) controllertest.Reply {
	s.t.Helper()
	d, known := s.inventory[endpoint]
	if !known {
		s.t.Fatalf("%s is not in the inventory", endpoint)
	}
	s.tried[endpoint] = true
	before := s.audited()
	r := who.Do(d.method(), d.at(s.values), body)
	if r.Status != status {
		s.t.Fatalf("%s: status %d, want %d: %s", endpoint, r.Status, status, r.Body)
	}
	s.check(endpoint, r)
	if d.method() != http.MethodGet && !changesNothing(endpoint) && s.audited() == before {
		s.t.Errorf("%s left nothing in the audit log", endpoint)
	}
	return r
}

// changesNothing names the documented endpoints that change nothing, whatever
// their method: one reads, one sends a message.
func changesNothing(endpoint string) bool {
	return endpoint == "POST /api/users/me" || endpoint == "POST /api/{teamSlug}/notifications/{notificationId}/test"
}

// audited is the number of the newest row of the audit log.
func (s *storyteller) audited() (newest int64) {
	s.t.Helper()
	if err := s.db.QueryRow(s.t.Context(), "select coalesce(max(id), 0) from audit_log").Scan(&newest); err != nil {
		s.t.Fatal(err)
	}
	return newest
}

// mustBeRedacted checks that no secret of the story is in the audit log or in
// the nodes' histories.
func (s *storyteller) mustBeRedacted(secrets ...string) {
	s.t.Helper()
	for _, secret := range secrets {
		var found int
		err := s.db.QueryRow(s.t.Context(), `select (select count(*) from audit_log a where strpos(a::text, $1) > 0)
			+ (select count(*) from node_events e where strpos(e::text, $1) > 0)`, secret).Scan(&found)
		if err != nil || found > 0 {
			s.t.Errorf("%d rows of the audit log show %q (%v)", found, secret, err)
		}
	}
}

// make is tell for what has an id, which is kept for the parameter.
func (s *storyteller) make(endpoint, parameter string, body any) {
	s.t.Helper()
	r := s.tell(s.owner, endpoint, body, http.StatusCreated)
	if r.Header.Get("Location") == "" {
		s.t.Errorf("%s: 201 without a Location", endpoint)
	}
	s.values[parameter] = r.String(s.t, "id")
}

// do is tell for what answers nothing, see for what is shown.
func (s *storyteller) do(endpoint string, body any) {
	s.t.Helper()
	s.tell(s.owner, endpoint, body, http.StatusNoContent)
}

func (s *storyteller) see(endpoint string) controllertest.Reply {
	s.t.Helper()
	return s.tell(s.owner, endpoint, nil, http.StatusOK)
}

// TestEveryDocumentedEndpointWorks goes through the whole documented API once,
// with a real agent behind it.
func TestEveryDocumentedEndpointWorks(t *testing.T) {
	k := newCast(t)
	s := &storyteller{
		contract: newContract(t, k.Controller), cast: k, owner: k.people[actor.Owner],
		values: map[string]string{"{teamSlug}": "acme", "{teamId}": k.teamID},
	}
	db, err := pgx.Connect(t.Context(), k.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(t.Context()) }()
	s.db = db
	s.peoplesPart()
	s.registriesPart()
	s.nodesPart()
	s.projectsPart()
	s.deploymentsPart()
	s.containersPart()
	s.viewsPart()
	s.endsPart()
	s.mustBeRedacted("registry-s3cret", "storage-s3cret", "open sesame", "hook-s3cret", s.owner.Token())
	for endpoint := range s.inventory {
		if !s.tried[endpoint] {
			t.Errorf("%s was not tried", endpoint)
		}
	}
}

func (s *storyteller) peoplesPart() {
	const people = "/api/teams/{teamId}/users"
	s.see("GET /api/health")
	s.see("GET /api/teams")
	first := s.values["{teamId}"]
	s.make("POST /api/teams", "{teamId}", object{"name": "Second", "slug": "second"})
	s.do("DELETE /api/teams/{teamId}", nil)
	s.values["{teamId}"] = first
	s.see("GET /api/teams/{teamId}")
	s.do("PUT /api/teams/{teamId}", object{"name": "Acme Ltd", "slug": "acme"})

	nell := s.Register(s.t, "nell@example.com")
	invite := func() {
		s.values["{userId}"] = s.tell(s.owner, "POST "+people,
			object{"email": "nell@example.com", "firstName": "Nell", "lastName": "New", "captcha": "x"}, 201).String(s.t, "id")
	}
	invite()
	s.do("POST "+people+"/{userId}/reinvite", nil)
	s.tell(nell, "POST /api/users/me", nil, 200)
	s.tell(nell, "DELETE /api/users/me/invitations/{teamId}", nil, 204)
	s.do("DELETE "+people+"/{userId}", nil)
	invite()
	s.tell(nell, "POST /api/users/me/invitations/{teamId}", nil, 204)
	s.do("PUT "+people+"/{userId}/role", object{"role": "admin"})
	s.tell(nell, "DELETE "+people+"/leave", nil, 204)

	s.make("POST /api/tokens", "{tokenId}", object{"name": "laptop", "expirationInDays": 30})
	s.see("GET /api/tokens")
	s.see("GET /api/tokens/{tokenId}")
}

func (s *storyteller) registriesPart() {
	const registries, storages = "/api/{teamSlug}/registries", "/api/{teamSlug}/storages"
	login := object{"imageNamePrefix": "acme", "user": "u", "token": "registry-s3cret"}
	with := func(key, value string) object {
		d := object{key: value}
		for k, v := range login {
			d[k] = v
		}
		return d
	}
	for kind, details := range map[string]object{
		"v2": {"url": "registry.example.com:5000"}, "hub": {"imageNamePrefix": "acme"}, "unchecked": {"url": "registry.example.org"},
		"gitlab": with("namespace", "group"), "github": with("namespace", "organization"), "google": with("url", "gcr.io"),
	} {
		s.make("POST "+registries, "{registryId}", object{"type": kind, "details": details, "name": "of type " + kind, "description": "images", "icon": "box"})
		s.see("GET " + registries + "/{registryId}")
		s.do("PUT "+registries+"/{registryId}", object{"type": kind, "details": details, "name": "Of type " + kind})
		s.do("DELETE "+registries+"/{registryId}", nil)
	}
	s.make("POST "+registries, "{registryId}", object{"type": "unchecked", "details": object{"url": "registry.example:5000"}, "name": "ours"})
	s.see("GET " + registries)

	s.make("POST "+storages, "{storageId}", object{"name": "files", "description": "d", "icon": "i", "url": "s3.example.com", "accessKey": "a", "secretKey": "storage-s3cret"})
	s.see("GET " + storages)
	s.see("GET " + storages + "/options")
	s.see("GET " + storages + "/{storageId}")
	s.do("PUT "+storages+"/{storageId}", object{"name": "Files", "url": "s3.example.com"})
	s.do("DELETE "+storages+"/{storageId}", nil)
}

func (s *storyteller) nodesPart() {
	const all, one = "/api/{teamSlug}/nodes", "/api/{teamSlug}/nodes/{nodeId}"
	s.make("POST "+all, "{nodeId}", object{"name": "one", "description": "d", "icon": "i"})
	s.do("PUT "+one, object{"name": "One", "description": "in the shop"})
	s.tell(s.owner, "POST "+one+"/script", object{
		"type": "docker", "scriptType": "shell", "rootPath": "/srv/agent", "dagentTraefik": object{"acmeEmail": "ann@example.org"},
	}, 201)
	s.see("GET " + one) // with its script
	s.tell(s.Anonymous(s.t), "GET "+one+"/script", nil, 200)
	s.do("DELETE "+one+"/script", nil)

	e := s.owner.Install(s.t, "acme", s.values["{nodeId}"])
	driver := workloadtest.NewFakeDriver(workloadtest.FakeOptions{})
	driver.AddForeign("neighbour")
	controllertest.StartUpdatable(s.t, s.t.TempDir(), "0.0.0-alpha", &e, driver)
	s.await("GET "+one, "connected")
	s.do("POST "+one+"/update", nil)
	s.await("GET "+one+"/audit", "updateCompleted")
	s.await("GET "+one, "connected")
	s.see("GET " + all)
}

// await sees an endpoint until its answer has a text.
func (s *storyteller) await(endpoint, text string) {
	s.t.Helper()
	d := s.inventory[endpoint]
	controllertest.Await(s.t, endpoint+" tells of "+text, func() (bool, string) {
		r := s.owner.Do(d.method(), d.at(s.values), nil)
		return strings.Contains(string(r.Body), `"`+text+`"`), string(r.Body)
	})
	s.see(endpoint)
}

func (s *storyteller) projectsPart() {
	const projects, project = "/api/{teamSlug}/projects", "/api/{teamSlug}/projects/{projectId}"
	const versions, version = project + "/versions", project + "/versions/{versionId}"
	const images, image = version + "/images", version + "/images/{imageId}"
	s.make("POST "+projects, "{projectId}", object{"type": "versionless", "name": "plain", "description": "d", "changelog": "c"})
	s.do("PUT "+project, object{"name": "Plain", "description": "", "changelog": "more"})
	s.do("POST "+project+"/convert", nil)
	s.do("DELETE "+project, nil)

	s.make("POST "+projects, "{projectId}", object{"type": "versioned", "name": "shop"})
	s.make("POST "+versions, "{versionId}", object{"type": "incremental", "name": "1.0.0", "changelog": "first"})
	s.make("POST "+version+"/increase", "{versionId}", object{"name": "1.1.0", "changelog": "next"})
	s.do("PUT "+version, object{"name": "1.1.1", "changelog": ""})
	s.do("DELETE "+version, nil)
	s.make("POST "+versions, "{versionId}", object{"type": "rolling", "name": "main"})
	s.do("PUT "+version+"/default", nil)
	for _, path := range []string{versions, project, projects} {
		s.see("GET " + path)
	}

	var made []struct{ ID string }
	s.tell(s.owner, "POST "+images, []object{{"registryId": s.values["{registryId}"], "images": []string{"web:1", "worker:1"}}}, 201).Into(s.t, &made)
	s.do("PUT "+images+"/order", []string{made[1].ID, made[0].ID})
	s.values["{imageId}"] = made[1].ID
	s.do("DELETE "+image, nil)
	s.values["{imageId}"] = made[0].ID
	var config object
	readJSON(s.t, "testdata/containerconfig.json", &config)
	delete(config, "storage") // names one that is not there
	s.do("PATCH "+image, object{"tag": "2", "config": config})
	s.see("GET " + image)
	s.see("GET " + images)
	for key := range config { // back to what every agent runs
		config[key] = nil
	}
	config["secrets"] = []object{{"key": "PASSWORD", "required": true}}
	s.do("PATCH "+image, object{"config": config})
}

func (s *storyteller) deploymentsPart() {
	const all, one = "/api/{teamSlug}/deployments", "/api/{teamSlug}/deployments/{deploymentId}"
	const instance = one + "/instances/{instanceId}"
	s.make("POST "+all, "{deploymentId}", object{"versionId": s.values["{versionId}"], "nodeId": s.values["{nodeId}"], "prefix": "shop", "note": "n"})
	s.do("PATCH "+one, object{"note": "live", "prefix": "shop", "environment": []object{{"key": "STAGE", "value": "live"}}})
	var detail struct{ Instances []struct{ ID string } }
	s.see("GET "+one).Into(s.t, &detail)
	s.values["{instanceId}"] = detail.Instances[0].ID
	s.do("PATCH "+instance, object{"config": object{"secrets": []object{{"key": "PASSWORD", "value": "open sesame"}}}})
	s.see("GET " + instance)
	s.see("GET " + instance + "/secrets")
	s.do("POST "+one+"/start", object{"instances": []string{s.values["{instanceId}"]}})
	s.await("GET "+one, "successful")
	s.see("GET " + one + "/log")
	s.see("GET /api/{teamSlug}/projects/{projectId}/versions/{versionId}") // with deployments
	s.tell(s.owner, "PUT "+one+"/token", object{"name": "main branch", "expirationInDays": 1}, 201)
	s.see("GET " + one) // with its token
	s.do("DELETE "+one+"/token", nil)
	original := s.values["{deploymentId}"]
	s.make("POST "+one+"/copy", "{deploymentId}", object{"nodeId": s.values["{nodeId}"], "prefix": "copy", "note": "a copy"})
	s.see("GET " + all)
	s.do("DELETE "+one, nil)
	s.values["{deploymentId}"] = original
}

func (s *storyteller) containersPart() {
	const node = "/api/{teamSlug}/nodes/{nodeId}"
	const own, byEngineName = node + "/{prefix}/containers/{name}", node + "/containers/{name}"
	s.values["{prefix}"] = "shop"
	s.await("GET "+node+"/containers", "web")
	for _, act := range []string{"stop", "start", "restart"} {
		s.values["{name}"] = "web"
		s.do("POST "+own+"/"+act, nil)
		s.values["{name}"] = "shop-web"
		s.do("POST "+byEngineName+"/"+act, nil)
	}
	again := func() {
		s.owner.Post("/api/acme/deployments/"+s.values["{deploymentId}"]+"/start?wait=5m", nil).Expect(s.t, 200)
		s.await("GET "+node+"/containers", "web")
	}
	s.do("DELETE "+byEngineName, nil)
	again()
	s.values["{name}"] = "web"
	s.do("DELETE "+own, nil)
	again()
	s.do("DELETE "+node+"/{prefix}/containers", nil)
}

func (s *storyteller) viewsPart() {
	const all, one = "/api/{teamSlug}/notifications", "/api/{teamSlug}/notifications/{notificationId}"
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	s.t.Cleanup(receiver.Close)
	for _, kind := range []string{"discord", "slack", "teams", "rocket", "mattermost"} {
		draft := object{"name": kind, "type": kind, "url": receiver.URL + "/hook-s3cret", "active": true, "enabledEvents": []string{"deployment-created", "version-created", "node-added", "user-invited"}}
		s.make("POST "+all, "{notificationId}", draft)
		s.see("GET " + one)
		draft["active"] = false
		s.tell(s.owner, "PUT "+one, draft, 200)
		s.do("POST "+one+"/test", nil)
	}
	s.see("GET " + all)
	s.do("DELETE "+one, nil)

	var templates []struct{ ID string }
	s.see("GET /api/templates").Into(s.t, &templates)
	s.values["{templateId}"] = templates[0].ID
	s.see("GET /api/templates/{templateId}/image")
	s.tell(s.owner, "POST /api/templates", object{"type": "versionless", "id": "wordpress", "teamSlug": "acme", "name": "Blog", "description": "d"}, 201)
	s.see("GET /api/{teamSlug}/audit-log")
	s.see("GET /api/{teamSlug}/dashboard")
}

func (s *storyteller) endsPart() {
	const node = "/api/{teamSlug}/nodes/{nodeId}"
	s.do("DELETE /api/{teamSlug}/deployments/{deploymentId}", nil)
	controllertest.Await(s.t, "the node runs nothing", func() (bool, string) {
		r := s.owner.Get("/api/acme/nodes/" + s.values["{nodeId}"])
		return r.Object(s.t)["inUse"] == false, string(r.Body)
	})
	s.do("DELETE "+node+"/token", nil)
	s.do("DELETE "+node, nil)
}
