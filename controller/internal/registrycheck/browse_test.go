package registrycheck_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"fairlead.dev/controller/internal/registry"
	"fairlead.dev/controller/internal/registrycheck"
	"fairlead.dev/shared/apperr"
)

// push puts an image into a registry and returns its digest.
func push(t *testing.T, reference string, auth authn.Authenticator) string {
	t.Helper()
	image, err := random.Image(16, 1)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image, remote.WithAuth(auth), remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func TestARegistryIsBrowsed(t *testing.T) {
	right := registry.Login{Username: "robot", Password: "s3cret"}
	for kind, c := range map[string]struct {
		server http.Handler
		login  registry.Login
	}{
		"open": {openRegistry(), registry.Login{}}, "basic": {behindBasic(openRegistry()), right}, "token": {behindBearer(openRegistry()), right},
	} {
		t.Run(kind, func(t *testing.T) {
			host := serve(t, c.server)
			auth := authn.Anonymous
			if c.login.Username != "" {
				auth = &authn.Basic{Username: c.login.Username, Password: c.login.Password}
			}
			digest := push(t, host+"/group/app:1.0", auth)
			push(t, host+"/group/app:2.0", auth)
			push(t, host+"/other:1", auth)
			checker := registrycheck.New(true)

			repositories, err := checker.Repositories(t.Context(), host, c.login, 100)
			slices.Sort(repositories.Names)
			if err != nil || !slices.Equal(repositories.Names, []string{"group/app", "other"}) || !repositories.Complete {
				t.Errorf("repositories %+v, %v", repositories, err)
			}
			tags, err := checker.Tags(t.Context(), host, "group/app", c.login, 100)
			if err != nil || !slices.Equal(tags.Names, []string{"1.0", "2.0"}) || !tags.Complete {
				t.Errorf("tags %+v, %v", tags, err)
			}
			for _, reference := range []string{"1.0", digest} {
				m, err := checker.Manifest(t.Context(), host, "group/app", reference, c.login)
				if err != nil || m.Digest != digest || m.Size == 0 || m.MediaType == "" {
					t.Errorf("%s is %+v, %v", reference, m, err)
				}
			}
			if _, err := checker.Tags(t.Context(), host, "nothing", c.login, 100); !apperr.Is(err, apperr.NotFound) {
				t.Errorf("tags of nothing: %v", err)
			}
			if _, err := checker.Manifest(t.Context(), host, "group/app", "9", c.login); !apperr.Is(err, apperr.NotFound) {
				t.Errorf("a tag that is not there: %v", err)
			}
			if c.login.Username == "" {
				return
			}
			for _, login := range []registry.Login{{}, {Username: "robot", Password: "wr0ng"}} {
				if _, err := checker.Tags(t.Context(), host, "group/app", login, 100); !apperr.Is(err, apperr.Unauthenticated) || strings.Contains(err.Error(), "wr0ng") {
					t.Errorf("tags with %+v: %v", login, err)
				}
				if _, err := checker.Repositories(t.Context(), host, login, 100); !apperr.Is(err, apperr.Unsupported) {
					t.Errorf("repositories with %+v: %v", login, err)
				}
			}
		})
	}
}

// endless is a registry whose list of tags has another page behind each.
func endless(next string, asked *atomic.Int32) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		n := asked.Add(1)
		w.Header().Set("Link", fmt.Sprintf(`<%s?last=%d>; rel="next"`, next, n))
		fmt.Fprintf(w, `{"name": "app", "tags": ["%d-a", "%d-b"]}`, n, n)
	})
}

func TestListingsAreBounded(t *testing.T) {
	var asked atomic.Int32
	host := serve(t, endless("/v2/app/tags/list", &asked))
	tags, err := registrycheck.New(true).Tags(t.Context(), host, "app", registry.Login{}, 7)
	if err != nil || len(tags.Names) != 7 || tags.Complete || asked.Load() != 4 {
		t.Errorf("%d tags of %d pages, complete %v, %v", len(tags.Names), asked.Load(), tags.Complete, err)
	}
	tags, err = registrycheck.New(true).Tags(t.Context(), host, "app", registry.Login{}, 1_000_000)
	if err != nil || len(tags.Names) != 200 || tags.Complete {
		t.Errorf("%d tags, complete %v, %v", len(tags.Names), tags.Complete, err)
	}
}

func TestNextPagesAreOnTheSameHost(t *testing.T) {
	var asked, elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(other.Close)
	host := serve(t, endless(other.URL+"/v2/app/tags/list", &asked))
	if _, err := registrycheck.New(true).Tags(t.Context(), host, "app", registry.Login{Username: "robot", Password: "s3cret"}, 100); err == nil {
		t.Error("the other host's page is taken")
	}
	if elsewhere.Load() != 0 {
		t.Errorf("the other host was called %d times", elsewhere.Load())
	}
}

func TestWhatBrowsingCantReachIsSaid(t *testing.T) {
	var calls atomic.Int32
	host := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	guarded := registrycheck.New(false)
	if _, err := guarded.Tags(t.Context(), host, "app", registry.Login{}, 1); !apperr.Is(err, apperr.Precondition) || !strings.Contains(err.Error(), "FAIRLEAD_REGISTRY_CHECK") {
		t.Errorf("a private address: %v", err)
	}
	if _, err := guarded.Repositories(t.Context(), host, registry.Login{}, 1); !apperr.Is(err, apperr.Precondition) {
		t.Errorf("a private address: %v", err)
	}
	if _, err := guarded.Manifest(t.Context(), host, "app", "1", registry.Login{}); !apperr.Is(err, apperr.Precondition) {
		t.Errorf("a private address: %v", err)
	}
	if calls.Load() != 0 {
		t.Errorf("it was called %d times", calls.Load())
	}
	for name, server := range map[string]http.Handler{
		"in trouble": answering(http.StatusServiceUnavailable, "text/plain"), "busy": answering(http.StatusTooManyRequests, "text/plain"),
	} {
		if _, err := registrycheck.New(true).Tags(t.Context(), serve(t, server), "app", registry.Login{}, 1); !apperr.Is(err, apperr.Unavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := registrycheck.New(true).Tags(t.Context(), "127.0.0.1:1", "app", registry.Login{}, 1); !apperr.Is(err, apperr.Unavailable) {
		t.Errorf("nobody: %v", err)
	}
}
