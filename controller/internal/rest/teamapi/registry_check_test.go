package teamapi_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	live "github.com/google/go-containerregistry/pkg/registry"

	"fairlead.dev/controller/internal/controllertest"
)

// liveRegistry is a registry behind a password, on loopback.
func liveRegistry(t *testing.T) (host string, calls *atomic.Int32, stop func()) {
	t.Helper()
	calls = new(atomic.Int32)
	inner := live.New(live.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if user, password, _ := r.BasicAuth(); user != "robot" || password != "s3cret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), calls, s.Close
}

func registryOf(kind, name, url, token string) map[string]any {
	details := map[string]any{"url": url}
	if token != "" {
		details["user"], details["token"] = "robot", token
	}
	return map[string]any{"name": name, "type": kind, "details": details}
}

func TestRegistriesAreAskedWhenTheyAreSaved(t *testing.T) {
	c := controllertest.NewWith(t, "FAIRLEAD_REGISTRY_CHECK=private")
	owner := c.Admin(t)
	owner.Post("/api/teams", map[string]any{"name": "Acme", "slug": "acme"}).Expect(t, http.StatusCreated)
	const path = "/api/acme/registries"
	host, _, stop := liveRegistry(t)
	other, otherCalls, _ := liveRegistry(t)
	page := httptest.NewServer(http.NotFoundHandler())
	defer page.Close()

	refused := func(r controllertest.Reply, status int, property string) {
		t.Helper()
		problem(t, r, status)
		if r.Object(t)["property"] != property || strings.Contains(string(r.Body), "wr0ng") {
			t.Errorf("want property %q: %s", property, r.Body)
		}
	}
	refused(owner.Post(path, registryOf("v2", "ours", host, "wr0ng")), http.StatusBadRequest, "details.token")
	refused(owner.Post(path, registryOf("v2", "ours", host, "")), http.StatusBadRequest, "details.token")
	refused(owner.Post(path, registryOf("v2", "ours", strings.TrimPrefix(page.URL, "http://"), "")), http.StatusBadRequest, "details.url")
	one := owner.Post(path, registryOf("v2", "ours", host, "s3cret")).Expect(t, http.StatusCreated).Header.Get("Location")

	refused(owner.Put(one, registryOf("v2", "ours", host, "wr0ng")), http.StatusBadRequest, "details.token")
	owner.Put(one, registryOf("v2", "ours", host+"/mirror", "")).Expect(t, http.StatusNoContent) // asked with the stored password
	// The stored password is taken to no other host.
	refused(owner.Put(one, registryOf("v2", "ours", other, "")), http.StatusBadRequest, "details.token")
	if otherCalls.Load() != 0 {
		t.Errorf("another host was called %d times", otherCalls.Load())
	}

	stop()
	owner.Put(one, registryOf("v2", "renamed", host+"/mirror", "")).Expect(t, http.StatusNoContent) // nothing to ask about
	away := owner.Post(path, registryOf("v2", "away", host, "s3cret"))
	refused(away, http.StatusPreconditionFailed, "details.url")
	if !strings.Contains(away.String(t, "message"), `the type "unchecked"`) {
		t.Errorf("it does not say how to save it all the same: %s", away.Body)
	}
	owner.Post(path, registryOf("unchecked", "away", host, "wr0ng")).Expect(t, http.StatusCreated)
}

func TestRegistriesAtPrivateAddressesAreSavedUnasked(t *testing.T) {
	c := controllertest.NewWith(t, "FAIRLEAD_REGISTRY_CHECK=on")
	owner := c.Admin(t)
	owner.Post("/api/teams", map[string]any{"name": "Acme", "slug": "acme"}).Expect(t, http.StatusCreated)
	host, calls, _ := liveRegistry(t)
	owner.Post("/api/acme/registries", registryOf("v2", "ours", host, "wr0ng")).Expect(t, http.StatusCreated)
	if calls.Load() != 0 {
		t.Errorf("it was called %d times", calls.Load())
	}
}
