package teamapi_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/controllertest"
)

const (
	keyHeader      = "Idempotency-Key"
	replayedHeader = "Idempotency-Replayed"
)

// onDatabase opens the controller's database.
func onDatabase(t *testing.T, c *controllertest.Controller) *pgx.Conn {
	t.Helper()
	db, err := pgx.Connect(t.Context(), c.DSN)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(t.Context()) })
	return db
}

// change runs a statement that must change something.
func change(t *testing.T, db *pgx.Conn, statement string) {
	t.Helper()
	if tag, err := db.Exec(t.Context(), statement); err != nil || tag.RowsAffected() == 0 {
		t.Fatalf("%s: %v, %v", statement, tag, err)
	}
}

// keyedBodies fit the routes that take a key, so that they succeed in the cast's team.
func keyedBodies(rows map[string]string) map[string]any {
	type m = map[string]any
	return map[string]any{
		"POST /api/teams":                                    m{"name": "Second", "slug": "second"},
		"POST /api/templates":                                m{"id": "gitea", "name": "of-template", "teamSlug": "acme", "type": "versionless"},
		"POST /api/{teamSlug}/compose":                       m{"compose": "services: {web: {image: nginx}}", "name": "of-compose"},
		"POST /api/{teamSlug}/nodes":                         m{"name": "keyed"},
		"POST /api/{teamSlug}/registries":                    m{"name": "keyed", "type": "unchecked", "details": m{"url": "keyed.example.com"}},
		"POST /api/{teamSlug}/storages":                      m{"name": "keyed", "url": "s3.example.com", "accessKey": "an-access-key", "secretKey": "hunter2-of-storage"},
		"POST /api/{teamSlug}/projects":                      m{"name": "keyed", "type": "versionless"},
		"POST /api/{teamSlug}/oidc-trusts":                   m{"name": "keyed", "provider": "github", "deploymentId": rows["{deploymentId}"], "conditions": m{"repository_id": []string{"1"}}},
		"POST /api/{teamSlug}/deployments":                   m{"versionId": rows["{versionId}"], "nodeId": rows["{nodeId}"], "prefix": "keyed"},
		"POST /api/{teamSlug}/notifications":                 m{"name": "keyed", "type": "slack", "url": "https://127.0.0.1/hunter2-of-webhook", "active": true, "enabledEvents": []string{"node-added"}},
		"POST /api/{teamSlug}/projects/{projectId}/versions": m{"name": "keyed", "type": "incremental"},
		"POST /api/{teamSlug}/projects/{projectId}/versions/{versionId}/images": []any{
			m{"registryId": rows["{registryId}"], "images": []string{"other:1"}}},
		"POST /api/{teamSlug}/projects/{projectId}/versions/{versionId}/increase":           m{"name": "2.0"},
		"POST /api/{teamSlug}/deployments/{deploymentId}/copy":                              m{"nodeId": rows["{nodeId}"], "prefix": "copied"},
		"POST /api/{teamSlug}/deployments/{deploymentId}/start":                             m{},
		"POST /api/{teamSlug}/deployments/{deploymentId}/releases/{releaseNumber}/rollback": nil,
	}
}

// succeedOnce gives the deployment a release that can be rolled back to.
func (k cast) succeedOnce(t *testing.T, rows map[string]string) {
	t.Helper()
	k.people[actor.Owner].Post("/api/acme/deployments/"+rows["{deploymentId}"]+"/start", nil).Expect(t, http.StatusNoContent)
	db := onDatabase(t, k.Controller)
	for _, statement := range []string{
		`update releases set outcome = 'successful', finished_at = now(), digests = jsonb_build_object($2::text, 'sha256:' || repeat('a', 64))
			where deployment_id = $1`,
		"update deployments set status = case when $2 = '' then status else 'successful' end where id = $1",
	} {
		if _, err := db.Exec(t.Context(), statement, rows["{deploymentId}"], rows["{instanceId}"]); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEveryCreationAndStartTakesEffectOnceForAKey(t *testing.T) {
	k := newCast(t)
	rows := k.rows(t)
	owner := k.people[actor.Owner]
	base := owner.Post("/api/acme/projects/"+rows["{projectId}"]+"/versions", map[string]any{"name": "1.1", "type": "incremental"}).
		Expect(t, http.StatusCreated).String(t, "id")
	bodies := keyedBodies(rows)
	k.succeedOnce(t, rows)
	var keyed int
	for _, o := range operations(t, k.Controller) {
		if !slices.ContainsFunc(o.Parameters, func(p parameter) bool { return p.Name == keyHeader && p.In == "header" }) {
			continue
		}
		keyed++
		t.Run(o.Method+" "+o.Path, func(t *testing.T) {
			body, known := bodies[o.Method+" "+o.Path]
			if !known {
				t.Fatal("takes a key; give this test a body with which it succeeds")
			}
			rows := rows
			if strings.HasSuffix(o.Path, "/increase") {
				rows = map[string]string{"{projectId}": rows["{projectId}"], "{versionId}": base}
			}
			path, _, _ := strings.Cut(o.at("acme", k.teamID, rows), "?")
			caller := owner.WithHeader(keyHeader, `"`+uuid.NewString()+`"`)
			first := caller.Do(o.Method, path, body)
			if first.Status/100 != 2 || first.Header.Get(replayedHeader) != "" {
				t.Fatalf("first: %d %v: %s", first.Status, first.Header, first.Body)
			}
			again := caller.Do(o.Method, path, body).Expect(t, first.Status)
			if again.Header.Get(replayedHeader) != "true" || string(again.Body) != string(first.Body) {
				t.Errorf("again: %v: %s, first %s", again.Header, again.Body, first.Body)
			}
			for _, name := range []string{"Location", "Content-Type", "Fairlead-Release"} {
				if got, want := again.Header.Values(name), first.Header.Values(name); !slices.Equal(got, want) {
					t.Errorf("%s %q, first %q", name, got, want)
				}
			}
		})
	}
	if keyed != len(bodies) {
		t.Errorf("%d routes take a key, want %d", keyed, len(bodies))
	}
	// Each effect was marked in its transaction, and nothing lies open.
	var marked int
	var open string
	err := onDatabase(t, k.Controller).QueryRow(t.Context(), `select count(*) filter (where carried_out),
		coalesce(string_agg(encode(key_hash, 'escape') || encode(fingerprint, 'escape') || coalesce(encode(body, 'escape'), '') || headers::text, ' '), '') from idempotency_keys`).Scan(&marked, &open)
	if err != nil {
		t.Fatal(err)
	}
	if marked != len(bodies) {
		t.Errorf("%d effects were marked, want %d", marked, len(bodies))
	}
	for _, secret := range []string{"hunter2-of-storage", "hunter2-of-webhook", "keyed"} {
		if strings.Contains(open, secret) {
			t.Errorf("%q is stored in the clear", secret)
		}
	}
}

func TestAKeyIsForOneRequestOfOneCaller(t *testing.T) {
	k := newCast(t)
	project := func(name string) map[string]any { return map[string]any{"name": name, "type": "versionless"} }
	const path = "/api/acme/projects"
	owner := k.people[actor.Owner].WithHeader(keyHeader, "one")
	id := owner.Post(path, project("first")).Expect(t, http.StatusCreated).String(t, "id")
	x := k.newTenant(t, k.people[actor.Owner], "acme")
	start := "/api/acme/deployments/" + x.rows["{deploymentId}"] + "/start"
	starter := k.people[actor.Owner].WithHeader(keyHeader, "start")
	starter.Post(start, nil).Expect(t, http.StatusNoContent)

	for what, again := range map[string]controllertest.Reply{
		"another body":  owner.Post(path, project("other")),
		"another query": starter.Post(start+"?confirmRemoval=true", nil),
		"another path":  owner.Post("/api/acme/nodes", project("first")),
	} {
		problem(t, again, http.StatusConflict)
		if p := again.Object(t); p["property"] != keyHeader || p["error"] != "idempotencyKeyReused" || again.Header.Get("Retry-After") != "" {
			t.Errorf("%s: %s", what, again.Body)
		}
	}
	// Another caller's key of the same name is another key, and so is another key.
	k.people[actor.Admin].WithHeader(keyHeader, "one").Post(path, project("admins")).Expect(t, http.StatusCreated)
	owner.WithHeader(keyHeader, "two").Post(path, project("second")).Expect(t, http.StatusCreated)
	// The draft's quotes belong to the header, not to the key; and a new session is the same caller.
	again := k.Admin(t).WithHeader(keyHeader, `"one"`).Post(path, project("first")).Expect(t, http.StatusCreated)
	if again.String(t, "id") != id {
		t.Errorf("got %s, want project %s", again.Body, id)
	}
	for _, bad := range []string{`""`, "with space", "ä", strings.Repeat("k", 256)} {
		got := owner.WithHeader(keyHeader, bad).Post(path, project("never"))
		problem(t, got, http.StatusBadRequest)
		if got.Object(t)["property"] != keyHeader {
			t.Errorf("%q: %s", bad, got.Body)
		}
	}
	// Who lost the right gets no answer of the time they had it.
	change(t, onDatabase(t, k.Controller), "delete from team_members where role = 'admin'")
	k.people[actor.Admin].WithHeader(keyHeader, "one").Post(path, project("admins")).Expect(t, http.StatusNotFound)
	node := k.people[actor.Owner].WithHeader(keyHeader, "node")
	node.Post("/api/acme/nodes", map[string]any{"name": "two"}).Expect(t, http.StatusCreated)
	change(t, onDatabase(t, k.Controller), "update team_members set role = 'user' where role = 'owner'")
	node.Post("/api/acme/nodes", map[string]any{"name": "two"}).Expect(t, http.StatusForbidden)
}

func TestWhatFailedCanBeSentAgainWithItsKey(t *testing.T) {
	k := newCast(t)
	owner := k.people[actor.Owner].WithHeader(keyHeader, "one")
	owner.Post("/api/acme/projects", map[string]any{"name": "shop"}).Expect(t, http.StatusBadRequest)
	owner.Post("/api/acme/projects", strings.Repeat(" ", 1<<20)+"{}").Expect(t, http.StatusRequestEntityTooLarge)
	owner.Post("/api/acme/projects", map[string]any{"name": "shop", "type": "versionless"}).Expect(t, http.StatusCreated)
	owner.WithHeader(keyHeader, "two").Post("/api/acme/projects", map[string]any{"name": "shop", "type": "versionless"}).Expect(t, http.StatusConflict)
	made := owner.WithHeader(keyHeader, "two").Post("/api/acme/projects", map[string]any{"name": "shop2", "type": "versionless"}).Expect(t, http.StatusCreated)
	if made.Header.Get(replayedHeader) != "" {
		t.Error("a first success is called a replay")
	}
}

func TestSecretsAreNotMadeWithAKey(t *testing.T) {
	k := newCast(t)
	rows := k.rows(t)
	owner := k.people[actor.Owner]
	for path, body := range map[string]any{
		"/api/tokens": map[string]any{"name": "ci", "expirationInDays": 1},
		"/api/acme/nodes/" + rows["{nodeId}"] + "/script": map[string]any{"type": "docker", "scriptType": "shell"},
		"/api/teams/" + k.teamID + "/users":               map[string]any{"email": "some.body@example.com", "firstName": "Some"},
	} {
		got := owner.WithHeader(keyHeader, "one").Post(path, body)
		problem(t, got, http.StatusBadRequest)
		if got.Object(t)["property"] != keyHeader {
			t.Errorf("%s: %s", path, got.Body)
		}
		owner.Post(path, body).Expect(t, http.StatusCreated)
	}
}

func TestAKeyWhoseRequestDied(t *testing.T) {
	k := newCast(t)
	db := onDatabase(t, k.Controller)
	owner := k.people[actor.Owner].WithHeader(keyHeader, "one")
	post := func(name string) controllertest.Reply {
		return owner.Post("/api/acme/projects", map[string]any{"name": name, "type": "versionless"})
	}
	post("shop").Expect(t, http.StatusCreated)
	inUse := func() {
		t.Helper()
		got := post("shop")
		problem(t, got, http.StatusConflict)
		if got.Header.Get("Retry-After") != "1" || got.Object(t)["error"] != "idempotencyKeyInUse" {
			t.Errorf("%v: %s", got.Header, got.Body)
		}
	}
	// It has had its effect, and the controller died before it kept the answer: it is not carried out again, ever.
	change(t, db, "update idempotency_keys set status = null, headers = null, body = null, lease_until = now() - interval '1 hour'")
	inUse()
	// It is under way, without an effect yet.
	change(t, db, "delete from projects where name = 'shop'")
	change(t, db, "update idempotency_keys set carried_out = false, lease_until = now() + interval '1 minute'")
	inUse()
	// It died before it had an effect.
	change(t, db, "update idempotency_keys set lease_until = now() - interval '1 second'")
	made := post("shop").Expect(t, http.StatusCreated)
	if again := post("shop").Expect(t, http.StatusCreated); again.String(t, "id") != made.String(t, "id") {
		t.Errorf("%s, first %s", again.Body, made.Body)
	}
	// A day later the key is a new one.
	change(t, db, "update idempotency_keys set expires_at = now() - interval '1 second'")
	post("other").Expect(t, http.StatusCreated)
}

func TestKeysAreBounded(t *testing.T) {
	k := newCast(t)
	db := onDatabase(t, k.Controller)
	owner := k.people[actor.Owner]
	post := func(key string) controllertest.Reply {
		return owner.WithHeader(keyHeader, key).Post("/api/acme/projects", map[string]any{"name": "p-" + key, "type": "versionless"})
	}
	post("first").Expect(t, http.StatusCreated)
	change(t, db, `insert into idempotency_keys (caller, key_hash, claim_id, fingerprint, carried_out, lease_until, expires_at)
		select caller, sha256(n::text::bytea), gen_random_uuid(), fingerprint, true, lease_until, expires_at
		from idempotency_keys, generate_series(1, 999) n`)
	full := post("second")
	problem(t, full, http.StatusTooManyRequests)
	if full.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	post("first").Expect(t, http.StatusCreated) // is remembered all the same
	k.people[actor.Admin].WithHeader(keyHeader, "second").Post("/api/acme/projects", map[string]any{"name": "theirs", "type": "versionless"}).Expect(t, http.StatusCreated)
	change(t, db, `update idempotency_keys set expires_at = now() - interval '1 second' where key_hash = sha256('7'::bytea)`)
	post("second").Expect(t, http.StatusCreated)
}

func TestAStartIsOneStartAtAnyReplicaAtOnce(t *testing.T) {
	k := newCast(t)
	rows := k.rows(t)
	other := controllertest.Start(t, k.DSN, k.StateDir)
	key, path := uuid.NewString(), "/api/acme/deployments/"+rows["{deploymentId}"]+"/start"
	callers := []*controllertest.Client{k.people[actor.Owner], other.Admin(t)}
	replies := make([]controllertest.Reply, 16)
	var all sync.WaitGroup
	for i := range replies {
		all.Go(func() { replies[i] = callers[i%2].WithHeader(keyHeader, key).Post(path, map[string]any{}) })
	}
	all.Wait()
	var first int
	for _, r := range replies {
		switch {
		case r.Status == http.StatusNoContent && r.Header.Get("Fairlead-Release") == "1":
			if r.Header.Get(replayedHeader) == "" {
				first++
			}
		case r.Status == http.StatusConflict && r.Header.Get("Retry-After") != "":
		default:
			t.Errorf("%d %v: %s", r.Status, r.Header, r.Body)
		}
	}
	var detail struct{ LastTry int }
	k.people[actor.Owner].Get("/api/acme/deployments/"+rows["{deploymentId}"]).Expect(t, http.StatusOK).Into(t, &detail)
	if first != 1 || detail.LastTry != 1 {
		t.Errorf("%d requests were carried out, and %d releases were made", first, detail.LastTry)
	}
	// By now each replica knows the answer.
	for _, caller := range callers {
		if r := caller.WithHeader(keyHeader, key).Post(path, map[string]any{}).Expect(t, http.StatusNoContent); r.Header.Get(replayedHeader) != "true" {
			t.Errorf("%v", r.Header)
		}
	}
}

// parameter of an operation, as the OpenAPI document has it.
type parameter struct {
	Name, In string
	Schema   json.RawMessage
}
