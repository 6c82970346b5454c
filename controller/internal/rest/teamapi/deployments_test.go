package teamapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/agentrpc"
	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/deploytoken"
	"fairlead.dev/controller/internal/image"
	"fairlead.dev/controller/internal/keys"
	"fairlead.dev/controller/internal/node"
	"fairlead.dev/controller/internal/postgres/pgtest"
	"fairlead.dev/controller/internal/project"
	"fairlead.dev/controller/internal/registry"
	"fairlead.dev/controller/internal/rest/teamapi"
	"fairlead.dev/controller/internal/storage"
	"fairlead.dev/controller/internal/team"
	"fairlead.dev/controller/internal/teamtest"
	"fairlead.dev/controller/internal/token"
	"fairlead.dev/controller/internal/user"
	"fairlead.dev/controller/internal/version"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// shop is a team with a node and a rolling version of one image, behind the
// real API.
type shop struct {
	t           *testing.T
	server      *httptest.Server
	token       string
	slug        string
	deployments *deployment.Service
	node        uuid.UUID
	version     uuid.UUID
	// bare is a version without images.
	bare uuid.UUID
}

// object is a JSON object.
type object = map[string]any

func newShop(t *testing.T) *shop {
	t.Helper()
	now := func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
	db := pgtest.New(t)
	ring, err := keys.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	auditLog := audit.New(db, now)
	issuer := token.NewIssuer(db, ring.Token, "http://localhost", now)
	registries := registry.New(db, ring.Vault, auditLog, now)
	lost := func(_ context.Context, ids []uuid.UUID) (map[uuid.UUID]deployment.LivenessInfo, error) {
		return map[uuid.UUID]deployment.LivenessInfo{ids[0]: {Status: "lost", Since: now()}}, nil
	}
	deps := teamapi.Deps{
		Log: log, Now: now,
		Users:  user.New(user.Config{Store: db, Tokens: db, Issuer: issuer, Hasher: user.NewArgon2(1), Audit: auditLog, Now: now}),
		Tokens: token.NewService(db, issuer, auditLog),
		Teams:  team.New(team.Config{Store: db, Audit: auditLog, Now: now}),
		Nodes:  node.New(node.Config{Store: db, Audit: auditLog, Now: now}),
		Deployments: deployment.New(deployment.Config{
			Store: db, Audit: auditLog, Logger: log, Now: now,
			Reference: registries.PullReference, Credentials: registries.Credentials, Liveness: lost,
			Removal: agentrpc.RemovalOf,
		}),
		DeployTokens: deploytoken.New(db, issuer, auditLog, now),
		Registries:   registries,
		Storages:     storage.New(db, ring.Vault, auditLog, now),
		Projects:     project.New(db, auditLog, now),
		Versions:     version.New(db, auditLog, lost, now),
		Images:       image.New(db, auditLog, now),
	}
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	teamapi.Mount(engine, deps)
	s := &shop{t: t, server: httptest.NewServer(engine), deployments: deps.Deployments}
	t.Cleanup(s.server.Close)

	ctx := teamtest.New(t, db)
	owner, err := actor.From(ctx)
	if err != nil {
		t.Fatal(err)
	}
	scope, err := actor.TeamFrom(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s.slug = scope.Slug
	if _, s.token, err = issuer.Issue(t.Context(), owner.ID, token.Personal, "test", 0); err != nil {
		t.Fatal(err)
	}

	r, err := registries.Create(ctx, registry.Write{Name: "Here", Details: registry.Details{Type: registry.V2, URL: "registry.example"}})
	if err != nil {
		t.Fatal(err)
	}
	s.node = s.make("/nodes", object{"name": "node"})
	projectID := s.make("/projects", object{"type": "versioned", "name": "shop"})
	versions := "/projects/" + projectID.String() + "/versions"
	s.bare = s.make(versions, object{"type": "rolling", "name": "bare"})
	s.version = s.make(versions, object{"type": "rolling", "name": "full"})
	status, _, body := s.call(http.MethodPost, versions+"/"+s.version.String()+"/images",
		[]object{{"registryId": r.ID, "images": []string{"acme/web:1.0"}}})
	if status != http.StatusCreated {
		t.Fatalf("add the image: %d %s", status, body)
	}
	return s
}

// call sends a request below the team's path.
func (s *shop) call(method, path string, document any) (int, http.Header, []byte) {
	s.t.Helper()
	var body io.Reader
	if document != nil {
		text, err := json.Marshal(document)
		if err != nil {
			s.t.Fatal(err)
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.server.URL+"/api/"+s.slug+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := s.server.Client().Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, response.Header, answer
}

// want sends a request, checks the status, and returns the body.
func (s *shop) want(status int, method, path string, document any) object {
	s.t.Helper()
	got, _, body := s.call(method, path, document)
	if got != status {
		s.t.Fatalf("%s %s: got %d %s, want %d", method, path, got, body, status)
	}
	var answer object
	if len(body) > 0 {
		if err := json.Unmarshal(body, &answer); err != nil {
			s.t.Fatalf("%s %s: %v in %s", method, path, err, body)
		}
	}
	return answer
}

// make posts a document and returns the id of what was made.
func (s *shop) make(path string, document any) uuid.UUID {
	s.t.Helper()
	made := s.want(http.StatusCreated, http.MethodPost, path, document)
	id, err := uuid.Parse(made["id"].(string))
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

// deploy makes a deployment and returns its path and that of its instance.
func (s *shop) deploy(prefix string) (path, instance string) {
	s.t.Helper()
	path = "/deployments/" + s.make("/deployments", object{"versionId": s.version, "nodeId": s.node, "prefix": prefix}).String()
	detail := s.want(http.StatusOK, http.MethodGet, path, nil)
	first := detail["instances"].([]any)[0].(object)
	return path, path + "/instances/" + first["id"].(string)
}

func wantKeys(t *testing.T, what string, document object, keys ...string) {
	t.Helper()
	got := slices.Sorted(maps.Keys(document))
	slices.Sort(keys)
	if !slices.Equal(got, keys) {
		t.Errorf("%s has the keys %v, want %v", what, got, keys)
	}
}

func TestDeploymentsHaveTheirDocumentedShape(t *testing.T) {
	s := newShop(t)
	listed := []string{"status", "note", "audit", "project", "version", "node", "id", "prefix"}
	status, header, body := s.call(http.MethodPost, "/deployments",
		object{"versionId": s.version, "nodeId": s.node, "prefix": "shop", "note": "hi"})
	var made object
	if err := json.Unmarshal(body, &made); err != nil || status != http.StatusCreated {
		t.Fatalf("got %d %s", status, body)
	}
	wantKeys(t, "a new deployment", made, listed...)
	wantKeys(t, "its audit", made["audit"].(object), "createdAt", "createdBy", "updatedAt", "updatedBy")
	for _, ref := range []string{"project", "version", "node"} {
		wantKeys(t, "its "+ref, made[ref].(object), "type", "id", "name")
	}
	path := "/deployments/" + made["id"].(string)
	if want := "/api/" + s.slug + path; header.Get("Location") != want {
		t.Errorf("got location %q, want %q", header.Get("Location"), want)
	}
	detail := s.want(http.StatusOK, http.MethodGet, path, nil)
	wantKeys(t, "a deployment", detail, append(listed, "environment", "publicKey", "instances", "lastTry", "policy", "token", "waiting")...)
	if detail["status"] != "preparing" || detail["note"] != "hi" || detail["lastTry"] != 0.0 || detail["waiting"] != nil {
		t.Errorf("got %v", detail)
	}
	instance := detail["instances"].([]any)[0].(object)
	wantKeys(t, "an instance", instance, "id", "updatedAt", "image", "config")
	wantKeys(t, "its image", instance["image"].(object), "id", "name", "tag", "order", "config", "createdAt", "registry")

	_, _, body = s.call(http.MethodGet, "/deployments", nil)
	var list []object
	if err := json.Unmarshal(body, &list); err != nil || len(list) != 1 || list[0]["id"] != made["id"] {
		t.Errorf("got list %s, %v", body, err)
	}
	s.want(http.StatusNoContent, http.MethodDelete, path, nil)
	s.want(http.StatusNotFound, http.MethodGet, path, nil)
}

func TestDeploymentRequestsThatAreRefused(t *testing.T) {
	s := newShop(t)
	path, instance := s.deploy("shop")
	existing := path[len("/deployments/"):]
	draft := func(version, node uuid.UUID, prefix string) object {
		return object{"versionId": version, "nodeId": node, "prefix": prefix}
	}
	unknown := "/deployments/" + uuid.NewString()
	tests := map[string]struct {
		method, path string
		body         any
		status       int
		property     string
		value        any
		reason       string
	}{
		"create: not an id":         {http.MethodPost, "/deployments", object{"versionId": "x", "nodeId": s.node, "prefix": "a"}, 400, "versionId", "x", ""},
		"create: bad prefix":        {http.MethodPost, "/deployments", draft(s.version, s.node, "A b"), 400, "prefix", "A b", ""},
		"create: no version":        {http.MethodPost, "/deployments", draft(uuid.Nil, s.node, "a"), 404, "versionId", uuid.Nil.String(), ""},
		"create: no node":           {http.MethodPost, "/deployments", draft(s.version, uuid.Nil, "a"), 404, "nodeId", uuid.Nil.String(), ""},
		"create: no images":         {http.MethodPost, "/deployments", draft(s.bare, s.node, "a"), 412, "versionId", s.bare.String(), ""},
		"create: again":             {http.MethodPost, "/deployments", draft(s.version, s.node, "shop"), 409, "prefix", existing, "rollingVersionDeployment"},
		"get: not there":            {http.MethodGet, unknown, nil, 404, "deploymentId", unknown[len("/deployments/"):], ""},
		"get: not an id":            {http.MethodGet, "/deployments/x", nil, 400, "deploymentId", "x", ""},
		"patch: key with a newline": {http.MethodPatch, path, object{"environment": []object{{"key": "A\nB", "value": "1"}}}, 400, "environment[0].key", "A\nB", ""},
		"start: not an id":          {http.MethodPost, path + "/start", object{"instances": []string{"x"}}, 400, "instances[0]", "x", ""},
		"plan: not an id":           {http.MethodPost, path + "/plan", object{"instances": []string{"x"}}, 400, "instances[0]", "x", ""},
		"start: none":               {http.MethodPost, path + "/start", object{"instances": []string{}}, 412, "instances", nil, ""},
		"start: not there":          {http.MethodPost, unknown + "/start", object{}, 404, "deploymentId", unknown[len("/deployments/"):], ""},
		"log: take left out":        {http.MethodGet, path + "/log?skip=0", nil, 400, "take", "", ""},
		"log: skip left out":        {http.MethodGet, path + "/log?take=1", nil, 400, "skip", "", ""},
		"log: take too large":       {http.MethodGet, path + "/log?skip=0&take=1001", nil, 400, "take", 1001.0, ""},
		"instance: not there":       {http.MethodGet, path + "/instances/" + uuid.Nil.String(), nil, 404, "instanceId", uuid.Nil.String(), ""},
		"instance: bad port":        {http.MethodPatch, instance, object{"config": object{"ports": []object{{"internal": 0}}}}, 400, "config.ports[0].internal", 0.0, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s.t = t
			p := s.want(test.status, test.method, test.path, test.body)
			property, _ := p["property"].(string)
			reason, _ := p["error"].(string)
			if property != test.property || p["value"] != test.value || reason != test.reason || p["message"] == "" {
				t.Errorf("got %v", p)
			}
		})
	}
}

func TestDeploymentPatchTellsNullFromAbsent(t *testing.T) {
	s := newShop(t)
	path, instance := s.deploy("shop")
	patch := func(path string, document object) {
		t.Helper()
		s.want(http.StatusNoContent, http.MethodPatch, path, document)
	}
	patch(path, object{"note": "n", "environment": []object{{"id": "1", "key": "A", "value": "x"}}})
	patch(path, object{"prefix": nil})
	got := s.want(http.StatusOK, http.MethodGet, path, nil)
	if got["note"] != "n" || got["prefix"] != "shop" || len(got["environment"].([]any)) != 1 {
		t.Errorf("got %v", got)
	}
	patch(path, object{"note": nil, "environment": nil, "prefix": "store"})
	got = s.want(http.StatusOK, http.MethodGet, path, nil)
	if got["note"] != "" || got["prefix"] != "store" || len(got["environment"].([]any)) != 0 {
		t.Errorf("got %v", got)
	}

	patch(instance, object{"config": object{"tty": true, "user": 7}})
	patch(instance, object{"config": object{"user": nil, "name": "front"}})
	config := s.want(http.StatusOK, http.MethodGet, instance, nil)["config"].(object)
	if config["tty"] != true || config["user"] != nil || config["name"] != "front" || config["ports"] != nil {
		t.Errorf("got %v", config)
	}
}

func TestStartIsAcceptedWhileTheNodeIsAway(t *testing.T) {
	s := newShop(t)
	path, instance := s.deploy("shop")
	status, header, body := s.call(http.MethodPost, path+"/start", nil)
	if status != http.StatusNoContent || header.Get("Fairlead-Release") != "1" {
		t.Fatalf("got %d %v %s", status, header, body)
	}
	instanceID := instance[len(instance)-36:]
	status, header, _ = s.call(http.MethodPost, path+"/start", object{"instances": []string{instanceID}})
	if status != http.StatusNoContent || header.Get("Fairlead-Release") != "2" {
		t.Errorf("got %d %v", status, header)
	}
	detail := s.want(http.StatusOK, http.MethodGet, path, nil)
	if waiting, _ := detail["waiting"].(string); detail["status"] != "in-progress" || detail["lastTry"] != 2.0 || waiting == "" {
		t.Errorf("got %v", detail)
	}
	p := s.want(http.StatusPreconditionFailed, http.MethodPatch, path, object{"note": "x"})
	if p["property"] != "status" || p["value"] != "in-progress" {
		t.Errorf("got %v", p)
	}
}

func TestLogAndLedgerTellTheStory(t *testing.T) {
	s := newShop(t)
	path, instance := s.deploy("shop")
	instanceID, err := uuid.Parse(instance[len(instance)-36:])
	if err != nil {
		t.Fatal(err)
	}
	deploymentID := uuid.MustParse(path[len(path)-36:])
	s.want(http.StatusNoContent, http.MethodPost, path+"/start", object{})
	err = s.deployments.RecordProgress(t.Context(), s.node,
		[]deployment.Status{{DeploymentID: deploymentID, Generation: 1, Release: 1, Phase: workload.PhaseFailed, Failure: &workload.Failure{
			Step: workload.StepPull, Container: "shop-web", LogTail: []string{"bye"}, RolledBack: true,
			Err: apperr.Wrap(apperr.NotFound, errors.New("404"), "no such image"),
		}}},
		[]deployment.Event{{DeploymentID: deploymentID, Release: 1, Event: workload.Event{
			Level: workload.LevelInfo, InstanceID: instanceID.String(), Lines: []string{"pulling"}, State: spec.StateWaiting, Reason: "pulling",
		}}})
	if err != nil {
		t.Fatal(err)
	}
	page := s.want(http.StatusOK, http.MethodGet, path+"/log?skip=0&take=100", nil)
	wantKeys(t, "a log", page, "items", "total")
	items := page["items"].([]any)
	var types []string
	for _, item := range items {
		entry := item.(object)
		wantKeys(t, "an entry", entry, "type", "deploymentStatus", "createdAt", "log", "containerState", "level", "try")
		types = append(types, entry["type"].(string))
	}
	if !slices.Equal(types, []string{"deployment-status", "log", "container-state", "log", "deployment-status"}) || page["total"] != 5.0 {
		t.Fatalf("got %v of %v", types, page["total"])
	}
	if state := items[2].(object)["containerState"].(object); state["state"] != "waiting" || state["instanceId"] != instanceID.String() {
		t.Errorf("got %v", state)
	}
	if first := items[0].(object); first["deploymentStatus"] != "in-progress" || first["log"] != nil || first["containerState"] != nil {
		t.Errorf("got %v", first)
	}
	if page := s.want(http.StatusOK, http.MethodGet, path+"/log?skip=0&take=9&try=7", nil); page["total"] != 0.0 || len(page["items"].([]any)) != 0 {
		t.Errorf("got %v of a release that is not there", page)
	}

	status, _, body := s.call(http.MethodGet, path+"/releases", nil)
	var releases []object
	if err := json.Unmarshal(body, &releases); err != nil || status != http.StatusOK || len(releases) != 1 {
		t.Fatalf("got %d %s", status, body)
	}
	wantKeys(t, "a release", releases[0], "number", "outcome", "trigger", "actor", "createdAt", "createdBy", "beganAt", "finishedAt",
		"rollbackOf", "configHash", "digests", "failure", "hold")
	failure := releases[0]["failure"].(object)
	if releases[0]["outcome"] != "failed" || failure["step"] != "pull" || failure["kind"] != "not-found" || failure["rolledBack"] != true {
		t.Errorf("got %v", releases[0])
	}
}
