package registry_test

import (
	"strings"
	"testing"

	"fairlead.dev/controller/internal/registry"
	"fairlead.dev/shared/apperr"
)

const digest = "sha256:2d3e0a5f4bfa1b1d7a2ec3d0a39b1e4cbb1f8b3a5b9e6d0c7f8a9b0c1d2e3f40"

func TestParseImage(t *testing.T) {
	tests := map[string]struct{ name, tag string }{
		"nginx":                       {"nginx", "latest"},
		"nginx:1.27":                  {"nginx", "1.27"},
		"group/sub/app:V1.2-RC_3":     {"group/sub/app", "V1.2-RC_3"},
		"my.org/app":                  {"my.org/app", "latest"},
		"app@" + digest:               {"app", digest},
		"group/app:1.2@" + digest:     {"group/app", "1.2@" + digest},
		"a__b/c--d.e:" + "x":          {"a__b/c--d.e", "x"},
		"1234/5678:" + "20261120.1-a": {"1234/5678", "20261120.1-a"},
	}
	for image, want := range tests {
		t.Run(image, func(t *testing.T) {
			name, tag, err := registry.ParseImage(image)
			if err != nil || name != want.name || tag != want.tag {
				t.Fatalf("ParseImage = %q, %q, %v; want %q, %q", name, tag, err, want.name, want.tag)
			}
		})
	}
}

func TestParseImageRefuses(t *testing.T) {
	for _, image := range []string{
		"", ":", "nginx:", "/nginx", "nginx/", "Nginx", "ng inx", "nginx:1:2", "host.example.com:5000/app:1",
		"app@sha256:short", "app@", "app:" + strings.Repeat("x", 129), "https://example.com/app", "app\n",
		strings.Repeat("a", 600),
	} {
		if name, tag, err := registry.ParseImage(image); !apperr.Is(err, apperr.Invalid) {
			t.Errorf("ParseImage(%q) = %q, %q, %v; want an Invalid error", image, name, tag, err)
		}
	}
}

func TestCheckTag(t *testing.T) {
	for _, tag := range []string{"latest", "1.2", "V1", digest, "1.2@" + digest} {
		if err := registry.CheckTag(tag); err != nil {
			t.Errorf("CheckTag(%q) = %v, want nil", tag, err)
		}
	}
	for _, tag := range []string{"", "a b", "a/b", ":1", "@" + digest, "1:2", ".1", digest + ":1"} {
		if err := registry.CheckTag(tag); !apperr.Is(err, apperr.Invalid) {
			t.Errorf("CheckTag(%q) = %v, want an Invalid error", tag, err)
		}
	}
}

func TestReference(t *testing.T) {
	tests := map[string]struct {
		details   registry.Details
		name, tag string
		want      string
	}{
		"hub library": {
			registry.Details{Type: registry.Hub, URL: "hub.docker.com", ImageNamePrefix: "library"}, "nginx", "1.27",
			"docker.io/library/nginx:1.27",
		},
		"hub organization": {
			registry.Details{Type: registry.Hub, URL: "hub.docker.com", ImageNamePrefix: "acme"}, "shop", "latest",
			"docker.io/acme/shop:latest",
		},
		"v2 with a port": {
			registry.Details{Type: registry.V2, URL: "registry.example.com:5000"}, "group/app", "V1",
			"registry.example.com:5000/group/app:V1",
		},
		"v2 with a path": {
			registry.Details{Type: registry.V2, URL: "localhost/mirror"}, "app", digest,
			"localhost/mirror/app@" + digest,
		},
		"v2 with a prefix": {
			registry.Details{Type: registry.V2, URL: "registry.example.com:5000", ImageNamePrefix: "mirror"}, "app", "1",
			"registry.example.com:5000/mirror/app:1",
		},
		"v2 on IPv6": {registry.Details{Type: registry.V2, URL: "[fd00::1]:5000"}, "app", "1", "[fd00::1]:5000/app:1"},
		"gitlab has the group in the name": {
			registry.Details{Type: registry.GitLab, URL: "registry.gitlab.com", ImageNamePrefix: "acme", Namespace: "group"},
			"acme/shop", "2", "registry.gitlab.com/acme/shop:2",
		},
		"github": {
			registry.Details{Type: registry.GitHub, URL: "ghcr.io", ImageNamePrefix: "acme"}, "shop", "2", "ghcr.io/acme/shop:2",
		},
		"google": {
			registry.Details{Type: registry.Google, URL: "gcr.io", ImageNamePrefix: "acme-1/prod"}, "shop", "2@" + digest,
			"gcr.io/acme-1/prod/shop:2@" + digest,
		},
		"unchecked": {registry.Details{Type: registry.Unchecked, URL: "127.0.0.1:5000"}, "shop", "2", "127.0.0.1:5000/shop:2"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := registry.Reference(registry.Registry{Details: test.details}, test.name, test.tag)
			if err != nil || got != test.want {
				t.Errorf("Reference = %q, %v; want %q", got, err, test.want)
			}
		})
	}
}

func FuzzParseImage(f *testing.F) {
	for _, seed := range []string{"nginx", "a/b:1", "app@" + digest, "app:1@" + digest, "localhost:5000/x", "UPPER"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, image string) {
		name, tag, err := registry.ParseImage(image)
		if err != nil {
			return
		}
		again, sameTag, err := registry.ParseImage(registry.JoinImage(name, tag))
		if err != nil || again != name || sameTag != tag {
			t.Fatalf("%q is %q and %q, but these join to %q, %q, %v", image, name, tag, again, sameTag, err)
		}
		if err := registry.CheckTag(tag); err != nil {
			t.Fatalf("the tag of %q is refused: %v", image, err)
		}
	})
}

func TestBelow(t *testing.T) {
	hub := registry.Details{Type: registry.Hub, ImageNamePrefix: "library"}
	own := registry.Details{Type: registry.V2, URL: "registry.example.com:5000/group"}
	for _, c := range []struct {
		of    registry.Details
		image string
		below string
		place string
	}{
		{hub, "docker.io/library/nginx:1", "nginx:1", "docker.io/library"},
		{hub, "docker.io/libraryx/nginx:1", "", "docker.io/libraryx"},
		{hub, "ghcr.io/library/nginx:1", "", "ghcr.io"},
		{own, "registry.example.com:5000/group/sub/app@" + digest, "sub/app@" + digest, "registry.example.com:5000"},
		{own, "registry.example.com:5000/grouped/app:1", "", "registry.example.com:5000"},
		{registry.Details{Type: registry.GitHub, ImageNamePrefix: "acme", URL: "ghcr.io"}, "ghcr.io/acme/app:1", "app:1", "ghcr.io"},
	} {
		below, ok := c.of.Below(c.image)
		if place := registry.PlaceOf(c.image); ok != (c.below != "") || ok && below != c.below || place != c.place {
			t.Errorf("%+v has %s as %q, %v; from %q", c.of, c.image, below, ok, place)
		}
	}
}
