package teamapi_test

import (
	"net/http"
	"strconv"
	"testing"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/page"
)

// TestTotalsOfLogsAreExactNearTheEnd asks logs in which more follow the first
// page than are counted.
func TestTotalsOfLogsAreExactNearTheEnd(t *testing.T) {
	k := newCast(t)
	x := k.newTenant(t, k.people[actor.Owner], "acme")
	const more = page.Counted + 500
	k.execute(t, `insert into audit_log (team_id, actor_type, actor_name, method, event, data, created_at)
		select $1, 'system', 'x', '', 'test.total', '{}', '2020-06-01'::timestamptz + n * interval '1 second' from generate_series(1, $2::int) n`,
		x.rows["{teamId}"], more)
	k.execute(t, `insert into node_events (node_id, event, data, created_at)
		select $1, 'test.total', '{}', '2020-06-01'::timestamptz + n * interval '1 second' from generate_series(1, $2::int) n`, x.rows["{nodeId}"], more)
	const between = "?from=2020-01-01T00:00:00Z&to=2020-12-31T00:00:00Z&take=100&skip="
	for _, path := range []string{"/api/acme/audit-log", "/api/acme/nodes/" + x.rows["{nodeId}"] + "/audit"} {
		for _, c := range []struct{ skip, items, total int }{
			{0, 100, 100 + page.Counted},
			{200, 100, 300 + page.Counted},
			{400, 100, more}, // as many are behind it as are counted
			{more - 10, 10, more},
			{more, 0, more},
			{1 << 62, 0, more},
		} {
			var got struct {
				Items []struct{ CreatedAt string }
				Total int
			}
			x.Get(path+between+strconv.Itoa(c.skip)).Expect(t, http.StatusOK).Into(t, &got)
			if len(got.Items) != c.items || got.Total != c.total {
				t.Errorf("%s, %d passed over: %d of %d, want %d of %d", path, c.skip, len(got.Items), got.Total, c.items, c.total)
			}
			for i := 1; i < len(got.Items); i++ {
				if got.Items[i-1].CreatedAt <= got.Items[i].CreatedAt {
					t.Fatalf("%s: %s comes before %s, want the newest first", path, got.Items[i-1].CreatedAt, got.Items[i].CreatedAt)
				}
			}
		}
	}
}
