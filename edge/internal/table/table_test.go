package table_test

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"fairlead.dev/edge/internal/table"
	"fairlead.dev/shared/edgeapi"
)

func open(t *testing.T) (*table.Table, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "routes.json")
	tab, err := table.Open(path, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return tab, path
}

func route(name, host, path string, upstreams ...string) edgeapi.Route {
	r := edgeapi.Route{Name: name, Host: host, Path: path}
	for _, id := range upstreams {
		r.Upstreams = append(r.Upstreams, edgeapi.Upstream{ID: id, Address: "127.0.0.1", Port: 1})
	}
	return r
}

func set(t *testing.T, tab *table.Table, owner string, routes ...edgeapi.Route) {
	t.Helper()
	if err := tab.Set(owner, routes); err != nil {
		t.Fatal(err)
	}
}

func TestLongestPathOfTheHostWins(t *testing.T) {
	tab, _ := open(t)
	set(t, tab, "a", route("root", "a.test", "/"), route("api", "a.test", "/api"), route("deep", "a.test", "/api/v1"))
	set(t, tab, "b", route("any", "", "/api/v1/x"))
	for at, want := range map[[2]string]string{
		{"a.test", "/"}: "root", {"a.test", "/apis"}: "root", {"a.test", "/api"}: "api", {"a.test", "/api/v2"}: "api",
		{"a.test", "/api/v1/x"}: "deep", {"A.TEST.:8080", "/api/v1"}: "deep", {"b.test", "/api/v1/x/y"}: "any",
		{"[::1]:80", "/api/v1/x"}: "any", {"b.test", "/"}: "",
	} {
		if got, _ := tab.Find(at[0], at[1]); got.Name != want {
			t.Errorf("%s%s takes %q, want %q", at[0], at[1], got.Name, want)
		}
	}
}

func TestRouteBelongsToOneOwner(t *testing.T) {
	tab, path := open(t)
	set(t, tab, "a", route("web", "a.test", "/"))
	var conflict *edgeapi.ConflictError
	if err := tab.Set("b", []edgeapi.Route{route("new", "b.test", "/"), route("web", "a.test", "/")}); !errors.As(err, &conflict) || conflict.Owner != "a" {
		t.Errorf("b takes a's route: %v", err)
	}
	if _, found := tab.Find("b.test", "/"); found {
		t.Error("a part of what was refused was set")
	}
	set(t, tab, "a", route("web", "a.test", "/new"))
	set(t, tab, "b", route("web", "a.test", "/"))
	again, err := table.Open(path, time.Now)
	if err != nil || !reflect.DeepEqual(again.State().Owners, tab.State().Owners) {
		t.Errorf("read again: %+v %v, want %+v", again.State().Owners, err, tab.State().Owners)
	}
}

func TestRequestsAreSpreadOverUpstreams(t *testing.T) {
	tab, _ := open(t)
	set(t, tab, "a", route("web", "a.test", "/", "one", "two"))
	counts := map[string]int{}
	for range 10 {
		u, _ := tab.Lease("a.test", "/").Next()
		counts[u.ID]++
	}
	if counts["one"] != 5 || counts["two"] != 5 {
		t.Errorf("requests went to %v, want as many to each", counts)
	}
}

// A request that could not reach its upstream goes to another, also to one of
// the routes that were set meanwhile, and the one that failed is passed over.
func TestFailedUpstreamIsLeftForAnother(t *testing.T) {
	tab, _ := open(t)
	set(t, tab, "a", route("web", "a.test", "/", "one", "two"))
	lease := tab.Lease("a.test", "/")
	first, _ := lease.Next()
	second, _ := lease.Next()
	if first.ID == second.ID {
		t.Errorf("%s is tried again", first.ID)
	}
	set(t, tab, "a", route("web", "a.test", "/", "three"))
	if third, _ := lease.Next(); third.ID != "three" {
		t.Errorf("%s is tried though its route is gone", third.ID)
	}
	lease.End()
	if left := tab.Drain(t.Context(), []string{"one", "two", "three"}); left != 0 {
		t.Errorf("%d requests are left", left)
	}
}

// Requests begin and end all the time while the route moves: when the old
// upstream is drained none is at it, and none comes to it any more.
func TestDrainMissesNoRequest(t *testing.T) {
	tab, _ := open(t)
	set(t, tab, "a", route("web", "a.test", "/", "0"))
	ctx, cancel := context.WithCancel(t.Context())
	drained := map[string]bool{}
	var mu sync.Mutex
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				lease := tab.Lease("a.test", "/")
				u, _ := lease.Next()
				mu.Lock()
				late := drained[u.ID]
				mu.Unlock()
				if late {
					t.Errorf("a request is at %s, which was drained", u.ID)
				}
				lease.End()
			}
		})
	}
	names := []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}
	for i, name := range names[1:] {
		set(t, tab, "a", route("web", "a.test", "/", name))
		if left := tab.Drain(t.Context(), names[:i+1]); left != 0 {
			t.Errorf("%d requests are left", left)
		}
		mu.Lock()
		drained[names[i]] = true
		mu.Unlock()
	}
	cancel()
	clients.Wait()
	if state := tab.State(); len(state.InFlight) != 1 {
		t.Errorf("upstreams that are gone are remembered: %v", state.InFlight)
	}
}

func TestDrainEndsWithItsTime(t *testing.T) {
	tab, _ := open(t)
	set(t, tab, "a", route("web", "a.test", "/", "one"))
	lease := tab.Lease("a.test", "/")
	lease.Next()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if left := tab.Drain(ctx, []string{"one"}); left != 1 {
		t.Errorf("%d requests are left, want the one", left)
	}
	lease.End()
}
