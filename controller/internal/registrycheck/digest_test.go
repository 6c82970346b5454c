package registrycheck_test

import (
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"fairlead.dev/controller/internal/registry"
	"fairlead.dev/controller/internal/registrycheck"
	"fairlead.dev/shared/apperr"
)

func TestDigestIsWhatATagStandsForNow(t *testing.T) {
	open := openRegistry()
	host, locked := serve(t, open), serve(t, behindBasic(open))
	tag, err := name.NewTag(host + "/acme/web:1.0")
	if err != nil {
		t.Fatal(err)
	}
	image, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, image); err != nil {
		t.Fatal(err)
	}
	want, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	login := registry.Login{Username: "robot", Password: "s3cret"}
	tests := map[string]struct {
		reference    string
		login        registry.Login
		allowPrivate bool
		kind         apperr.Kind
	}{
		"open":              {host + "/acme/web:1.0", registry.Login{}, true, -1},
		"with a login":      {locked + "/acme/web:1.0", login, true, -1},
		"without the login": {locked + "/acme/web:1.0", registry.Login{}, true, apperr.Unauthenticated},
		"no such tag":       {host + "/acme/web:2.0", registry.Login{}, true, apperr.NotFound},
		"no reference":      {host + "/acme/web:", registry.Login{}, true, apperr.Invalid},
		"a private address": {host + "/acme/web:1.0", registry.Login{}, false, apperr.Unavailable},
		"nobody is at home": {"127.0.0.1:1/acme/web:1.0", registry.Login{}, true, apperr.Unavailable},
	}
	for title, test := range tests {
		t.Run(title, func(t *testing.T) {
			got, err := registrycheck.New(test.allowPrivate).Digest(t.Context(), test.reference, test.login)
			switch {
			case test.kind == -1:
				if err != nil || got != want.String() {
					t.Fatalf("got %q, %v; want %s", got, err, want)
				}
			case apperr.KindOf(err) != test.kind:
				t.Fatalf("got %q, %v; want an error of kind %s", got, err, test.kind)
			}
		})
	}
}
