package image_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/image"
	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/postgres/pgtest"
	"fairlead.dev/controller/internal/project"
	"fairlead.dev/controller/internal/registry"
	"fairlead.dev/controller/internal/teamtest"
	"fairlead.dev/controller/internal/version"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// fixture is a team with a registry and an incremental version.
type fixture struct {
	*image.Service
	db       *postgres.DB
	ctx      context.Context
	project  uuid.UUID
	version  uuid.UUID
	registry registry.Registry
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{db: pgtest.New(t)}
	f.ctx = teamtest.New(t, f.db)
	log := audit.New(f.db, now)
	f.Service = image.New(f.db, log, now)
	f.registry = teamtest.Registry(f.ctx, t, f.db)
	p, err := project.New(f.db, log, now).Create(f.ctx, project.Versioned, project.Draft{Name: "Shop"})
	if err != nil {
		t.Fatal(err)
	}
	v, err := version.New(f.db, log, nil, now).Create(f.ctx, p.ID, version.Incremental, version.Draft{Name: "1.0"})
	if err != nil {
		t.Fatal(err)
	}
	f.project, f.version = p.ID, v.ID
	return f
}

func (f *fixture) add(t *testing.T, images ...string) []image.Image {
	t.Helper()
	added, err := f.Add(f.ctx, f.project, f.version, []image.Addition{{RegistryID: f.registry.ID, Images: images}})
	if err != nil {
		t.Fatalf("add %v: %v", images, err)
	}
	return added
}

// list returns the version's images in order, as name:tag.
func (f *fixture) list(t *testing.T) []string {
	t.Helper()
	list, err := f.List(f.ctx, f.project, f.version)
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, i := range list {
		shown = append(shown, registry.JoinImage(i.Name, i.Tag))
	}
	return shown
}

func wantError(t *testing.T, err error, kind apperr.Kind, field string) {
	t.Helper()
	var e *apperr.Error
	if !errors.As(err, &e) || e.Kind != kind || e.Field != field {
		t.Errorf("error = %v, want a %s error on %q", err, kind, field)
	}
}

func TestAddAppends(t *testing.T) {
	f := newFixture(t)
	f.add(t, "web")
	added := f.add(t, "group/api:V2", "db@sha256:"+strings.Repeat("a", 64))
	want := []string{"web:latest", "group/api:V2", "db@sha256:" + strings.Repeat("a", 64)}
	if got := f.list(t); !reflect.DeepEqual(got, want) {
		t.Errorf("list = %v, want %v", got, want)
	}
	if added[0].Position != 2 || added[1].Position != 3 {
		t.Errorf("positions %d and %d, want 2 and 3", added[0].Position, added[1].Position)
	}
	stored, err := f.Get(f.ctx, f.project, f.version, added[0].ID)
	if err != nil || stored.Registry.Name != f.registry.Name || stored.Registry.Details.Type != registry.V2 {
		t.Errorf("stored %+v, %v; want registry %s", stored, err, f.registry)
	}
}

func TestAddMakesUpContainerNames(t *testing.T) {
	f := newFixture(t)
	want := map[string]string{
		"web":                          "web",
		"group/web:2":                  "web-2",
		"other/web:3":                  "web-3",
		"group/my_app.v2":              "my-app-v2",
		"x/" + strings.Repeat("n", 80): strings.Repeat("n", 31),
	}
	f.add(t, "web", "group/web:2", "other/web:3", "group/my_app.v2", "x/"+strings.Repeat("n", 80))
	list, err := f.List(f.ctx, f.project, f.version)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		written := strings.TrimSuffix(registry.JoinImage(i.Name, i.Tag), ":latest")
		if got := *i.Config.Name; got != want[written] {
			t.Errorf("container of %s is called %q, want %q", written, got, want[written])
		}
	}
}

func TestAddRefuses(t *testing.T) {
	f := newFixture(t)
	foreign := teamtest.Registry(teamtest.New(t, f.db), t, f.db)
	ours := func(images ...string) image.Addition {
		return image.Addition{RegistryID: f.registry.ID, Images: images}
	}
	tests := map[string]struct {
		additions []image.Addition
		kind      apperr.Kind
		field     string
	}{
		"nothing":            {nil, apperr.Invalid, ""},
		"no image":           {[]image.Addition{ours("web"), ours()}, apperr.Invalid, "[1].images"},
		"not an image":       {[]image.Addition{ours("web", "host:5000/web:1")}, apperr.Invalid, "[0].images[1]"},
		"another's registry": {[]image.Addition{ours("web"), {RegistryID: foreign.ID, Images: []string{"web"}}}, apperr.NotFound, "[1].registryId"},
		"too many":           {[]image.Addition{ours(strings.Split(strings.Repeat("web,", image.MaxImages)+"web", ",")...)}, apperr.Invalid, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := f.Add(f.ctx, f.project, f.version, test.additions)
			wantError(t, err, test.kind, test.field)
		})
	}
	if got := f.list(t); got != nil {
		t.Errorf("list = %v after refusals, want none", got)
	}
}

func TestDeploymentsFollowTheImages(t *testing.T) {
	f := newFixture(t)
	first := f.add(t, "web")[0]
	d := teamtest.Deploy(f.ctx, t, f.db, f.version, teamtest.Node(f.ctx, t, f.db), deployment.Preparing)
	f.add(t, "db", "cache")
	if err := f.Delete(f.ctx, f.project, f.version, first.ID); err != nil {
		t.Fatal(err)
	}
	instances, err := f.db.ListInstances(f.ctx, d.ID)
	if err != nil || len(instances) != 2 {
		t.Fatalf("instances = %+v, %v; want those of db and cache", instances, err)
	}
	if instances[0].Image.Name != "db" || instances[1].Image.Name != "cache" || instances[0].Config != nil {
		t.Errorf("instances = %+v, want db and cache, with nothing of their own", instances)
	}
}

func TestUpdate(t *testing.T) {
	f := newFixture(t)
	web := f.add(t, "web", "db")[0]
	tag, tty := "2@sha256:"+strings.Repeat("b", 64), true
	err := f.Update(f.ctx, f.project, f.version, web.ID, image.Change{Tag: &tag, Config: func(c *spec.Container) { c.TTY = &tty }})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := f.Get(f.ctx, f.project, f.version, web.ID)
	if err != nil || stored.Tag != tag || stored.Config.TTY == nil || !*stored.Config.TTY || *stored.Config.Name != "web" {
		t.Errorf("stored %+v, %v; want tag, tty and the old name", stored, err)
	}
	err = f.Update(f.ctx, f.project, f.version, web.ID, image.Change{Config: func(c *spec.Container) { c.Name = nil }})
	if err != nil {
		t.Fatal(err)
	}
	if stored, err = f.Get(f.ctx, f.project, f.version, web.ID); err != nil || *stored.Config.Name != "web" {
		t.Errorf("name = %v, %v after it was cleared; want the default", stored.Config.Name, err)
	}
}

func TestUpdateRefuses(t *testing.T) {
	f := newFixture(t)
	web := f.add(t, "web", "db")[0]
	bad, taken := "not a tag", "db"
	tests := map[string]struct {
		id     uuid.UUID
		change image.Change
		kind   apperr.Kind
		field  string
	}{
		"tag":           {web.ID, image.Change{Tag: &bad}, apperr.Invalid, "tag"},
		"port":          {web.ID, image.Change{Config: func(c *spec.Container) { c.Ports = []spec.Port{{Internal: 80}, {Internal: 70000}} }}, apperr.Invalid, "config.ports[1].internal"},
		"name is taken": {web.ID, image.Change{Config: func(c *spec.Container) { c.Name = &taken }}, apperr.Conflict, "config.name"},
		"no such image": {uuid.New(), image.Change{}, apperr.NotFound, "imageId"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wantError(t, f.Update(f.ctx, f.project, f.version, test.id, test.change), test.kind, test.field)
		})
	}
}

func TestOrder(t *testing.T) {
	f := newFixture(t)
	added := f.add(t, "a", "b", "c")
	a, b, c := added[0].ID, added[1].ID, added[2].ID
	if err := f.Order(f.ctx, f.project, f.version, []uuid.UUID{c, a, b}); err != nil {
		t.Fatal(err)
	}
	want := []string{"c:latest", "a:latest", "b:latest"}
	if got := f.list(t); !reflect.DeepEqual(got, want) {
		t.Errorf("list = %v, want %v", got, want)
	}
	tests := map[string]struct {
		ids   []uuid.UUID
		kind  apperr.Kind
		field string
	}{
		"one is missing":     {[]uuid.UUID{a, b}, apperr.Invalid, ""},
		"one is there twice": {[]uuid.UUID{a, b, a}, apperr.Conflict, "[2]"},
		"one is a stranger":  {[]uuid.UUID{a, uuid.New(), c}, apperr.Invalid, "[1]"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wantError(t, f.Order(f.ctx, f.project, f.version, test.ids), test.kind, test.field)
		})
	}
	if got := f.list(t); !reflect.DeepEqual(got, want) {
		t.Errorf("list = %v after refusals, want %v", got, want)
	}
}

func TestImmutableVersionsKeepTheirImages(t *testing.T) {
	f := newFixture(t)
	web := f.add(t, "web")[0]
	teamtest.Deploy(f.ctx, t, f.db, f.version, teamtest.Node(f.ctx, t, f.db), deployment.Successful)
	tag := "2"
	calls := map[string]func() error{
		"Add": func() error {
			_, err := f.Add(f.ctx, f.project, f.version, []image.Addition{{RegistryID: f.registry.ID, Images: []string{"db"}}})
			return err
		},
		"Update": func() error { return f.Update(f.ctx, f.project, f.version, web.ID, image.Change{Tag: &tag}) },
		"Delete": func() error { return f.Delete(f.ctx, f.project, f.version, web.ID) },
		"Order":  func() error { return f.Order(f.ctx, f.project, f.version, []uuid.UUID{web.ID}) },
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) { wantError(t, call(), apperr.Precondition, "versionId") })
	}
}

func TestImagesOfOtherTeamsAreNotThere(t *testing.T) {
	f := newFixture(t)
	web := f.add(t, "web")[0]
	other := teamtest.New(t, f.db)
	calls := map[string]func() error{
		"List":   func() error { _, err := f.List(other, f.project, f.version); return err },
		"Get":    func() error { _, err := f.Get(other, f.project, f.version, web.ID); return err },
		"Update": func() error { return f.Update(other, f.project, f.version, web.ID, image.Change{}) },
		"Delete": func() error { return f.Delete(other, f.project, f.version, web.ID) },
		"Order":  func() error { return f.Order(other, f.project, f.version, []uuid.UUID{web.ID}) },
	}
	for name, call := range calls {
		if err := call(); !apperr.Is(err, apperr.NotFound) {
			t.Errorf("%s = %v, want NotFound", name, err)
		}
	}
}

func TestRegistryInUseIsNotDeleted(t *testing.T) {
	f := newFixture(t)
	web := f.add(t, "web")[0]
	registries := registry.New(f.db, nil, audit.New(f.db, now), now)
	if r, err := registries.Get(f.ctx, f.registry.ID); err != nil || !r.InUse {
		t.Errorf("in use = %t, %v; want true", r.InUse, err)
	}
	wantError(t, registries.Delete(f.ctx, f.registry.ID), apperr.Precondition, "id")
	if err := f.Delete(f.ctx, f.project, f.version, web.ID); err != nil {
		t.Fatal(err)
	}
	if err := registries.Delete(f.ctx, f.registry.ID); err != nil {
		t.Fatal(err)
	}
}
