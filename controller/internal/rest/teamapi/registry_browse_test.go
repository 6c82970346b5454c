package teamapi_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"fairlead.dev/controller/internal/controllertest"
)

func TestARegistryIsBrowsedThroughTheAPI(t *testing.T) {
	c := controllertest.NewWith(t, "FAIRLEAD_REGISTRY_CHECK=private")
	owner := c.Admin(t)
	owner.Post("/api/teams", object{"name": "Acme", "slug": "acme"}).Expect(t, http.StatusCreated)
	host, calls, stop := liveRegistry(t)
	for _, reference := range []string{"mirror/web:1.0", "mirror/web:1.1", "mirror/web:2.0", "mirror/group/api:1", "elsewhere:1"} {
		image, err := random.Image(16, 1)
		if err != nil {
			t.Fatal(err)
		}
		ref, err := name.ParseReference(host + "/" + reference)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, image, remote.WithAuth(&authn.Basic{Username: "robot", Password: "s3cret"})); err != nil {
			t.Fatal(err)
		}
	}
	one := owner.Post("/api/acme/registries", registryOf("v2", "ours", host+"/mirror", "s3cret")).Expect(t, http.StatusCreated).Header.Get("Location")
	names := func(path string) (items []string, total int) {
		t.Helper()
		var page struct {
			Items    []string
			Total    int
			Complete bool
		}
		owner.Get(one+path).Expect(t, http.StatusOK).Into(t, &page)
		if !page.Complete {
			t.Errorf("%s is not complete", path)
		}
		return page.Items, page.Total
	}
	repositories, total := names("/repositories")
	slices.Sort(repositories)
	if total != 2 || !slices.Equal(repositories, []string{"group/api", "web"}) {
		t.Errorf("repositories %v of %d: want those below the registry's path, named as images are", repositories, total)
	}
	if tags, total := names("/tags?repository=web&filter=1.&skip=1&take=1"); total != 2 || !slices.Equal(tags, []string{"1.1"}) {
		t.Errorf("tags %v of %d", tags, total)
	}
	before := calls.Load()
	names("/tags?repository=web&skip=2&take=1")
	if calls.Load() != before {
		t.Error("the next page of a listing asked the registry again")
	}
	digest := owner.Get(one+"/digest?repository=web&reference=1.0").Expect(t, http.StatusOK).String(t, "digest")
	if again := owner.Get(one+"/digest?repository=web&reference="+digest).Expect(t, http.StatusOK).String(t, "digest"); !strings.HasPrefix(digest, "sha256:") || again != digest {
		t.Errorf("digests %q and %q", digest, again)
	}
	for path, status := range map[string]int{
		"/tags": http.StatusBadRequest, "/tags?repository=../x": http.StatusBadRequest, "/tags?repository=web:1": http.StatusBadRequest,
		"/tags?repository=nothing": http.StatusNotFound, "/tags?repository=web&take=1001": http.StatusBadRequest,
		"/digest?repository=web&reference=9": http.StatusNotFound, "/digest?repository=web&reference=a/b": http.StatusBadRequest,
	} {
		problem(t, owner.Get(one+path), status)
	}
	unchecked := owner.Post("/api/acme/registries", registryOf("unchecked", "never", host, "")).Expect(t, http.StatusCreated).Header.Get("Location")
	problem(t, owner.Get(unchecked+"/repositories"), http.StatusPreconditionFailed)
	stop()
	problem(t, owner.Get(one+"/digest?repository=web&reference=1.0"), http.StatusServiceUnavailable)
}

func TestRegistriesAreNotBrowsedWhereTheyAreNotAsked(t *testing.T) {
	k := newCast(t)
	rows := k.rows(t)
	problem(t, k.people["owner"].Get("/api/acme/registries/"+rows["{registryId}"]+"/tags?repository=web"), http.StatusNotImplemented)
}
