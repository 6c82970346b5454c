package registry_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/keys"
	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/postgres/pgtest"
	"fairlead.dev/controller/internal/registry"
	"fairlead.dev/controller/internal/teamtest"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

func newService(t *testing.T) (*registry.Service, *postgres.DB, context.Context) {
	t.Helper()
	db := pgtest.New(t)
	ring, err := keys.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return registry.New(db, ring.Vault, audit.New(db, now), now), db, teamtest.New(t, db)
}

func v2(name, url string, login *registry.Login) registry.Write {
	return registry.Write{Name: name, Details: registry.Details{Type: registry.V2, URL: url}, Login: login}
}

func TestCreateFillsInWhatATypeImplies(t *testing.T) {
	login := &registry.Login{Username: "robot", Password: "s3cret"}
	tests := map[string]struct {
		details registry.Details
		login   *registry.Login
		want    registry.Details
	}{
		"hub": {
			registry.Details{Type: registry.Hub, URL: "ignored.example.com", ImageNamePrefix: "acme"}, nil,
			registry.Details{Type: registry.Hub, URL: "hub.docker.com", ImageNamePrefix: "acme"},
		},
		"v2": {
			registry.Details{Type: registry.V2, URL: "registry.example.com:5000/"}, nil,
			registry.Details{Type: registry.V2, URL: "registry.example.com:5000"},
		},
		"v2 with a prefix": {
			registry.Details{Type: registry.V2, URL: "registry.example.com:5000", ImageNamePrefix: "/team/a/"}, nil,
			registry.Details{Type: registry.V2, URL: "registry.example.com:5000", ImageNamePrefix: "team/a"},
		},
		"gitlab": {
			registry.Details{Type: registry.GitLab, ImageNamePrefix: "acme/shop", Namespace: "project"}, login,
			registry.Details{Type: registry.GitLab, URL: "registry.gitlab.com", APIURL: "gitlab.com", ImageNamePrefix: "acme/shop", Namespace: "project"},
		},
		"gitlab, self-managed": {
			registry.Details{
				Type: registry.GitLab, URL: "registry.example.com", APIURL: "git.example.com", ImageNamePrefix: "acme", Namespace: "group",
			}, login,
			registry.Details{Type: registry.GitLab, URL: "registry.example.com", APIURL: "git.example.com", ImageNamePrefix: "acme", Namespace: "group"},
		},
		"github": {
			registry.Details{Type: registry.GitHub, ImageNamePrefix: "acme", Namespace: "organization"}, login,
			registry.Details{Type: registry.GitHub, URL: "ghcr.io", ImageNamePrefix: "acme", Namespace: "organization"},
		},
		"google": {
			registry.Details{Type: registry.Google, URL: "gcr.io", ImageNamePrefix: "acme-1"}, nil,
			registry.Details{Type: registry.Google, URL: "gcr.io", ImageNamePrefix: "acme-1"},
		},
		"unchecked": {
			registry.Details{Type: registry.Unchecked, URL: "HTTP://localhost:5000/"}, nil,
			registry.Details{Type: registry.Unchecked, URL: "localhost:5000"},
		},
	}
	service, _, ctx := newService(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			made, err := service.Create(ctx, registry.Write{Name: name, Details: test.details, Login: test.login})
			if err != nil {
				t.Fatal(err)
			}
			got, err := service.Get(ctx, made.ID)
			if err != nil || got.Details != test.want {
				t.Errorf("stored %+v, %v; want %+v", got.Details, err, test.want)
			}
		})
	}
}

func TestCreateRefuses(t *testing.T) {
	tests := map[string]struct {
		write registry.Write
		field string
	}{
		"no name":           {v2(" ", "registry.example.com", nil), "name"},
		"unknown type":      {registry.Write{Name: "x", Details: registry.Details{Type: "quay", URL: "quay.io"}}, "type"},
		"no address":        {v2("x", "", nil), "details.url"},
		"scheme":            {v2("x", "https://registry.example.com", nil), "details.url"},
		"bare host":         {v2("x", "registry", nil), "details.url"},
		"port 0":            {v2("x", "registry:0", nil), "details.url"},
		"port too high":     {v2("x", "registry:65536", nil), "details.url"},
		"no port":           {v2("x", "registry.example.com:", nil), "details.url"},
		"user in address":   {v2("x", "user@registry.example.com", nil), "details.url"},
		"query":             {v2("x", "registry.example.com?x=1", nil), "details.url"},
		"space":             {v2("x", "registry.example.com /x", nil), "details.url"},
		"hub, no prefix":    {registry.Write{Name: "x", Details: registry.Details{Type: registry.Hub}}, "details.imageNamePrefix"},
		"hub, upper case":   {registry.Write{Name: "x", Details: registry.Details{Type: registry.Hub, ImageNamePrefix: "Acme"}}, "details.imageNamePrefix"},
		"v2, prefix":        {registry.Write{Name: "x", Details: registry.Details{Type: registry.V2, URL: "r.io", ImageNamePrefix: "A B"}}, "details.imageNamePrefix"},
		"hub, tag":          {registry.Write{Name: "x", Details: registry.Details{Type: registry.Hub, ImageNamePrefix: "acme:1"}}, "details.imageNamePrefix"},
		"password alone":    {v2("x", "registry.example.com", &registry.Login{Password: "p"}), "details.token"},
		"user alone":        {v2("x", "registry.example.com", &registry.Login{Username: "u"}), "details.token"},
		"gitlab, no login":  {registry.Write{Name: "x", Details: registry.Details{Type: registry.GitLab, ImageNamePrefix: "a", Namespace: "group"}}, "details.token"},
		"github, namespace": {registry.Write{Name: "x", Details: registry.Details{Type: registry.GitHub, ImageNamePrefix: "a", Namespace: "group"}}, "details.namespace"},
		"gitlab, no API": {
			registry.Write{Name: "x", Details: registry.Details{Type: registry.GitLab, URL: "r.example.com", ImageNamePrefix: "a", Namespace: "group"}},
			"details.apiUrl",
		},
	}
	service, _, ctx := newService(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := service.Create(ctx, test.write)
			wantField(t, err, apperr.Invalid, test.field)
		})
	}
}

func wantField(t *testing.T, err error, kind apperr.Kind, field string) {
	t.Helper()
	var e *apperr.Error
	if !errors.As(err, &e) || e.Kind != kind || e.Field != field {
		t.Errorf("error = %v, want a %s error on %q", err, kind, field)
	}
}

func TestNamesAreUniqueInATeam(t *testing.T) {
	service, db, ctx := newService(t)
	if _, err := service.Create(ctx, v2("Ours", "registry.example.com", nil)); err != nil {
		t.Fatal(err)
	}
	_, err := service.Create(ctx, v2("Ours", "other.example.com", nil))
	wantField(t, err, apperr.Conflict, "name")
	if _, err := service.Create(teamtest.New(t, db), v2("Ours", "registry.example.com", nil)); err != nil {
		t.Errorf("another team cannot use the name: %v", err)
	}
}

func TestCredentialsAreSealedInTheStore(t *testing.T) {
	service, db, ctx := newService(t)
	made, err := service.Create(ctx, v2("Ours", "registry.example.com:5000/path", &registry.Login{Username: "robot", Password: "s3cret"}))
	if err != nil {
		t.Fatal(err)
	}
	stored, err := db.FindRegistryOfAnyTeam(ctx, made.ID)
	if err != nil {
		t.Fatal(err)
	}
	if len(stored.SealedPassword) == 0 || bytes.Contains(stored.SealedPassword, []byte("s3cret")) {
		t.Errorf("the store holds %q, want something sealed", stored.SealedPassword)
	}
	wantCredentials(t, service, made.ID, &spec.RegistryAuth{Server: "registry.example.com:5000", Username: "robot", Password: "s3cret"})

	open, err := service.Create(ctx, v2("Open", "registry.example.com", nil))
	if err != nil {
		t.Fatal(err)
	}
	wantCredentials(t, service, open.ID, nil)
}

func wantCredentials(t *testing.T, service *registry.Service, id uuid.UUID, want *spec.RegistryAuth) {
	t.Helper()
	// The context has no actor: sending a release is nobody's request.
	got, err := service.Credentials(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if (got == nil) != (want == nil) || got != nil && *got != *want {
		t.Errorf("credentials = %+v, want %+v", got, want)
	}
}

func TestUpdateKeepsReplacesAndDropsCredentials(t *testing.T) {
	old := &registry.Login{Username: "robot", Password: "old"}
	tests := map[string]struct {
		update registry.Write
		want   *spec.RegistryAuth
		field  string
	}{
		"kept":     {update: v2("Renamed", "r.example.com/path", nil), want: &spec.RegistryAuth{Server: "r.example.com", Username: "robot", Password: "old"}},
		"replaced": {update: v2("Ours", "r.example.com", &registry.Login{Username: "new", Password: "new"}), want: &spec.RegistryAuth{Server: "r.example.com", Username: "new", Password: "new"}},
		"dropped":  {update: v2("Ours", "r.example.com", &registry.Login{})},
		"not carried to another host": {
			update: v2("Ours", "evil.example.com", nil), field: "details.token",
			want: &spec.RegistryAuth{Server: "r.example.com", Username: "robot", Password: "old"},
		},
		"given again for another host": {
			update: v2("Ours", "new.example.com", &registry.Login{Username: "robot", Password: "old"}),
			want:   &spec.RegistryAuth{Server: "new.example.com", Username: "robot", Password: "old"},
		},
	}
	service, _, ctx := newService(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			made, err := service.Create(ctx, v2("Ours", "r.example.com", old))
			if err != nil {
				t.Fatal(err)
			}
			err = service.Update(ctx, made.ID, test.update)
			if test.field != "" {
				wantField(t, err, apperr.Invalid, test.field)
			} else if err != nil {
				t.Fatal(err)
			}
			wantCredentials(t, service, made.ID, test.want)
			if err := service.Delete(ctx, made.ID); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestUpdateMayNotTakeAnothersName(t *testing.T) {
	service, _, ctx := newService(t)
	for _, name := range []string{"First", "Second"} {
		if _, err := service.Create(ctx, v2(name, "registry.example.com", nil)); err != nil {
			t.Fatal(err)
		}
	}
	list, err := service.List(ctx)
	if err != nil || len(list) != 2 || list[0].Name != "First" {
		t.Fatalf("list = %v, %v; want First and Second", list, err)
	}
	wantField(t, service.Update(ctx, list[1].ID, v2("First", "registry.example.com", nil)), apperr.Conflict, "name")
}

func TestRegistriesOfOtherTeamsAreNotThere(t *testing.T) {
	service, db, ctx := newService(t)
	made, err := service.Create(ctx, v2("Ours", "registry.example.com", nil))
	if err != nil {
		t.Fatal(err)
	}
	other := teamtest.New(t, db)
	if _, err := service.Get(other, made.ID); !apperr.Is(err, apperr.NotFound) {
		t.Errorf("Get = %v, want NotFound", err)
	}
	if err := service.Update(other, made.ID, v2("Theirs", "registry.example.com", nil)); !apperr.Is(err, apperr.NotFound) {
		t.Errorf("Update = %v, want NotFound", err)
	}
	if err := service.Delete(other, made.ID); !apperr.Is(err, apperr.NotFound) {
		t.Errorf("Delete = %v, want NotFound", err)
	}
	if list, err := service.List(other); err != nil || len(list) != 0 {
		t.Errorf("List = %v, %v; want none", list, err)
	}
}

func TestMembersMayLookButNotChange(t *testing.T) {
	service, _, ctx := newService(t)
	member := teamtest.As(ctx, t, actor.Member)
	if _, err := service.List(member); err != nil {
		t.Errorf("List = %v, want nil", err)
	}
	if _, err := service.Create(member, v2("Ours", "registry.example.com", nil)); !apperr.Is(err, apperr.Forbidden) {
		t.Errorf("Create = %v, want Forbidden", err)
	}
}

func TestNewTeamsBeginWithDockerHub(t *testing.T) {
	service, _, ctx := newService(t)
	scope, err := actor.TeamFrom(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := service.SetUpTeam(ctx, scope.ID); err != nil {
		t.Fatal(err)
	}
	list, err := service.List(ctx)
	if err != nil || len(list) != 1 || list[0].Name != "Docker Hub Library" {
		t.Fatalf("list = %v, %v; want Docker Hub Library", list, err)
	}
	if got, err := registry.Reference(list[0], "nginx", "latest"); err != nil || got != "docker.io/library/nginx:latest" {
		t.Errorf("reference = %q, %v", got, err)
	}
}
