package invitation_test

import (
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/controller/internal/smtp/smtptest"
)

func fetch(t *testing.T, method, target string, form url.Values) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body), res.Header
}

// mailing is a controller that sends e-mails, where only who is invited may
// register, and a team.
func mailing(t *testing.T) (c *controllertest.Controller, server *smtptest.Server, owner *controllertest.Client, teamID string) {
	t.Helper()
	server = smtptest.New(t)
	c = controllertest.NewWith(t, "FAIRLEAD_REGISTRATION=closed",
		"FAIRLEAD_SMTP_ADDR="+server.Address, "FAIRLEAD_SMTP_FROM=Fairlead <fairlead@example.com>", "FAIRLEAD_SMTP_ROOTS="+server.RootsFile,
		"FAIRLEAD_SMTP_USERNAME="+smtptest.Username, "FAIRLEAD_SMTP_PASSWORD="+smtptest.Password)
	owner = c.Admin(t)
	teamID = owner.Post("/api/teams", map[string]any{"name": "Acme", "slug": "acme"}).Expect(t, http.StatusCreated).String(t, "id")
	return c, server, owner, teamID
}

// link is the one in a mail, and its token.
func link(t *testing.T, m smtptest.Mail) (page, token string) {
	t.Helper()
	content := strings.ReplaceAll(strings.ReplaceAll(m.Content, "=\r\n", ""), "=3D", "=")
	found := regexp.MustCompile(`http://\S+/register\S+`).FindString(content)
	page, token, _ = strings.Cut(found, "#invitation=")
	if page == "" {
		t.Fatalf("no link in\n%s", m.Content)
	}
	return page, token
}

func answer(page, token, email, password string) url.Values {
	u, _ := url.Parse(page)
	return url.Values{"team": {u.Query().Get("team")}, "token": {token}, "email": {email}, "password": {password}}
}

func TestAnInvitationGoesOutByMailAndItsLinkLeadsIn(t *testing.T) {
	c, server, owner, teamID := mailing(t)
	users := "/api/teams/" + teamID + "/users"
	invited := owner.Post(users, map[string]any{"email": "nell@example.com", "firstName": "Nell"}).Expect(t, http.StatusCreated)
	if o := invited.Object(t); o["mailed"] != true || o["invitationLink"] != nil {
		t.Errorf("the inviter is shown %s", invited.Body)
	}
	first := server.Received(t, 1)[0]
	if first.To[0] != "nell@example.com" || !strings.Contains(first.Content, "invites you to the team") {
		t.Errorf("mail %+v", first)
	}
	page, token := link(t, first)
	db, err := pgx.Connect(t.Context(), c.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(t.Context()) }()
	var held int
	if err := db.QueryRow(t.Context(), "select count(*) from mails m where m::text like $1", "%"+token+"%").Scan(&held); err != nil || held != 0 {
		t.Errorf("%d rows hold the token, %v", held, err)
	}

	// Inviting again sends another link; the first one is void.
	owner.Post(users+"/"+invited.String(t, "id")+"/reinvite", nil).Expect(t, http.StatusNoContent)
	_, newer := link(t, server.Received(t, 2)[1])
	status, body, header := fetch(t, http.MethodGet, page, nil)
	if status != http.StatusOK || !strings.Contains(body, "<form") || !strings.Contains(body, teamID) || !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Fatalf("%d %v\n%s", status, header, body)
	}
	for name, refused := range map[string]url.Values{
		"the void token":  answer(page, token, "nell@example.com", controllertest.AdminPassword),
		"another address": answer(page, newer, "other@example.com", controllertest.AdminPassword),
		"short password":  answer(page, newer, "nell@example.com", "short"),
		"no token":        answer(page, "", "nell@example.com", controllertest.AdminPassword),
		"markup":          answer(page, `"><script>alert(1)</script>`, "nell@example.com", controllertest.AdminPassword),
		"no team":         {"email": {"nell@example.com"}},
	} {
		status, body, _ := fetch(t, http.MethodPost, c.URL+"/register", refused)
		if status != http.StatusBadRequest || strings.Contains(body, "<script>alert") {
			t.Errorf("%s: %d\n%s", name, status, body)
		}
	}
	status, body, _ = fetch(t, http.MethodPost, c.URL+"/register", answer(page, newer, "nell@example.com", controllertest.AdminPassword))
	if status != http.StatusOK || !strings.Contains(body, "nell@example.com is a member") {
		t.Fatalf("%d\n%s", status, body)
	}
	c.LogIn(t, "nell@example.com", controllertest.AdminPassword).Get("/api/teams/"+teamID).Expect(t, http.StatusOK)
}

func TestWhoHasAnAccountJoinsWithIt(t *testing.T) {
	c, server, owner, teamID := mailing(t)
	invite := func(id string) smtptest.Mail {
		before := len(server.Received(t, 0))
		owner.Post("/api/teams/"+id+"/users", map[string]any{"email": "nell@example.com", "firstName": "Nell"}).Expect(t, http.StatusCreated)
		return server.Received(t, before+1)[before]
	}
	page, token := link(t, invite(teamID))
	fetch(t, http.MethodPost, c.URL+"/register", answer(page, token, "nell@example.com", controllertest.AdminPassword))
	second := owner.Post("/api/teams", map[string]any{"name": "Second", "slug": "second"}).Expect(t, http.StatusCreated).String(t, "id")
	page, token = link(t, invite(second))
	if token != "" {
		t.Error("an account that could not be told apart by its password is given a token")
	}
	if status, _, _ := fetch(t, http.MethodPost, c.URL+"/register", answer(page, "", "nell@example.com", "another password")); status != http.StatusBadRequest {
		t.Errorf("a wrong password: %d", status)
	}
	status, body, _ := fetch(t, http.MethodPost, c.URL+"/register", answer(page, "", "nell@example.com", controllertest.AdminPassword))
	if status != http.StatusOK {
		t.Fatalf("%d\n%s", status, body)
	}
	c.LogIn(t, "nell@example.com", controllertest.AdminPassword).Get("/api/teams/"+second).Expect(t, http.StatusOK)
}

func TestAMailServerThatIsAwayHoldsUpNobody(t *testing.T) {
	c := controllertest.NewWith(t, "FAIRLEAD_SMTP_ADDR=127.0.0.1:1", "FAIRLEAD_SMTP_FROM=fairlead@example.com")
	owner := c.Admin(t)
	teamID := owner.Post("/api/teams", map[string]any{"name": "Acme", "slug": "acme"}).Expect(t, http.StatusCreated).String(t, "id")
	invited := owner.Post("/api/teams/"+teamID+"/users", map[string]any{"email": "nell@example.com", "firstName": "Nell"}).Expect(t, http.StatusCreated)
	if invited.Object(t)["mailed"] != true {
		t.Errorf("%s", invited.Body)
	}
}

func TestThePageOfALinkWithoutATeamSaysWhatToDo(t *testing.T) {
	c := controllertest.New(t)
	status, body, _ := fetch(t, http.MethodGet, c.URL+"/register?team=nonsense", nil)
	if status != http.StatusOK || strings.Contains(body, "<form") || !strings.Contains(body, "/api/auth/register") {
		t.Errorf("%d\n%s", status, body)
	}
	for _, file := range []string{"/register/register.js", "/setup/setup.css"} {
		if status, _, _ := fetch(t, http.MethodGet, c.URL+file, nil); status != http.StatusOK || !strings.Contains(body, file) {
			t.Errorf("%s: %d", file, status)
		}
	}
}

// TestWhatBecameOfAMailIsShownToTheTeam: one that went out, one that waits for
// another try, one that the server will never take, and none at all.
func TestWhatBecameOfAMailIsShownToTheTeam(t *testing.T) {
	_, server, owner, teamID := mailing(t)
	type sent struct{ Status, Error string }
	shows := func(email, status string) {
		t.Helper()
		controllertest.Await(t, "the mail to "+email+" is "+status, func() (bool, string) {
			r := owner.Get("/api/teams/"+teamID).Expect(t, http.StatusOK)
			var team struct {
				Users []struct {
					Email string
					Mail  *sent
				}
			}
			r.Into(t, &team)
			for _, u := range team.Users {
				switch {
				case u.Email != email:
				case u.Mail == nil:
					return status == "", string(r.Body)
				default:
					return u.Mail.Status == status && (u.Mail.Error == "") == (status == "sent"), string(r.Body)
				}
			}
			return false, string(r.Body)
		})
	}
	invite := func(email string) (id string) {
		t.Helper()
		return owner.Post("/api/teams/"+teamID+"/users", map[string]any{"email": email, "firstName": "Some"}).Expect(t, http.StatusCreated).String(t, "id")
	}
	shows(controllertest.AdminEmail, "") // a member was not invited
	invite("taken@example.com")
	shows("taken@example.com", "sent")
	server.Refuse(421) // for now
	invite("later@example.com")
	shows("later@example.com", "waiting")
	server.Refuse(550) // for ever
	never := invite("never@example.com")
	shows("never@example.com", "failed")
	server.Refuse(0)
	owner.Post("/api/teams/"+teamID+"/users/"+never+"/reinvite", nil).Expect(t, http.StatusNoContent)
	shows("never@example.com", "sent")
}
