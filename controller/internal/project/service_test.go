package project_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/postgres/pgtest"
	"fairlead.dev/controller/internal/project"
	"fairlead.dev/controller/internal/teamtest"
	"fairlead.dev/controller/internal/version"
	"fairlead.dev/shared/apperr"
)

func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

func newService(t *testing.T) (*project.Service, *postgres.DB, context.Context) {
	t.Helper()
	db := pgtest.New(t)
	return project.New(db, audit.New(db, now), now), db, teamtest.New(t, db)
}

func create(ctx context.Context, t *testing.T, service *project.Service, typ project.Type, d project.Draft) project.Project {
	t.Helper()
	p, err := service.Create(ctx, typ, d)
	if err != nil {
		t.Fatalf("create %q: %v", d.Name, err)
	}
	return p
}

// get returns a project as its own page shows it.
func get(ctx context.Context, db *postgres.DB, id uuid.UUID) (project.Project, error) {
	p, _, err := version.New(db, audit.New(db, now), nil, now).Project(ctx, id)
	return p, err
}

// hidden returns the only version of a project.
func hidden(ctx context.Context, t *testing.T, db *postgres.DB, projectID uuid.UUID) (id uuid.UUID, name, changelog string) {
	t.Helper()
	v, err := db.FindDefaultVersion(ctx, projectID)
	if err != nil {
		t.Fatalf("find the hidden version: %v", err)
	}
	return v.ID, v.Name, v.Changelog
}

func wantError(t *testing.T, err error, kind apperr.Kind, field string) {
	t.Helper()
	var e *apperr.Error
	if !errors.As(err, &e) || e.Kind != kind || e.Field != field {
		t.Errorf("error = %v, want a %s error on %q", err, kind, field)
	}
}

func TestVersionlessProjectHasAHiddenVersion(t *testing.T) {
	service, db, ctx := newService(t)
	p := create(ctx, t, service, project.Versionless, project.Draft{Name: " Shop ", Description: "sells", Changelog: new("first")})
	if p.Name != "Shop" || p.VersionCount != 1 || !p.Deletable {
		t.Errorf("created %+v, want Shop with one version, deletable", p)
	}
	if stored, err := get(ctx, db, p.ID); err != nil || stored != p {
		t.Errorf("stored %+v, %v; want %+v", stored, err, p)
	}
	if _, name, changelog := hidden(ctx, t, db, p.ID); name != "rolling" || changelog != "first" {
		t.Errorf("hidden version %q with changelog %q, want rolling with first", name, changelog)
	}
}

func TestVersionedProjectBeginsWithout(t *testing.T) {
	service, _, ctx := newService(t)
	p := create(ctx, t, service, project.Versioned, project.Draft{Name: "Shop", Changelog: new("passed over")})
	if p.VersionCount != 0 {
		t.Errorf("%d versions, want none", p.VersionCount)
	}
}

func TestCreateRefuses(t *testing.T) {
	service, db, ctx := newService(t)
	create(ctx, t, service, project.Versioned, project.Draft{Name: "Taken"})
	tests := map[string]struct {
		typ   project.Type
		draft project.Draft
		kind  apperr.Kind
		field string
	}{
		"no name":        {project.Versioned, project.Draft{Name: " "}, apperr.Invalid, "name"},
		"long name":      {project.Versioned, project.Draft{Name: strings.Repeat("é", 71)}, apperr.Invalid, "name"},
		"control name":   {project.Versioned, project.Draft{Name: "a\x00b"}, apperr.Invalid, "name"},
		"unknown type":   {"simple", project.Draft{Name: "Shop"}, apperr.Invalid, "type"},
		"too much text":  {project.Versioned, project.Draft{Name: "Shop", Description: strings.Repeat("x", 1<<15)}, apperr.Invalid, "description"},
		"name is taken":  {project.Versionless, project.Draft{Name: "Taken"}, apperr.Conflict, "name"},
		"NUL changelog":  {project.Versionless, project.Draft{Name: "Shop", Changelog: new("\x00")}, apperr.Invalid, "changelog"},
		"taken, spaced ": {project.Versionless, project.Draft{Name: " Taken "}, apperr.Conflict, "name"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := service.Create(ctx, test.typ, test.draft)
			wantError(t, err, test.kind, test.field)
		})
	}
	create(teamtest.New(t, db), t, service, project.Versioned, project.Draft{Name: "Taken"}) // names are a team's own
}

func TestUpdate(t *testing.T) {
	service, db, ctx := newService(t)
	p := create(ctx, t, service, project.Versionless, project.Draft{Name: "Shop", Changelog: new("first")})
	if err := service.Update(ctx, p.ID, project.Draft{Name: "Store", Description: "new"}); err != nil {
		t.Fatal(err)
	}
	if _, _, changelog := hidden(ctx, t, db, p.ID); changelog != "first" {
		t.Errorf("changelog = %q after a change without one, want first", changelog)
	}
	if err := service.Update(ctx, p.ID, project.Draft{Name: "Store", Changelog: new("second")}); err != nil {
		t.Fatal(err)
	}
	if _, _, changelog := hidden(ctx, t, db, p.ID); changelog != "second" {
		t.Errorf("changelog = %q, want second", changelog)
	}
	if err := service.Update(ctx, p.ID, project.Draft{Name: "Store", Changelog: new("")}); err != nil {
		t.Fatal(err)
	}
	if _, _, changelog := hidden(ctx, t, db, p.ID); changelog != "" {
		t.Errorf("changelog = %q after it was emptied", changelog)
	}
	stored, err := get(ctx, db, p.ID)
	if err != nil || stored.Name != "Store" || stored.Description != "" {
		t.Errorf("stored %+v, %v; want Store without a description", stored, err)
	}
	versioned := create(ctx, t, service, project.Versioned, project.Draft{Name: "Versioned"})
	wantError(t, service.Update(ctx, versioned.ID, project.Draft{Name: "Versioned", Changelog: new("x")}), apperr.Precondition, "changelog")
	if err := service.Update(ctx, versioned.ID, project.Draft{Name: "Versioned", Changelog: new("")}); err != nil {
		t.Errorf("an empty changelog of a versioned project: %v", err)
	}
	wantError(t, service.Update(ctx, versioned.ID, project.Draft{Name: "Store"}), apperr.Conflict, "name")
}

func TestConvertKeepsTheVersion(t *testing.T) {
	service, db, ctx := newService(t)
	p := create(ctx, t, service, project.Versionless, project.Draft{Name: "Shop"})
	before, _, _ := hidden(ctx, t, db, p.ID)
	for range 2 { // the second time there is nothing to do
		if err := service.Convert(ctx, p.ID); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := get(ctx, db, p.ID)
	if err != nil || stored.Type != project.Versioned || stored.VersionCount != 1 {
		t.Errorf("stored %+v, %v; want versioned with one version", stored, err)
	}
	if after, name, _ := hidden(ctx, t, db, p.ID); after != before || name != "rolling" {
		t.Errorf("default version %s %q, want %s rolling", after, name, before)
	}
}

func TestDeleteRefusesWhatANodeIsAskedToRun(t *testing.T) {
	service, db, ctx := newService(t)
	p := create(ctx, t, service, project.Versionless, project.Draft{Name: "Shop"})
	versionID, _, _ := hidden(ctx, t, db, p.ID)
	d := teamtest.Deploy(ctx, t, db, versionID, teamtest.Node(ctx, t, db), deployment.Successful)
	teamtest.Assign(ctx, t, db, d)

	if stored, err := get(ctx, db, p.ID); err != nil || stored.Deletable {
		t.Errorf("deletable = %t, %v; want false", stored.Deletable, err)
	}
	wantError(t, service.Delete(ctx, p.ID), apperr.Precondition, "id")

	teamtest.Unassign(ctx, t, db, d)
	if stored, err := get(ctx, db, p.ID); err != nil || !stored.Deletable {
		t.Errorf("deletable = %t, %v; want true once the prefix is emptied", stored.Deletable, err)
	}
	if err := service.Delete(ctx, p.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := get(ctx, db, p.ID); !apperr.Is(err, apperr.NotFound) {
		t.Errorf("Get after Delete = %v, want NotFound", err)
	}
}

func TestProjectsOfOtherTeamsAreNotThere(t *testing.T) {
	service, db, ctx := newService(t)
	p := create(ctx, t, service, project.Versionless, project.Draft{Name: "Shop"})
	other := teamtest.New(t, db)
	calls := map[string]func() error{
		"Get":     func() error { _, err := get(other, db, p.ID); return err },
		"Update":  func() error { return service.Update(other, p.ID, project.Draft{Name: "Mine"}) },
		"Convert": func() error { return service.Convert(other, p.ID) },
		"Delete":  func() error { return service.Delete(other, p.ID) },
	}
	for name, call := range calls {
		if err := call(); !apperr.Is(err, apperr.NotFound) {
			t.Errorf("%s = %v, want NotFound", name, err)
		}
	}
	if list, err := service.List(other); err != nil || len(list) != 0 {
		t.Errorf("List = %v, %v; want none", list, err)
	}
}

func TestMembersMayNotDelete(t *testing.T) {
	service, _, ctx := newService(t)
	member := teamtest.As(ctx, t, actor.Member)
	p := create(member, t, service, project.Versioned, project.Draft{Name: "Shop"})
	if err := service.Delete(member, p.ID); !apperr.Is(err, apperr.Forbidden) {
		t.Errorf("Delete = %v, want Forbidden", err)
	}
}
