package teamapi_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fairlead.dev/controller/internal/actor"
)

func TestNotificationsAreManagedTestedAndDelivered(t *testing.T) {
	k := newCast(t)
	owner := k.people[actor.Owner]
	bodies := make(chan string, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, _ := io.ReadAll(r.Body)
		bodies <- string(content)
		if strings.HasSuffix(r.URL.Path, "refuse") {
			w.WriteHeader(http.StatusGone)
		}
	}))
	t.Cleanup(receiver.Close)
	heard := func(what string) {
		t.Helper()
		select {
		case body := <-bodies:
			if !strings.Contains(body, what) {
				t.Errorf("no %q in %s", what, body)
			}
		case <-time.After(2 * time.Minute):
			t.Fatalf("waited too long for a message with %q", what)
		}
	}

	const all = "/api/acme/notifications"
	draft := map[string]any{
		"name": "chat", "type": "slack", "url": receiver.URL + "/s3cret-refuse", "active": true,
		"enabledEvents": []string{"node-added", "version-created", "deployment-created", "user-invited", "deployment-status"},
	}
	made := owner.Post(all, draft).Expect(t, http.StatusCreated)
	one := made.Header.Get("Location")
	if made.String(t, "creatorName") == "" || one != all+"/"+made.String(t, "id") {
		t.Errorf("made %s at %s", made.Body, one)
	}
	problem(t, owner.Post(all, draft), http.StatusConflict)
	problem(t, owner.Post(one+"/test", nil), http.StatusBadRequest)
	heard("This is a test")
	draft["url"] = receiver.URL + "/s3cret"
	if got := owner.Put(one, draft).Expect(t, http.StatusOK).String(t, "url"); got != draft["url"] {
		t.Errorf("url %q after the change", got)
	}
	owner.Post(one+"/test", nil).Expect(t, http.StatusNoContent)
	heard("This is a test")
	var list []map[string]any
	owner.Get(all).Expect(t, http.StatusOK).Into(t, &list)
	if len(list) != 1 || list[0]["name"] != "chat" {
		t.Errorf("list %v", list)
	}

	owner.Post("/api/acme/nodes", map[string]any{"name": "first"}).Expect(t, http.StatusCreated)
	heard("Node first was added")
	owner.Post("/api/teams/"+k.teamID+"/users", map[string]any{"email": "nell@example.com", "firstName": "Nell"}).Expect(t, http.StatusCreated)
	heard("nell@example.com was invited")

	db, err := pgx.Connect(t.Context(), k.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(t.Context()) }()
	var leaks int
	if err := db.QueryRow(t.Context(), "select count(*) from audit_log a where a::text like '%s3cret%'").Scan(&leaks); err != nil || leaks != 0 {
		t.Errorf("%d rows of the audit log hold the URL, error %v", leaks, err)
	}
	owner.Delete(one).Expect(t, http.StatusNoContent)
	problem(t, owner.Get(one), http.StatusNotFound)
}
