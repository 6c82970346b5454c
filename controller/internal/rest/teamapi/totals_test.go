package teamapi_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/page"
)

// TestTotalsOfLogsAreExactNearTheEnd asks each log that there is, with more
// entries behind its first page than are counted.
func TestTotalsOfLogsAreExactNearTheEnd(t *testing.T) {
	k := newCast(t)
	x := k.newTenant(t, k.people[actor.Owner], "acme")
	const more = page.Counted + 500
	const during = "'2020-06-01'::timestamptz + n * interval '1 second'"
	const between = "from=2020-01-01T00:00:00Z&to=2020-12-31T00:00:00Z&"
	logs := map[string]struct {
		query string
		// fill makes entries of the parameter's id, a second after one another.
		parameter, fill string
		// ascends tells that a page begins with its oldest entry.
		ascends bool
		at      string
	}{
		"/api/{teamSlug}/audit-log": {query: between, parameter: "{teamId}", at: "createdAt",
			fill: `insert into audit_log (team_id, actor_type, actor_name, method, event, data, created_at) select $1, 'system', 'x', '', 'test.total', '{}', ` + during},
		"/api/{teamSlug}/nodes/{nodeId}/audit": {query: between, parameter: "{nodeId}", at: "createdAt",
			fill: `insert into node_events (node_id, event, data, created_at) select $1, 'test.total', '{}', ` + during},
		"/api/{teamSlug}/nodes/{nodeId}/events": {parameter: "{nodeId}", at: "at",
			fill: `insert into container_events (node_id, agent_id, spool_id, sequence, type, prefix, name, engine_id, lines, happened_at)
				select $1, gen_random_uuid(), 's', n, 'exit', 'p', 'n', 'e', '[]', ` + during},
		"/api/{teamSlug}/deployments/{deploymentId}/log": {query: "try=7&", parameter: "{deploymentId}", ascends: true, at: "createdAt",
			fill: `insert into deployment_events (deployment_id, release, type, level, lines, created_at) select $1, 7, 'log', 'info', '["x"]', ` + during},
		"/api/{teamSlug}/notifications/{notificationId}/deliveries": {parameter: "{notificationId}", at: "createdAt",
			fill: `insert into notification_deliveries (notification_id, event, message, due_at, finished_at, created_at) select $1, 'version-created', '{}', now(), now(), ` + during},
		"/api/{teamSlug}/rollouts": {parameter: "{teamId}", at: "createdAt",
			fill: `insert into rollouts (id, team_id, to_version, state, waves, finished_at, created_by, created_at) select gen_random_uuid(), $1, 'v', 'successful', 1, now(), 'x', ` + during},
	}
	for _, o := range operations(t, k.Controller) {
		lists, array := o.lists()
		if !lists || array {
			continue
		}
		t.Run(o.Path, func(t *testing.T) {
			log, known := logs[o.Path]
			if !known {
				t.Fatal("its total is not tried: give it entries")
			}
			for _, table := range []string{"container_events", "notification_deliveries"} { // so that the entries are all there are
				if strings.Contains(log.fill, table) {
					k.execute(t, "delete from "+table)
				}
			}
			k.execute(t, log.fill+" from generate_series(1, $2::int) n", x.rows[log.parameter], more)
			path, _, _ := strings.Cut(o.at("", "", x.rows), "?")
			for _, c := range []struct{ skip, items, total int }{
				{0, 100, 100 + page.Counted},
				{200, 100, 300 + page.Counted},
				{400, 100, more}, // as many are behind it as are counted
				{more - 10, 10, more},
				{more, 0, more},
				{1 << 62, 0, more},
			} {
				var got struct {
					Items []map[string]any
					Total int
				}
				x.Get(path+"?"+log.query+"take=100&skip="+strconv.Itoa(c.skip)).Expect(t, http.StatusOK).Into(t, &got)
				if len(got.Items) != c.items || got.Total != c.total {
					t.Errorf("%d passed over: %d of %d, want %d of %d", c.skip, len(got.Items), got.Total, c.items, c.total)
				}
				if log.ascends {
					slices.Reverse(got.Items)
				}
				for i := 1; i < len(got.Items); i++ {
					newer, _ := got.Items[i-1][log.at].(string)
					older, _ := got.Items[i][log.at].(string)
					if newer <= older {
						t.Fatalf("%q comes before %q, want the newest first", newer, older)
					}
				}
			}
		})
	}
}
