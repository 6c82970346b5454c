package teamapi_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/controllertest"
)

func TestSessionAsCookieAndAsBearer(t *testing.T) {
	c := controllertest.New(t)
	login := c.Anonymous(t).Post("/api/auth/login", map[string]any{
		"email": controllertest.AdminEmail, "password": controllertest.AdminPassword,
	}).Expect(t, http.StatusOK)
	cookie, err := http.ParseSetCookie(login.Header.Get("Set-Cookie"))
	if err != nil {
		t.Fatal(err)
	}
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.Value != login.String(t, "token") {
		t.Errorf("the cookie is %v", cookie)
	}
	me := func(prepare func(*http.Request)) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL+"/api/users/me", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		prepare(req)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	if got := me(func(r *http.Request) { r.AddCookie(cookie) }); got != http.StatusOK {
		t.Errorf("by cookie: %d", got)
	}
	if got := me(func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+cookie.Value) }); got != http.StatusOK {
		t.Errorf("by bearer: %d", got)
	}
	if got := me(func(r *http.Request) { r.Header.Set("Authorization", "Basic "+cookie.Value) }); got != http.StatusUnauthorized {
		t.Errorf("by another scheme: %d", got)
	}
	// Logging out ends it everywhere, and takes the cookie away.
	out := c.Anonymous(t).WithToken(cookie.Value).Post("/api/auth/logout", nil).Expect(t, http.StatusNoContent)
	if gone, err := http.ParseSetCookie(out.Header.Get("Set-Cookie")); err != nil || gone.Value != "" || gone.Expires.Unix() > 0 {
		t.Errorf("logging out sets the cookie to %v, %v", gone, err)
	}
	if got := me(func(r *http.Request) { r.AddCookie(cookie) }); got != http.StatusUnauthorized {
		t.Errorf("after logging out: %d", got)
	}
}

func TestPersonalTokensAreShownOnceAndRevocable(t *testing.T) {
	c := controllertest.New(t)
	ann, bob := c.Admin(t), c.Register(t, "bob@example.com")
	made := ann.Post("/api/tokens", map[string]any{"name": "ci", "expirationInDays": 30}).Expect(t, http.StatusCreated)
	secret, path := made.String(t, "token"), "/api/tokens/"+made.String(t, "id")
	if made.Header.Get("Location") != path || made.String(t, "expiresAt") == "" {
		t.Errorf("made %s at %q", made.Body, made.Header.Get("Location"))
	}
	ann.WithToken(secret).Post("/api/users/me", nil).Expect(t, http.StatusOK)
	ann.Post("/api/tokens", map[string]any{"name": "ci", "expirationInDays": 0}).Expect(t, http.StatusConflict)
	for _, reply := range []controllertest.Reply{ann.Get("/api/tokens").Expect(t, http.StatusOK), ann.Get(path).Expect(t, http.StatusOK)} {
		if !strings.Contains(string(reply.Body), `"ci"`) || strings.Contains(string(reply.Body), secret) || strings.Contains(string(reply.Body), `"token"`) {
			t.Errorf("shows %s; want the name and never the token", reply.Body)
		}
	}
	bob.Get(path).Expect(t, http.StatusNotFound)
	bob.Delete(path).Expect(t, http.StatusNotFound)
	bob.Post("/api/tokens", map[string]any{"name": "ci", "expirationInDays": 0}).Expect(t, http.StatusCreated)

	ann.Delete(path).Expect(t, http.StatusNoContent)
	ann.Get(path).Expect(t, http.StatusNotFound)
	ann.WithToken(secret).Post("/api/users/me", nil).Expect(t, http.StatusUnauthorized)
	problem(t, ann.Post("/api/tokens", map[string]any{"name": "x", "expirationInDays": -1}), http.StatusBadRequest)
}

func TestBodiesThatAreRefused(t *testing.T) {
	c := controllertest.New(t)
	ann := c.Admin(t)
	cases := map[string]struct {
		body     any
		status   int
		property string
	}{
		"not JSON":        {"{", http.StatusBadRequest, ""},
		"missing":         {map[string]any{"slug": "acme"}, http.StatusBadRequest, "name"},
		"unknown member":  {map[string]any{"slug": "acme", "name": "Acme", "owner": "me"}, http.StatusBadRequest, "owner"},
		"of another type": {map[string]any{"slug": 7, "name": "Acme"}, http.StatusBadRequest, "slug"},
		"upper-case slug": {map[string]any{"slug": "Acme", "name": "Acme"}, http.StatusBadRequest, "slug"},
		"reserved slug":   {map[string]any{"slug": "tokens", "name": "Acme"}, http.StatusBadRequest, "slug"},
		"ten megabytes":   {`{"name":"` + strings.Repeat("x", 10<<20) + `"}`, http.StatusRequestEntityTooLarge, ""},
	}
	for name, r := range cases {
		t.Run(name, func(t *testing.T) {
			reply := ann.Post("/api/teams", r.body)
			problem(t, reply, r.status)
			if got, _ := reply.Object(t)["property"].(string); got != r.property {
				t.Errorf("names %q, want %q: %s", got, r.property, reply.Body)
			}
		})
	}
	if teams := ann.Get("/api/teams").Expect(t, http.StatusOK); string(teams.Body) != "[]\n" {
		t.Errorf("something was made: %s", teams.Body)
	}
	problem(t, ann.Get("/api/nowhere/at/all"), http.StatusNotFound)
	problem(t, ann.Delete("/api/teams"), http.StatusMethodNotAllowed)
}

// Whoever guesses, or makes secrets without end, is told when to come back.
func TestTooManyTriesAreSlowedDown(t *testing.T) {
	k := newCast(t)
	owner := k.people[actor.Owner]
	rows := k.rows(t)
	login := map[string]any{"email": "no address", "password": "x"}
	for name, try := range map[string]func(i int) controllertest.Reply{
		"log in": func(int) controllertest.Reply { return k.Anonymous(t).Post("/api/auth/login", login) },
		"register": func(int) controllertest.Reply {
			return k.Anonymous(t).Post("/api/auth/register", object{"email": "a@b.co", "password": "x"})
		},
		"fetch a script": func(int) controllertest.Reply {
			return k.Anonymous(t).Get("/api/acme/nodes/" + rows["{nodeId}"] + "/script")
		},
		"make tokens": func(i int) controllertest.Reply {
			return k.stranger.Post("/api/tokens", object{"name": strconv.Itoa(i), "expirationInDays": 1})
		},
		"deploy tokens": func(int) controllertest.Reply {
			return owner.Put("/api/acme/deployments/"+rows["{deploymentId}"]+"/token", object{"name": "again"})
		},
		"exchange tokens": func(int) controllertest.Reply {
			return k.Anonymous(t).Post("/api/acme/deployments/"+rows["{deploymentId}"]+"/token/exchange", object{"token": "x"})
		},
		"set up": func(int) controllertest.Reply { return k.Anonymous(t).Post("/setup", nil) },
		"join":   func(int) controllertest.Reply { return k.Anonymous(t).Post("/register", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			for i := range 1000 {
				reply := try(i)
				if reply.Status != http.StatusTooManyRequests {
					continue
				}
				if seconds, err := strconv.Atoi(reply.Header.Get("Retry-After")); err != nil || seconds < 1 || seconds > 60 {
					t.Errorf("Retry-After is %q", reply.Header.Get("Retry-After"))
				}
				if strings.HasPrefix(reply.Header.Get("Content-Type"), "application/") {
					problem(t, reply, http.StatusTooManyRequests)
				}
				return
			}
			t.Error("a thousand tries and none was refused")
		})
	}
}

func TestTeamsAndTheirNames(t *testing.T) {
	c := controllertest.New(t)
	ann, bob := c.Admin(t), c.Register(t, "bob@example.com")
	id := ann.Post("/api/teams", map[string]any{"name": "Acme", "slug": "acme"}).Expect(t, http.StatusCreated).String(t, "id")
	for _, taken := range []map[string]any{{"name": "Acme", "slug": "other"}, {"name": "Other", "slug": "acme"}} {
		problem(t, bob.Post("/api/teams", taken), http.StatusConflict)
	}
	detail := ann.Get("/api/teams/"+id).Expect(t, http.StatusOK).Object(t)
	for _, key := range []string{"statistics", "id", "name", "slug", "users"} {
		if detail[key] == nil {
			t.Errorf("the team lacks %q: %v", key, detail)
		}
	}
	ann.Put("/api/teams/"+id, map[string]any{"name": "Acme Ltd", "slug": "acme-ltd"}).Expect(t, http.StatusNoContent)
	ann.Get("/api/acme-ltd/nodes").Expect(t, http.StatusOK)
	ann.Get("/api/acme/nodes").Expect(t, http.StatusNotFound)
	me := bob.Post("/api/users/me", nil).Expect(t, http.StatusOK)
	if !strings.Contains(string(me.Body), `"teams":[]`) {
		t.Errorf("bob sees %s", me.Body)
	}
}

// No team can be called like the beginning of a route that is no team's.
func TestSlugsThatWouldShadowRoutesAreReserved(t *testing.T) {
	c := controllertest.New(t)
	owner := c.Admin(t)
	tried := map[string]bool{}
	for _, o := range operations(t, c) {
		word, _, _ := strings.Cut(strings.TrimPrefix(o.Path, "/api/"), "/")
		if strings.HasPrefix(word, "{") || tried[word] {
			continue
		}
		tried[word] = true
		if r := owner.Post("/api/teams", object{"name": "Named " + word, "slug": word}); r.Status != http.StatusBadRequest || r.Object(t)["property"] != "slug" {
			t.Errorf("%s: status %d: %s", word, r.Status, r.Body)
		}
	}
	if len(tried) < 5 {
		t.Errorf("tried only %v", tried)
	}
}

func TestNamesOfPersonalTokensAreOneLine(t *testing.T) {
	k := newCast(t)
	owner := k.people[actor.Owner]
	for name, status := range map[string]int{
		"two\nlines": http.StatusBadRequest, "es\x1bcape": http.StatusBadRequest, " ": http.StatusBadRequest,
		strings.Repeat("ü", 71): http.StatusBadRequest, strings.Repeat("ü", 70): http.StatusCreated,
	} {
		r := owner.Post("/api/tokens", object{"name": name, "expirationInDays": 1})
		if r.Status != status || status == http.StatusBadRequest && r.String(t, "property") != "name" {
			t.Errorf("%q: %d %s, want %d", name, r.Status, r.Body, status)
		}
	}
}
