package teamapi_test

import (
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/shared/workload/workloadtest"
)

// pipeline is what continuous integration has: the token of one deployment.
type pipeline struct {
	cast
	owner *controllertest.Client
	rows  map[string]string
	// path is the deployment's.
	path   string
	client *controllertest.Client
	curl   string
}

type outcome struct {
	Release int64
	Status  string
	Failure *struct{ Step, Message string }
}

func newPipeline(t *testing.T) pipeline {
	t.Helper()
	k := newCast(t)
	p := pipeline{cast: k, owner: k.people[actor.Owner], rows: k.rows(t)}
	p.path = "/api/acme/deployments/" + p.rows["{deploymentId}"]
	made := p.owner.Put(p.path+"/token", map[string]any{"name": "main branch"}).Expect(t, http.StatusCreated)
	p.client, p.curl = k.Anonymous(t).WithToken(made.String(t, "token")), made.String(t, "curl")
	return p
}

// agent installs an agent on the deployment's node.
func (p pipeline) agent(t *testing.T, options workloadtest.FakeOptions) {
	t.Helper()
	e := p.owner.Install(t, "acme", p.rows["{nodeId}"])
	controllertest.StartAgent(t, t.TempDir(), &e, workloadtest.NewFakeDriver(options))
}

func TestDeployTokenStartsItsDeployment(t *testing.T) {
	p := newPipeline(t)
	p.agent(t, workloadtest.FakeOptions{})

	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatalf("this test pastes a curl command: install curl: %v", err)
	}
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", p.curl).CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%s: %v\n%s", strings.Split(p.curl, "Bearer")[0], err, out)
	}
	var got outcome
	p.client.Post(p.path+"/start?wait=5m", nil).Expect(t, http.StatusOK).Into(t, &got)
	if got.Release != 2 || got.Status != "successful" || got.Failure != nil {
		t.Errorf("the second start ended with %+v", got)
	}

	detail := p.client.Get(p.path).Expect(t, http.StatusOK).Object(t)
	if detail["status"] != "successful" || detail["lastTry"] != 2.0 {
		t.Errorf("the deployment is %v", detail)
	}
	p.client.Get(p.path+"/log?skip=0&take=10").Expect(t, http.StatusOK)
	p.client.Get(p.path+"/releases").Expect(t, http.StatusOK)
	db, err := pgx.Connect(t.Context(), p.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(t.Context()) }()
	var by string
	var times int
	err = db.QueryRow(t.Context(), `select min(actor_name), count(*) from audit_log
		where actor_type = 'deployment-token' and event = 'deployment.start' and actor_id::text = $1`,
		detail["token"].(map[string]any)["id"]).Scan(&by, &times)
	if err != nil || by != "main branch" || times != 2 {
		t.Errorf("the audit log has %d starts by %q, %v; want 2 by the token", times, by, err)
	}

	p.owner.Delete(p.path+"/token").Expect(t, http.StatusNoContent)
	problem(t, p.client.Post(p.path+"/start", nil), http.StatusUnauthorized)
	problem(t, p.client.Get(p.path), http.StatusUnauthorized)
	if token := p.owner.Get(p.path).Object(t)["token"]; token != nil {
		t.Errorf("the deployment still shows the token %v", token)
	}
	problem(t, p.owner.Delete(p.path+"/token"), http.StatusNotFound)
}

func TestDeployTokenOpensNothingElse(t *testing.T) {
	p := newPipeline(t)
	other := p.owner.Post(p.path+"/copy", map[string]any{"nodeId": p.rows["{nodeId}"], "prefix": "other"}).Expect(t, http.StatusCreated).String(t, "id")
	for what, id := range map[string]string{"another deployment": other, "none": uuid.NewString()} {
		t.Run(what, func(t *testing.T) {
			problem(t, p.client.Post("/api/acme/deployments/"+id+"/start", nil), http.StatusForbidden)
			problem(t, p.client.Get("/api/acme/deployments/"+id), http.StatusForbidden)
		})
	}
	problem(t, p.client.Post(strings.Replace(p.path, "acme", "others", 1)+"/start", nil), http.StatusNotFound)
	for _, o := range operations(t, p.Controller) {
		if len(o.Security) == 0 || authz.ForDeployToken(o.Permission) && strings.Contains(o.Path, "{deploymentId}") {
			continue
		}
		t.Run(o.Method+" "+o.Path, func(t *testing.T) {
			got := p.client.Do(o.Method, o.at("acme", p.teamID, p.rows), o.body(t))
			// It is no member of any team, nor invited to one.
			about := strings.Contains(o.Path, "{teamId}") && got.Status == http.StatusNotFound
			if got.Status != http.StatusForbidden && !about {
				t.Errorf("status %d: %s", got.Status, got.Body)
			}
		})
	}
}

func TestDeployTokenIsShownOnce(t *testing.T) {
	p := newPipeline(t)
	token := p.owner.Get(p.path).Expect(t, http.StatusOK).Object(t)["token"].(map[string]any)
	wantKeys(t, "token", token, "id", "name", "createdAt", "expiresAt")
	begin, err := time.Parse(time.RFC3339, token["createdAt"].(string))
	if err != nil {
		t.Fatal(err)
	}
	end, err := time.Parse(time.RFC3339, token["expiresAt"].(string))
	if err != nil || !end.Equal(begin.AddDate(0, 0, 365)) && end.Sub(begin) != 365*24*time.Hour {
		t.Errorf("it lives from %v to %v, %v; want 365 days", begin, end, err)
	}
	p.owner.Delete(p.path+"/token").Expect(t, http.StatusNoContent)
	made := p.owner.Put(p.path+"/token", map[string]any{"name": "release", "expirationInDays": 1}).Expect(t, http.StatusCreated)
	wantKeys(t, "new token", made.Object(t), "id", "name", "createdAt", "expiresAt", "token", "curl")
	if location := made.Header.Get("Location"); location != p.path {
		t.Errorf("location %q, want %q", location, p.path)
	}
}

func TestDeployTokenRefuses(t *testing.T) {
	p := newPipeline(t)
	owner, acme := p.owner, "/api/acme"
	copied := acme + "/deployments/" + owner.Post(p.path+"/copy", map[string]any{"nodeId": p.rows["{nodeId}"], "prefix": "other"}).Expect(t, http.StatusCreated).String(t, "id")
	versions := acme + "/projects/" + p.rows["{projectId}"] + "/versions"
	incremental := owner.Post(versions, map[string]any{"type": "incremental", "name": "2"}).Expect(t, http.StatusCreated).String(t, "id")
	frozen := acme + "/deployments/" + owner.Post(acme+"/deployments", map[string]any{
		"versionId": incremental, "nodeId": p.rows["{nodeId}"], "prefix": "frozen",
	}).Expect(t, http.StatusCreated).String(t, "id")
	tests := map[string]struct {
		path     string
		body     map[string]any
		status   int
		property string
	}{
		"a second token":                       {p.path, map[string]any{"name": "second"}, http.StatusConflict, "deploymentId"},
		"a name that the team has":             {copied, map[string]any{"name": "main branch"}, http.StatusConflict, "name"},
		"a deployment of a frozen version":     {frozen, map[string]any{"name": "second"}, http.StatusPreconditionFailed, "versionType"},
		"a short name":                         {copied, map[string]any{"name": " ab "}, http.StatusBadRequest, "name"},
		"a token that is over at once":         {copied, map[string]any{"name": "second", "expirationInDays": 0}, http.StatusBadRequest, "expirationInDays"},
		"a token for longer than ten years":    {copied, map[string]any{"name": "second", "expirationInDays": 3651}, http.StatusBadRequest, "expirationInDays"},
		"a deployment that is not there":       {acme + "/deployments/" + uuid.NewString(), map[string]any{"name": "second"}, http.StatusNotFound, "deploymentId"},
		"a wait for longer than ten minutes":   {"", nil, http.StatusBadRequest, "wait"},
		"a wait that is no duration":           {"", nil, http.StatusBadRequest, "wait"},
		"a wait that is over before it begins": {"", nil, http.StatusBadRequest, "wait"},
	}
	waits := map[string]string{"a wait for longer than ten minutes": "11m", "a wait that is no duration": "soon", "a wait that is over before it begins": "-1s"}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got controllertest.Reply
			if wait := waits[name]; wait != "" {
				got = p.client.Post(p.path+"/start?wait="+wait, nil)
			} else {
				got = owner.Put(test.path+"/token", test.body)
			}
			problem(t, got, test.status)
			if property := got.String(t, "property"); property != test.property {
				t.Errorf("property %q, want %q", property, test.property)
			}
		})
	}
	if try := owner.Get(p.path).Object(t)["lastTry"]; try != 0.0 {
		t.Errorf("what was refused was started: %v releases", try)
	}
}

func TestStartWaitsForTheOutcome(t *testing.T) {
	t.Run("of a release that fails", func(t *testing.T) {
		p := newPipeline(t)
		p.agent(t, workloadtest.FakeOptions{Missing: []string{"example.com/web:1"}})
		var got outcome
		p.client.Post(p.path+"/start?wait=5m", nil).Expect(t, http.StatusOK).Into(t, &got)
		if got.Status != "failed" || got.Failure == nil || got.Failure.Step == "" || got.Failure.Message == "" {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("as long as it may", func(t *testing.T) {
		p := newPipeline(t) // without an agent
		var got outcome
		reply := p.owner.Post(p.path+"/start?wait=10ms", map[string]any{}).Expect(t, http.StatusAccepted)
		reply.Into(t, &got)
		if got.Release != 1 || got.Status != "pending" || got.Failure != nil || reply.Header.Get("Fairlead-Release") != "1" {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("of a release that another one replaces", func(t *testing.T) {
		p := newPipeline(t)
		first := make(chan controllertest.Reply, 1)
		go func() { first <- p.client.Post(p.path+"/start?wait=5m", nil) }()
		controllertest.Await(t, "the first release is there", func() (bool, string) {
			seen := p.owner.Get(p.path)
			return seen.Object(t)["lastTry"] == 1.0, string(seen.Body)
		})
		p.owner.Post(p.path+"/start", nil).Expect(t, http.StatusNoContent)
		var got outcome
		(<-first).Expect(t, http.StatusOK).Into(t, &got)
		if got.Release != 1 || got.Status != "superseded" {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("of a deployment that is deleted", func(t *testing.T) {
		p := newPipeline(t)
		first := make(chan controllertest.Reply, 1)
		go func() { first <- p.owner.Post(p.path+"/start?wait=5m", nil) }()
		controllertest.Await(t, "the first release is there", func() (bool, string) {
			seen := p.owner.Get(p.path)
			return seen.Object(t)["lastTry"] == 1.0, string(seen.Body)
		})
		p.owner.Delete(p.path).Expect(t, http.StatusNoContent)
		problem(t, <-first, http.StatusNotFound)
	})
}
