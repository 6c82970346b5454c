package version_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/image"
	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/postgres/pgtest"
	"fairlead.dev/controller/internal/project"
	"fairlead.dev/controller/internal/teamtest"
	"fairlead.dev/controller/internal/version"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// fixture is a team with a versioned and a versionless project.
type fixture struct {
	*version.Service
	db        *postgres.DB
	ctx       context.Context
	versioned uuid.UUID
	simple    uuid.UUID
	images    *image.Service
	// connected is the node whose agent is there; all others' are not.
	connected uuid.UUID
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{db: pgtest.New(t)}
	f.ctx = teamtest.New(t, f.db)
	log := audit.New(f.db, now)
	f.Service = version.New(f.db, log, f.liveness, now)
	f.images = image.New(f.db, log, now)
	projects := project.New(f.db, log, now)
	for typ, id := range map[project.Type]*uuid.UUID{project.Versioned: &f.versioned, project.Versionless: &f.simple} {
		p, err := projects.Create(f.ctx, typ, project.Draft{Name: string(typ)})
		if err != nil {
			t.Fatal(err)
		}
		*id = p.ID
	}
	return f
}

func (f *fixture) liveness(_ context.Context, ids []uuid.UUID) (map[uuid.UUID]deployment.LivenessInfo, error) {
	known := map[uuid.UUID]deployment.LivenessInfo{}
	for _, id := range ids {
		if id == f.connected {
			known[id] = deployment.LivenessInfo{Status: "connected"}
		}
	}
	return known, nil
}

func (f *fixture) team(t *testing.T) uuid.UUID {
	t.Helper()
	scope, err := actor.TeamFrom(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	return scope.ID
}

func (f *fixture) create(t *testing.T, typ version.Type, name string) version.Version {
	t.Helper()
	v, err := f.Create(f.ctx, f.versioned, typ, version.Draft{Name: name})
	if err != nil {
		t.Fatalf("create version %q: %v", name, err)
	}
	return v
}

func wantError(t *testing.T, err error, kind apperr.Kind, field string) {
	t.Helper()
	var e *apperr.Error
	if !errors.As(err, &e) || e.Kind != kind || e.Field != field {
		t.Errorf("error = %v, want a %s error on %q", err, kind, field)
	}
}

func TestFirstVersionIsTheDefault(t *testing.T) {
	f := newFixture(t)
	first, second := f.create(t, version.Incremental, "1.0"), f.create(t, version.Rolling, "2.0")
	if !first.Default || second.Default {
		t.Errorf("default: first %t, second %t; want the first alone", first.Default, second.Default)
	}
	for range 2 { // the second time there is nothing to do
		if err := f.SetDefault(f.ctx, f.versioned, second.ID); err != nil {
			t.Fatal(err)
		}
	}
	list, err := f.List(f.ctx, f.versioned)
	if err != nil || len(list) != 2 {
		t.Fatalf("list = %v, %v; want two", list, err)
	}
	if list[0].ID != second.ID || !list[0].Default || list[1].Default {
		t.Errorf("list = %+v, want the second version first and the only default", list)
	}
}

func TestNewVersionBeginsAsACopyOfTheDefault(t *testing.T) {
	f := newFixture(t)
	first := f.create(t, version.Incremental, "1.0")
	registry := teamtest.Registry(f.ctx, t, f.db)
	added, err := f.images.Add(f.ctx, f.versioned, first.ID, []image.Addition{{RegistryID: registry.ID, Images: []string{"web:1", "db:2"}}})
	if err != nil {
		t.Fatal(err)
	}
	environment := []spec.KeyValue{{ID: "1", Key: "A", Value: "a"}}
	err = f.images.Update(f.ctx, f.versioned, first.ID, added[0].ID, image.Change{
		Config: func(c *spec.Container) { c.Environment = environment },
	})
	if err != nil {
		t.Fatal(err)
	}
	placed := teamtest.Deploy(f.ctx, t, f.db, first.ID, teamtest.Node(f.ctx, t, f.db), deployment.Successful)

	second := f.create(t, version.Rolling, "2.0")
	copied, err := f.images.List(f.ctx, f.versioned, second.ID)
	if err != nil || len(copied) != 2 {
		t.Fatalf("images = %+v, %v; want two", copied, err)
	}
	web := copied[0]
	if web.Name != "web" || web.Tag != "1" || web.Position != 1 || web.ID == added[0].ID || web.Registry.ID != registry.ID {
		t.Errorf("first image = %+v, want a copy of web:1", web)
	}
	if !reflect.DeepEqual(web.Config.Environment, environment) || copied[1].Name != "db" {
		t.Errorf("copies = %+v, want the configuration and the order kept", copied)
	}
	_, deployments, err := f.Get(f.ctx, f.versioned, second.ID)
	if err != nil || len(deployments) != 1 || deployments[0].ID == placed.ID || deployments[0].Node.ID != placed.Node.ID ||
		deployments[0].Prefix != placed.Prefix || deployments[0].State != deployment.Preparing {
		t.Errorf("deployments = %+v, %v; want a copy of %+v in preparation", deployments, err, placed)
	}
}

func TestCreateRefuses(t *testing.T) {
	f := newFixture(t)
	f.create(t, version.Rolling, "1.0")
	_, err := f.Create(f.ctx, f.versioned, version.Rolling, version.Draft{Name: "1.0"})
	wantError(t, err, apperr.Conflict, "name")
	_, err = f.Create(f.ctx, f.versioned, "yearly", version.Draft{Name: "2.0"})
	wantError(t, err, apperr.Invalid, "type")
	_, err = f.Create(f.ctx, f.versioned, version.Rolling, version.Draft{Name: ""})
	wantError(t, err, apperr.Invalid, "name")
	_, err = f.Create(f.ctx, f.simple, version.Rolling, version.Draft{Name: "2.0"})
	wantError(t, err, apperr.Precondition, "")
	_, err = f.Create(f.ctx, uuid.New(), version.Rolling, version.Draft{Name: "2.0"})
	wantError(t, err, apperr.NotFound, "projectId")
}

func TestHiddenVersionStaysAsItIs(t *testing.T) {
	f := newFixture(t)
	list, err := f.List(f.ctx, f.simple)
	if err != nil || len(list) != 1 {
		t.Fatalf("list = %v, %v; want the hidden version", list, err)
	}
	wantError(t, f.Update(f.ctx, f.simple, list[0].ID, version.Draft{Name: "x"}), apperr.Precondition, "")
	wantError(t, f.Delete(f.ctx, f.simple, list[0].ID), apperr.Precondition, "id")
}

func TestUpdateUntilDeployed(t *testing.T) {
	f := newFixture(t)
	v := f.create(t, version.Incremental, "1.0")
	if err := f.Update(f.ctx, f.versioned, v.ID, version.Draft{Name: "1.1", Changelog: "better"}); err != nil {
		t.Fatal(err)
	}
	got, _, err := f.Get(f.ctx, f.versioned, v.ID)
	if err != nil || got.Name != "1.1" || got.Changelog != "better" {
		t.Errorf("stored %+v, %v; want 1.1", got, err)
	}
	teamtest.Deploy(f.ctx, t, f.db, v.ID, teamtest.Node(f.ctx, t, f.db), deployment.Successful)
	wantError(t, f.Update(f.ctx, f.versioned, v.ID, version.Draft{Name: "1.2"}), apperr.Precondition, "versionId")
	wantError(t, f.Delete(f.ctx, f.versioned, v.ID), apperr.Precondition, "id")
}

func TestDeleteRefusesWhatANodeIsAskedToRun(t *testing.T) {
	f := newFixture(t)
	v := f.create(t, version.Rolling, "1.0")
	d := teamtest.Deploy(f.ctx, t, f.db, v.ID, teamtest.Node(f.ctx, t, f.db), deployment.Successful)
	teamtest.Assign(f.ctx, t, f.db, d)
	wantError(t, f.Delete(f.ctx, f.versioned, v.ID), apperr.Precondition, "id")
	teamtest.Unassign(f.ctx, t, f.db, d)
	if err := f.Delete(f.ctx, f.versioned, v.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.Get(f.ctx, f.versioned, v.ID); !apperr.Is(err, apperr.NotFound) {
		t.Errorf("Get after Delete = %v, want NotFound", err)
	}
}

// A deployment may start between the check and the deletion; the database must
// not lose what a node is asked to run even then.
func TestStoreDoesNotDeleteWhatANodeIsAskedToRun(t *testing.T) {
	f := newFixture(t)
	v := f.create(t, version.Rolling, "1.0")
	teamtest.Assign(f.ctx, t, f.db, teamtest.Deploy(f.ctx, t, f.db, v.ID, teamtest.Node(f.ctx, t, f.db), deployment.Preparing))
	wantError(t, f.db.DeleteVersion(f.ctx, v.ID), apperr.Precondition, "id")
}

func TestDeploymentsShowTheirNodes(t *testing.T) {
	f := newFixture(t)
	v := f.create(t, version.Rolling, "1.0")
	f.connected = teamtest.Node(f.ctx, t, f.db)
	older := teamtest.Deploy(f.ctx, t, f.db, v.ID, teamtest.Node(f.ctx, t, f.db), deployment.Failed)
	newer := teamtest.Deploy(f.ctx, t, f.db, v.ID, f.connected, deployment.Preparing)
	_, list, err := f.Get(f.ctx, f.versioned, v.ID)
	if err != nil || len(list) != 2 {
		t.Fatalf("deployments = %+v, %v; want two", list, err)
	}
	if list[0].ID != newer.ID || list[0].NodeStatus != "connected" || list[0].State != deployment.Preparing || list[0].Node.Type != "docker" {
		t.Errorf("first = %+v, want the newer, connected", list[0])
	}
	if list[1].ID != older.ID || list[1].NodeStatus == "connected" || list[1].Prefix != older.Prefix {
		t.Errorf("second = %+v, want the older, not connected", list[1])
	}
}

func TestVersionsOfOtherTeamsAndProjectsAreNotThere(t *testing.T) {
	f := newFixture(t)
	v := f.create(t, version.Rolling, "1.0")
	scopes := map[string]struct {
		ctx     context.Context
		project uuid.UUID
	}{
		"another team":    {teamtest.New(t, f.db), f.versioned},
		"another project": {f.ctx, f.simple},
	}
	for name, scope := range scopes {
		t.Run(name, func(t *testing.T) {
			calls := map[string]func() error{
				"Get":    func() error { _, _, err := f.Get(scope.ctx, scope.project, v.ID); return err },
				"Update": func() error { return f.Update(scope.ctx, scope.project, v.ID, version.Draft{Name: "x"}) },
				"Increase": func() error {
					_, err := f.Increase(scope.ctx, scope.project, v.ID, version.Draft{Name: "x"})
					return err
				},
				"SetDefault": func() error { return f.SetDefault(scope.ctx, scope.project, v.ID) },
				"Delete":     func() error { return f.Delete(scope.ctx, scope.project, v.ID) },
			}
			for name, call := range calls {
				if err := call(); !apperr.Is(err, apperr.NotFound) {
					t.Errorf("%s = %v, want NotFound", name, err)
				}
			}
		})
	}
	if _, err := f.List(teamtest.New(t, f.db), f.versioned); !apperr.Is(err, apperr.NotFound) {
		t.Errorf("List = %v, want NotFound", err)
	}
}
