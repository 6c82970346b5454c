package registrycheck_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	live "github.com/google/go-containerregistry/pkg/registry"

	"fairlead.dev/controller/internal/registry"
	"fairlead.dev/controller/internal/registrycheck"
	"fairlead.dev/shared/apperr"
)

// serve runs a server on loopback and returns its host and port.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func openRegistry() http.Handler {
	return live.New(live.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)))
}

// behindBasic lets in who knows the password.
func behindBasic(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "robot" || password != "s3cret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// behindBearer lets in who has a token, which its own token service gives to
// who knows the password.
func behindBearer(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			if user, password, _ := r.BasicAuth(); user != "robot" || password != "s3cret" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			_ = json.NewEncoder(w).Encode(map[string]string{"token": "good"})
		case r.Header.Get("Authorization") != "Bearer good":
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			h.ServeHTTP(w, r)
		}
	})
}

func answering(status int, contentType string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
	})
}

func TestCheck(t *testing.T) {
	none, right, wrong := registry.Login{}, registry.Login{Username: "robot", Password: "s3cret"}, registry.Login{Username: "robot", Password: "other"}
	const fine = apperr.Internal // no error
	tests := map[string]struct {
		server http.Handler
		login  registry.Login
		want   apperr.Kind
	}{
		"open":                         {openRegistry(), none, fine},
		"open, with a login":           {openRegistry(), right, fine},
		"basic":                        {behindBasic(openRegistry()), right, fine},
		"basic, wrong password":        {behindBasic(openRegistry()), wrong, apperr.Unauthenticated},
		"basic, no login":              {behindBasic(openRegistry()), none, apperr.Unauthenticated},
		"token":                        {behindBearer(openRegistry()), right, fine},
		"token, wrong password":        {behindBearer(openRegistry()), wrong, apperr.Unauthenticated},
		"token, no login":              {behindBearer(openRegistry()), none, fine}, // public images can be pulled
		"token that is not good":       {behindBearer(behindBasic(openRegistry())), right, apperr.Unauthenticated},
		"a web server":                 {answering(http.StatusNotFound, "text/plain"), none, apperr.Invalid},
		"a page that answers anything": {answering(http.StatusOK, "text/html; charset=utf-8"), none, apperr.Invalid},
		"a registry in trouble":        {answering(http.StatusServiceUnavailable, "text/plain"), right, apperr.Unavailable},
		"one that has enough of us":    {answering(http.StatusTooManyRequests, "text/plain"), right, apperr.Unavailable},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := registrycheck.New(true).Check(t.Context(), serve(t, test.server), test.login)
			if (err == nil) != (test.want == fine) || err != nil && apperr.KindOf(err) != test.want {
				t.Errorf("Check = %v, want %v", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
	t.Run("nobody", func(t *testing.T) {
		gone := httptest.NewServer(openRegistry())
		gone.Close()
		err := registrycheck.New(true).Check(t.Context(), strings.TrimPrefix(gone.URL, "http://"), none)
		if !apperr.Is(err, apperr.Unavailable) {
			t.Errorf("Check = %v, want Unavailable", err)
		}
	})
}

func TestPrivateAddressesAreNotCalled(t *testing.T) {
	var calls atomic.Int32
	host := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	_, port, _ := strings.Cut(host, ":")
	for _, address := range []string{host, "localhost:" + port} {
		if err := registrycheck.New(false).Check(t.Context(), address, registry.Login{Username: "robot", Password: "s3cret"}); err != nil {
			t.Errorf("Check = %v, want nil: nothing is known", err)
		}
	}
	if calls.Load() != 0 {
		t.Errorf("it was called %d times", calls.Load())
	}
}
