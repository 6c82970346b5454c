package team_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/postgres/pgtest"
	"fairlead.dev/controller/internal/team"
	"fairlead.dev/controller/internal/teamtest"
)

func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// setup remembers the teams it was called for, and what it found in ctx.
type setup struct {
	teams []uuid.UUID
	err   error
}

func (s *setup) SetUpTeam(ctx context.Context, teamID uuid.UUID) error {
	if scope, err := actor.TeamFrom(ctx); err != nil || scope.ID != teamID {
		return errors.New("the context is not that of the new team")
	}
	s.teams = append(s.teams, teamID)
	return s.err
}

func TestNewTeamsAreSetUp(t *testing.T) {
	db := pgtest.New(t)
	ctx := teamtest.New(t, db)
	first, second := &setup{}, &setup{}
	made, err := team.New(team.Config{Store: db, Audit: audit.New(db, now), Now: now, Setups: []team.Setup{first, second}}).Create(ctx, "Acme", "acme")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*setup{first, second} {
		if len(s.teams) != 1 || s.teams[0] != made.ID {
			t.Errorf("set up %v, want %s alone", s.teams, made.ID)
		}
	}
}

func TestTeamThatCannotBeSetUpIsNotMade(t *testing.T) {
	db := pgtest.New(t)
	ctx := teamtest.New(t, db)
	failure := errors.New("no room")
	service := team.New(team.Config{Store: db, Audit: audit.New(db, now), Now: now, Setups: []team.Setup{&setup{err: failure}}})
	if _, err := service.Create(ctx, "Acme", "acme"); !errors.Is(err, failure) {
		t.Fatalf("Create = %v, want %v", err, failure)
	}
	list, err := service.List(ctx)
	if err != nil || len(list) != 1 || list[0].Slug == "acme" {
		t.Errorf("teams = %+v, %v; want only the one there was", list, err)
	}
}
