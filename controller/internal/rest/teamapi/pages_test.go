package teamapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/controllertest"
)

// lists tells whether the operation answers a list of what is stored, and
// whether it does so as an array.
func (o operation) lists() (lists, array bool) {
	success, _ := o.Responses["200"].(map[string]any)
	content, _ := success["content"].(map[string]any)
	media, _ := content["application/json"].(map[string]any)
	schema, _ := media["schema"].(map[string]any)
	// Templates come with the program, what is in a registry from there.
	if o.Method != http.MethodGet || o.Path == "/api/templates" || strings.Contains(o.Path, "/registries/{registryId}/") {
		return false, false
	}
	kind, _ := json.Marshal(schema["type"])
	if strings.Contains(string(kind), "array") {
		return true, true
	}
	ref, _ := schema["$ref"].(string)
	return strings.HasSuffix(ref, "Page") || slices.Contains([]string{
		"/api/{teamSlug}/nodes/{nodeId}/audit", "/api/{teamSlug}/nodes/{nodeId}/events", "/api/{teamSlug}/deployments/{deploymentId}/log",
	}, o.Path), false
}

// multiply makes copies of a row: rows of the table where a column has a value,
// with other values in some columns. In those n is the number of the copy.
func (k cast) multiply(t testing.TB, count int, table, column, value string, other map[string]string) {
	t.Helper()
	var pairs []string
	for name, expression := range other {
		pairs = append(pairs, "'"+name+"', "+expression)
	}
	k.execute(t, fmt.Sprintf(`insert into %[1]s overriding user value
		select (jsonb_populate_record(null::%[1]s, to_jsonb(t) || jsonb_build_object(%[2]s))).*
		from (select * from %[1]s where %[3]s::text = $1 limit 1) t, generate_series(1, $2::int) n`,
		table, strings.Join(pairs, ", "), column), value, count)
}

// many makes that many more of everything that the tenant's lists have.
func (k cast) many(t testing.TB, x tenant, count int) {
	t.Helper()
	fresh := map[string]string{"id": "gen_random_uuid()", "name": "gen_random_uuid()::text"}
	with := func(more map[string]string) map[string]string {
		all := map[string]string{}
		for _, m := range []map[string]string{fresh, more} {
			for name, expression := range m {
				all[name] = expression
			}
		}
		return all
	}
	id := func(parameter string) string { return x.rows[parameter] }
	for _, c := range []struct {
		table, parameter string
		other            map[string]string
	}{
		{"teams", "{teamId}", with(map[string]string{"slug": "gen_random_uuid()::text"})},
		{"access_tokens", "{tokenId}", with(map[string]string{"hash": "sha256(gen_random_uuid()::text::bytea)"})},
		{"registries", "{registryId}", fresh}, {"projects", "{projectId}", fresh}, {"storages", "{storageId}", fresh},
		{"notifications", "{notificationId}", fresh}, {"oidc_trusts", "{trustId}", fresh}, {"nodes", "{nodeId}", fresh},
		{"versions", "{versionId}", with(map[string]string{"is_default": "false"})}, {"images", "{imageId}", fresh},
		{"deployments", "{deploymentId}", with(map[string]string{"prefix": "'p-' || gen_random_uuid()::text"})},
	} {
		k.multiply(t, count, c.table, "id", id(c.parameter), c.other)
	}
	k.execute(t, `insert into team_members (team_id, user_id, role, joined_at)
		select t.id, m.user_id, 'owner', now() from teams t, team_members m
		where m.team_id = $1 and m.role = 'owner' and not exists (select from team_members x where x.team_id = t.id)`, id("{teamId}"))
	k.execute(t, `insert into releases (id, deployment_id, number, spec, trigger, created_at, created_by)
		select gen_random_uuid(), $1, coalesce((select max(number) from releases where deployment_id = $1), 0) + n, '{}', 'start', now(), 'x'
		from generate_series(1, $2::int) n`, id("{deploymentId}"), count)
	k.execute(t, `insert into deployment_events (deployment_id, release, type, level, lines, created_at)
		select $1, 1, 'log', 'info', '["x"]', now() from generate_series(1, $2::int) n`, id("{deploymentId}"), count)
	k.execute(t, `insert into notification_deliveries (notification_id, event, message, due_at, created_at, finished_at)
		select $1, 'version-created', '{}', now(), now(), now() from generate_series(1, $2::int) n`, id("{notificationId}"), count)
	k.execute(t, `insert into rollouts (id, team_id, to_version, state, waves, created_at, created_by, finished_at)
		select gen_random_uuid(), $1, 'v', 'successful', 1, now(), 'x', now() from generate_series(1, $2::int) n`, id("{teamId}"), count)
	k.execute(t, `insert into node_events (node_id, event, data, created_at) select $1, 'x', '{}', now() from generate_series(1, $2::int) n`, id("{nodeId}"), count)
	k.execute(t, `insert into audit_log (team_id, actor_type, actor_name, method, event, data, created_at)
		select $1, 'system', 'x', '', 'x', '{}', now() from generate_series(1, $2::int) n`, id("{teamId}"), count)
	k.execute(t, `insert into containers (node_id, engine_id, prefix, name, managed, image_name, image_tag, image_digest, command, created_at, state, reason, ports)
		select $1, gen_random_uuid()::text, 'p', 'c' || gen_random_uuid()::text, true, 'i', 't', '', '', now(), 'running', '', '[]'
		from generate_series(1, $2::int) n`, id("{nodeId}"), count)
	k.execute(t, `insert into container_events (node_id, agent_id, spool_id, sequence, type, prefix, name, engine_id, lines, happened_at)
		select $1, gen_random_uuid(), 's', n, 'exit', 'p', 'n', 'e', '[]', now() from generate_series(1, $2::int) n`, id("{nodeId}"), count)
}

// statements reads how many statements the requests of a route took so far.
func statements(t testing.TB, k cast, o operation) int {
	t.Helper()
	route := regexp.MustCompile(`\{(\w+)\}`).ReplaceAllString(o.Path, ":$1")
	line := fmt.Sprintf(`fairlead_http_request_statements_sum{method="%s",route="%s"} `, o.Method, route)
	metrics := string(k.Anonymous(t).Get("/metrics").Expect(t, http.StatusOK).Body)
	_, rest, found := strings.Cut(metrics, line)
	if !found {
		t.Fatalf("no %s in the metrics", line)
	}
	sum, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.Atoi(sum)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// fewestStatements returns how many statements a request takes while the caller
// is remembered, which ends after some seconds.
func fewestStatements(t *testing.T, k cast, x tenant, o operation, path string) int {
	t.Helper()
	const attempts = 4
	fewest := 0
	x.Get(path).Expect(t, http.StatusOK)
	for range attempts {
		before := statements(t, k, o)
		x.Get(path).Expect(t, http.StatusOK)
		if n := statements(t, k, o) - before; fewest == 0 || n < fewest {
			fewest = n
		}
	}
	return fewest
}

// TestListsTakeAsManyStatementsForManyRowsAsForFew asks every list that there
// is, with ten and with two hundred rows.
func TestListsTakeAsManyStatementsForManyRowsAsForFew(t *testing.T) {
	k := newCast(t)
	x := k.newTenant(t, k.people[actor.Owner], "acme")
	var lists []operation
	for _, o := range operations(t, k.Controller) {
		if is, _ := o.lists(); is {
			lists = append(lists, o)
		}
	}
	if len(lists) < 17 {
		t.Errorf("only %d lists found", len(lists))
	}
	const most = 8
	took := map[string]int{}
	for _, rows := range []int{10, 190} {
		k.many(t, x, rows)
		for _, o := range lists {
			name := o.Method + " " + o.Path
			path := strings.Replace(o.at("", "", x.rows), "take=1", "take=1000", 1)
			first := x.Get(path).Expect(t, http.StatusOK)
			n := fewestStatements(t, k, x, o, path)
			if have := entries(t, first); have < rows {
				t.Errorf("%s: %d rows, want %d: give this test's many() some", name, have, rows)
			}
			if few, again := took[name]; again && n != few || n > most {
				t.Errorf("%s: %d statements, with fewer rows %d, want as many and at most %d", name, n, few, most)
			}
			took[name] = n
		}
	}
}

// entries counts those of a list's answer.
func entries(t *testing.T, r controllertest.Reply) int {
	t.Helper()
	var list []any
	if json.Unmarshal(r.Body, &list) == nil {
		return len(list)
	}
	var page struct{ Items []any }
	r.Into(t, &page)
	return len(page.Items)
}

// TestListsAreReadInParts follows the links of every list that is an array.
func TestListsAreReadInParts(t *testing.T) {
	k := newCast(t)
	x := k.newTenant(t, k.people[actor.Owner], "acme")
	k.many(t, x, 20)
	for _, o := range operations(t, k.Controller) {
		if _, array := o.lists(); !array {
			continue
		}
		t.Run(o.Path, func(t *testing.T) {
			path, _, _ := strings.Cut(o.at("", "", x.rows), "?")
			r := x.Get(path).Expect(t, http.StatusOK)
			if link := r.Header.Get("Link"); link != "" {
				t.Errorf("the whole list goes on at %s", link)
			}
			var whole, parts []json.RawMessage
			r.Into(t, &whole)
			for next := path + "?take=8"; next != ""; {
				r := x.Get(next).Expect(t, http.StatusOK)
				var part []json.RawMessage
				r.Into(t, &part)
				if len(part) == 0 || len(part) > 8 {
					t.Fatalf("%s has %d entries", next, len(part))
				}
				parts = append(parts, part...)
				link, named := strings.CutSuffix(r.Header.Get("Link"), `>; rel="next"`)
				if next = strings.TrimPrefix(link, "<"); next != "" && !named {
					t.Fatalf("link %s", r.Header.Get("Link"))
				}
			}
			if len(whole) < 20 || !slices.EqualFunc(whole, parts, func(a, b json.RawMessage) bool { return string(a) == string(b) }) {
				t.Errorf("%d entries in parts, %d in the whole, or others", len(parts), len(whole))
			}
			for _, query := range []string{"skip=-1", "skip=x", "take=0", "take=1001", "take="} {
				want := http.StatusBadRequest
				if query == "take=" {
					want = http.StatusOK
				}
				x.Get(path+"?"+query).Expect(t, want)
			}
		})
	}
}

func TestNoListIsLongerThanAThousandEntries(t *testing.T) {
	k := newCast(t)
	x := k.newTenant(t, k.people[actor.Owner], "acme")
	k.multiply(t, 1005, "projects", "id", x.rows["{projectId}"], map[string]string{"id": "gen_random_uuid()", "name": "gen_random_uuid()::text"})
	r := x.Get("/api/acme/projects").Expect(t, http.StatusOK)
	if n, link := entries(t, r), r.Header.Get("Link"); n != 1000 || link != `</api/acme/projects?skip=1000&take=1000>; rel="next"` {
		t.Errorf("%d entries, link %s", n, link)
	}
	if n := entries(t, x.Get("/api/acme/projects?skip=1000").Expect(t, http.StatusOK)); n != 6 {
		t.Errorf("%d entries after the first thousand, want 6", n)
	}
}
