package teamapi_test

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/controller/internal/oidc/oidctest"
	"fairlead.dev/shared/workload/workloadtest"
)

// leavesNoTrace says why a route that is no GET writes no audit row.
func leavesNoTrace(endpoint string) string {
	return map[string]string{
		"POST /api/users/me": "it reads, for all its method",
		"POST /api/{teamSlug}/deployments/{deploymentId}/plan":     "it asks the node and changes nothing; a start by the plan is a row",
		"POST /api/{teamSlug}/notifications/{notificationId}/test": "it sends a message that says who sent it, and is in the delivery log",
	}[endpoint]
}

// neverAudited is in every secret that the acts hand over.
const neverAudited = "s3cret-of-the-act"

// act is a request that succeeds.
type act struct {
	who *controllertest.Client
	// at has ids for the path's parameters, over those of the stage.
	at   map[string]string
	body any
	// over is how the request is made where it is more than one; Do when nil.
	over func(path string) controllertest.Reply
	// event is what the row says was done; the route's permission when "".
	event authz.Action
}

// stage is a team with one of everything, and a node that runs a deployment.
type stage struct {
	cast
	t       *testing.T
	db      *pgx.Conn
	rows    map[string]string
	owner   *controllertest.Client
	issuer  *oidctest.Issuer
	counter int
}

func newStage(t *testing.T) *stage {
	t.Helper()
	k := newCast(t)
	x := k.newTenant(t, k.people[actor.Owner], "acme")
	db, err := pgx.Connect(t.Context(), k.DSN)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(context.Background()) })
	s := &stage{cast: k, t: t, db: db, rows: x.rows, owner: x.Client, issuer: oidctest.Start(t)}
	s.rows["{releaseNumber}"], s.rows["{prefix}"], s.rows["{name}"] = "1", "shop", "web"
	s.oldAgent(s.rows["{nodeId}"])
	s.start(s.rows["{deploymentId}"])
	s.awaitContainer()
	return s
}

func (s *stage) start(deployment string) {
	s.t.Helper()
	s.letGo()
	s.owner.Post("/api/acme/deployments/"+deployment+"/start?wait=5m", nil).Expect(s.t, http.StatusOK)
}

// oldAgent starts a node's agent, of a version that an update replaces.
func (s *stage) oldAgent(node string) {
	s.t.Helper()
	e := s.owner.Install(s.t, "acme", node)
	controllertest.StartUpdatable(s.t, s.t.TempDir(), "0.0.0-alpha", &e, workloadtest.NewFakeDriver(workloadtest.FakeOptions{}))
	s.awaitAgent(node)
}

func (s *stage) awaitAgent(node string) {
	s.t.Helper()
	controllertest.Await(s.t, "the agent is connected and not being replaced", func() (bool, string) {
		r := s.owner.Get("/api/acme/nodes/" + node)
		return r.Object(s.t)["status"] == "connected", string(r.Body)
	})
}

// letGo ends a hold that is in the way of what comes next.
func (s *stage) letGo() {
	s.owner.Delete("/api/acme/deployments/" + s.rows["{deploymentId}"] + "/releases/1/hold")
}

func (s *stage) awaitContainer() {
	s.t.Helper()
	controllertest.Await(s.t, "the container is there", func() (bool, string) {
		r := s.owner.Get("/api/acme/nodes/" + s.rows["{nodeId}"] + "/containers?prefix=shop")
		return strings.Contains(string(r.Body), `"web"`), string(r.Body)
	})
}

// fresh is a name that nothing has yet.
func (s *stage) fresh() string {
	s.counter++
	return fmt.Sprintf("fresh-%d", s.counter)
}

// add makes something and returns its id.
func (s *stage) add(path string, body any) string {
	s.t.Helper()
	return s.owner.Post("/api"+path, body).Expect(s.t, http.StatusCreated).String(s.t, "id")
}

// member puts somebody with an account into the team. Accounts are written into
// the database: one address may register only so many.
func (s *stage) member() (id string) {
	s.t.Helper()
	id = uuid.NewString()
	s.execute(s.t, `insert into users (id, email, name, password_hash, created_at, updated_at) values ($1, $2, 'some', '', now(), now())`,
		id, s.fresh()+"@example.com")
	s.execute(s.t, `insert into team_members (team_id, user_id, role, joined_at) values ($1, $2, 'user', now())`, s.rows["{teamId}"], id)
	return id
}

// leaver is in the team and logged in.
func (s *stage) leaver() *controllertest.Client {
	s.t.Helper()
	email := s.fresh() + "@example.com"
	client := s.Register(s.t, email)
	s.execute(s.t, `insert into team_members (team_id, user_id, role, joined_at) select $1, id, 'user', now() from users where email = $2`,
		s.rows["{teamId}"], email)
	return client
}

// invited is somebody with an account and an invitation.
func (s *stage) invited() *controllertest.Client {
	s.t.Helper()
	email := s.fresh() + "@example.com"
	client := s.Register(s.t, email)
	s.invite(email)
	return client
}

func (s *stage) invite(email string) (id string) {
	s.t.Helper()
	return s.add("/teams/"+s.rows["{teamId}"]+"/users", object{"email": email, "firstName": "Some"})
}

// nodeWithAgent is a node whose agent is away, in the state that columns say.
func (s *stage) nodeWithAgent(columns, values string) string {
	s.t.Helper()
	node := s.add("/acme/nodes", object{"name": s.fresh()})
	s.execute(s.t, `insert into agents (id, node_id, key_hash, certificate_not_after, enrolled_at`+columns+`)
		values (gen_random_uuid(), $1, sha256($1::uuid::text::bytea), now() + interval '1 day', now()`+values+`)`, node)
	return node
}

func (s *stage) registry() string {
	return s.add("/acme/registries", object{"name": s.fresh(), "type": "unchecked", "details": object{"url": "example.net"}})
}

func (s *stage) version(kind string) string {
	return s.add("/acme/projects/"+s.rows["{projectId}"]+"/versions", object{"name": s.fresh(), "type": kind})
}

func (s *stage) image() string {
	s.t.Helper()
	var made []struct{ ID string }
	s.owner.Post("/api/acme/projects/"+s.rows["{projectId}"]+"/versions/"+s.rows["{versionId}"]+"/images",
		[]any{object{"registryId": s.rows["{registryId}"], "images": []string{"web:1"}}}).Expect(s.t, http.StatusCreated).Into(s.t, &made)
	return made[0].ID
}

// deployment is one that can be deleted: nothing of it runs.
func (s *stage) deployment() string {
	return s.add("/acme/deployments", object{"versionId": s.rows["{versionId}"], "nodeId": s.rows["{nodeId}"], "prefix": s.fresh()})
}

func (s *stage) trust() string {
	return s.add("/acme/oidc-trusts", object{
		"name": s.fresh(), "provider": "github", "issuer": s.issuer.URL, "audience": "fairlead",
		"deploymentId": s.rows["{deploymentId}"], "conditions": object{"repository_id": []string{"42"}},
	})
}

// state is what the acts are about, as a text that differs whenever something of
// it does. What nodes report and what is sent is not in it: it changes by itself.
func (s *stage) state() string {
	s.t.Helper()
	tables := []string{
		"access_tokens", "assignments", "deployment_tokens", "deployments", "idempotency_keys", "images", "installations", "instances",
		"invitations", "notifications", "oidc_trusts", "projects", "registries", "release_holds", "releases",
		"storages", "team_members", "teams", "versions", "oidc_exchanges",
	}
	counted := []string{"commands", "mails", "node_updates", "rollouts", "users", "nodes", "agents", "notification_deliveries"}
	var parts []string
	for _, table := range tables {
		parts = append(parts, fmt.Sprintf("select '%[1]s ' || coalesce(md5(string_agg(t::text, '|' order by t::text)), '') as line from %[1]s t", table))
	}
	for _, table := range counted {
		parts = append(parts, fmt.Sprintf("select '%[1]s ' || count(*) from %[1]s", table))
	}
	parts = append(parts, "select 'node ' || coalesce(string_agg(concat_ws(',', name, description, type), '|' order by id), '') from nodes",
		"select 'agent ' || coalesce(string_agg(concat_ws(',', revoked_at, quarantine, diverged), '|' order by id), '') from agents",
		"select 'cancelled ' || count(*) from rollouts where state = 'cancelled'",
		"select 'user ' || coalesce(string_agg(concat_ws(',', email, last_login_at), '|' order by id), '') from users")
	rows, err := s.db.Query(s.t.Context(), strings.Join(parts, " union all "))
	if err != nil {
		s.t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// row is one of the audit log.
type auditRow struct {
	Event, Method, Actor string
	Team                 bool
}

func (s *stage) rowsAfter(id int64) []auditRow {
	s.t.Helper()
	rows, err := s.db.Query(s.t.Context(), "select event, method, actor_name, team_id is not null from audit_log where id > $1 order by id", id)
	if err != nil {
		s.t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[auditRow])
	if err != nil {
		s.t.Fatal(err)
	}
	return list
}

func (s *stage) newest() (id int64) {
	s.t.Helper()
	if err := s.db.QueryRow(s.t.Context(), "select coalesce(max(id), 0) from audit_log").Scan(&id); err != nil {
		s.t.Fatal(err)
	}
	return id
}

// TestEveryMutationIsAudited makes every route that can change something change
// it: first while the audit log takes no row, when nothing may change, since the
// row is part of the act's transaction; then for real, when there is a row of
// the act, by whom it was and without secrets.
func TestEveryMutationIsAudited(t *testing.T) {
	s := newStage(t)
	acts := s.acts()
	for _, o := range operations(t, s.Controller) {
		endpoint := o.Method + " " + o.Path
		if o.Method == http.MethodGet && o.reads() {
			continue
		}
		prepare, known := acts[endpoint]
		if reason := leavesNoTrace(endpoint); reason != "" {
			if known {
				t.Errorf("%s has an act and a reason to write none", endpoint)
			}
			continue
		}
		if !known {
			t.Errorf("%s is not tried: give it an act, or a reason to write no audit row", endpoint)
			continue
		}
		t.Run(endpoint, func(t *testing.T) {
			s.t = t
			s.owner = s.owner.In(t)
			s.try(o, prepare)
		})
	}
	var leaked int
	if err := s.db.QueryRow(t.Context(), "select count(*) from audit_log a where strpos(a::text, $1) > 0", neverAudited).Scan(&leaked); err != nil || leaked > 0 {
		t.Errorf("%d rows show a secret (%v)", leaked, err)
	}
}

// try performs an act twice. What a node does meanwhile may be in its way: then
// it is made ready once more.
func (s *stage) try(o operation, prepare func() act) {
	s.t.Helper()
	for attempt := 1; ; attempt++ {
		a := prepare()
		path := s.path(o, a)
		before := s.state()
		s.execute(s.t, "alter table audit_log add constraint refused check (false) not valid")
		refused := a.perform(s, o.Method, path)
		s.execute(s.t, "alter table audit_log drop constraint refused")
		after, last := s.state(), s.newest()
		done := a.perform(s, o.Method, path)
		// An effect of the act itself is there every time, what a node reports or a
		// courier sends at the same moment is not.
		disturbed := before != after || refused.Status == http.StatusPreconditionFailed || done.Status == http.StatusPreconditionFailed
		if disturbed && attempt < 5 {
			continue
		}
		if refused.Status < http.StatusBadRequest || !strings.Contains(string(refused.Body), "write the audit log") {
			s.t.Errorf("without its audit row the act answers %d: %s", refused.Status, refused.Body)
		}
		if before != after {
			s.t.Errorf("without its audit row the act had an effect:\n%s\n--- became\n%s", before, after)
		}
		if done.Status >= http.StatusBadRequest {
			s.t.Errorf("the act answers %d: %s", done.Status, done.Body)
		}
		s.mustSay(last, cmp.Or(a.event, o.Permission), strings.ToLower(o.Method))
		return
	}
}

// reads tells whether the permission of a GET is to read, as of all but those
// that become something else once they are answered.
func (o operation) reads() bool {
	_, verb, _ := strings.Cut(string(o.Permission), ".")
	return slices.Contains([]string{"", "read", "list"}, verb)
}

func (a act) perform(s *stage, method, path string) controllertest.Reply {
	if a.over != nil {
		return a.over(path)
	}
	if a.who == nil {
		return s.owner.Do(method, path, a.body)
	}
	return a.who.Do(method, path, a.body)
}

// path fills in the ids of an act, and those of the stage.
func (s *stage) path(o operation, a act) string {
	parts := strings.Split(o.Path, "/")
	for i, part := range parts {
		parts[i] = cmp.Or(a.at[part], s.rows[part], part)
	}
	return strings.Join(parts, "/")
}

// mustSay checks that a row which came after another says what was done, and
// that a person or a token did it.
func (s *stage) mustSay(last int64, event authz.Action, method string) {
	s.t.Helper()
	rows := s.rowsAfter(last)
	if !slices.ContainsFunc(rows, func(r auditRow) bool {
		return r.Event == string(event) && r.Method == method && r.Actor != "" && r.Actor != "system"
	}) {
		s.t.Errorf("no row says %s by %s: %+v", event, method, rows)
	}
}
