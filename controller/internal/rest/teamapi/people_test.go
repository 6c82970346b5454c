package teamapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"fairlead.dev/controller/internal/controllertest"
)

// people returns the statuses of a team's people by address.
func people(t *testing.T, c *controllertest.Client, teamID string) map[string]string {
	t.Helper()
	var detail struct {
		Users []struct{ Email, Status, Role string }
	}
	c.Get("/api/teams/"+teamID).Expect(t, http.StatusOK).Into(t, &detail)
	found := map[string]string{}
	for _, u := range detail.Users {
		found[u.Email] = u.Status + " " + u.Role
	}
	return found
}

func TestInvitedPersonRegistersAnswersAndLeaves(t *testing.T) {
	c := controllertest.New(t)
	owner := c.Admin(t)
	teamID := owner.Post("/api/teams", map[string]any{"name": "Acme", "slug": "acme"}).Expect(t, http.StatusCreated).String(t, "id")
	users := "/api/teams/" + teamID + "/users"
	invited := owner.Post(users, map[string]any{"email": "Nell@example.com", "firstName": "Nell", "lastName": "New", "captcha": "x"}).
		Expect(t, http.StatusCreated)
	for key, want := range map[string]any{"email": "nell@example.com", "name": "Nell New", "role": "user", "status": "pending", "lastLogin": nil} {
		if got := invited.Object(t)[key]; got != want {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
	link, token, found := strings.Cut(invited.String(t, "invitationLink"), "#invitation=")
	if !found || link != c.URL+"/register?team="+teamID || invited.Object(t)["mailed"] != false {
		t.Fatalf("link %q", link)
	}
	problem(t, owner.Post(users, map[string]any{"email": "nell@example.com", "firstName": "Nell"}), http.StatusConflict)

	id := invited.String(t, "id")
	owner.Post(users+"/"+id+"/reinvite", nil).Expect(t, http.StatusNoContent)
	registration := map[string]any{"email": "nell@example.com", "password": controllertest.AdminPassword, "invitationToken": "guessed"}
	problem(t, c.Anonymous(t).Post("/api/auth/register", registration), http.StatusForbidden)
	registration["invitationToken"] = token
	if got := c.Anonymous(t).Post("/api/auth/register", registration).Expect(t, http.StatusCreated).String(t, "id"); got != id {
		t.Errorf("the account's id is %s, the team knew %s", got, id)
	}
	nell := c.LogIn(t, "nell@example.com", controllertest.AdminPassword)
	var self struct {
		Teams, Invitations []struct{ ID, Name, Slug, Role string }
	}
	nell.Post("/api/users/me", nil).Expect(t, http.StatusOK).Into(t, &self)
	if len(self.Teams) != 0 || len(self.Invitations) != 1 || self.Invitations[0].ID != teamID {
		t.Fatalf("before the answer: %+v", self)
	}
	problem(t, nell.Get("/api/teams/"+teamID), http.StatusNotFound)
	answer := "/api/users/me/invitations/" + teamID
	nell.Delete(answer).Expect(t, http.StatusNoContent)
	if got := people(t, owner, teamID)["nell@example.com"]; got != "declined user" {
		t.Errorf("after declining: %q", got)
	}
	problem(t, owner.Post(users+"/"+id+"/reinvite", nil), http.StatusPreconditionFailed)
	nell.Post(answer, nil).Expect(t, http.StatusNoContent)
	problem(t, nell.Post(answer, nil), http.StatusNotFound)
	if got := people(t, owner, teamID)["nell@example.com"]; got != "verified user" {
		t.Errorf("after accepting: %q", got)
	}

	problem(t, owner.Delete(users+"/leave"), http.StatusPreconditionFailed)
	owner.Put(users+"/"+id+"/role", map[string]any{"role": "owner"}).Expect(t, http.StatusNoContent)
	problem(t, owner.Put(users+"/"+id+"/role", map[string]any{"role": "king"}), http.StatusBadRequest)
	owner.Delete(users+"/leave").Expect(t, http.StatusNoContent)
	problem(t, nell.Delete(users+"/leave"), http.StatusPreconditionFailed)
	problem(t, nell.Delete(users+"/"+id), http.StatusPreconditionFailed)
	nell.Delete("/api/teams/"+teamID).Expect(t, http.StatusNoContent)
	problem(t, nell.Get("/api/teams/"+teamID), http.StatusNotFound)
}

// Nothing that opens a door is in the database or in its audit log.
func TestInvitationTokensAreNotKept(t *testing.T) {
	c := controllertest.New(t)
	owner := c.Admin(t)
	teamID := owner.Post("/api/teams", map[string]any{"name": "Acme", "slug": "acme"}).Expect(t, http.StatusCreated).String(t, "id")
	link := owner.Post("/api/teams/"+teamID+"/users", map[string]any{"email": "nell@example.com", "firstName": "Nell"}).
		Expect(t, http.StatusCreated).String(t, "invitationLink")
	_, token, _ := strings.Cut(link, "#invitation=")
	db, err := pgx.Connect(t.Context(), c.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(t.Context()) }()
	var rows int
	err = db.QueryRow(t.Context(), `select (select count(*) from invitations i where i::text like $1)
		+ (select count(*) from audit_log a where a::text like $1)`, "%"+token+"%").Scan(&rows)
	if err != nil || rows != 0 {
		t.Errorf("%d rows hold the token, error %v", rows, err)
	}
}
