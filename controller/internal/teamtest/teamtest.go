// Package teamtest makes teams and callers for tests of what teams have.
package teamtest

import (
	"context"
	"strings"
	"testing"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/team"
	"fairlead.dev/controller/internal/user"
)

// New makes a team with an owner and returns the context of a request that
// the owner makes in it.
func New(t testing.TB, db *postgres.DB) context.Context {
	t.Helper()
	at := now()
	owner := user.User{ID: newID(t), Name: "Olga Owner", CreatedAt: at}
	owner.Email = owner.ID.String() + "@example.com"
	if err := db.InsertUser(t.Context(), owner); err != nil {
		t.Fatalf("make the team's owner: %v", err)
	}
	id := newID(t)
	digits := strings.ReplaceAll(id.String(), "-", "")
	made := team.Team{ID: id, Name: "Team " + digits, Slug: "t-" + digits[len(digits)-12:], CreatedAt: at}
	if err := db.InsertTeam(t.Context(), made, owner.ID); err != nil {
		t.Fatalf("make the team: %v", err)
	}
	ctx := actor.With(t.Context(), actor.Actor{Kind: actor.User, ID: owner.ID, Name: owner.Name, Email: owner.Email, Method: "post"})
	return actor.WithTeam(ctx, actor.Team{ID: id, Slug: made.Slug, Role: actor.Owner})
}

// As returns the context of the same team with another role.
func As(ctx context.Context, t testing.TB, role actor.Role) context.Context {
	t.Helper()
	scope, err := actor.TeamFrom(ctx)
	if err != nil {
		t.Fatalf("the context has no team: %v", err)
	}
	scope.Role = role
	return actor.WithTeam(ctx, scope)
}

func newID(t testing.TB) uuid.UUID {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatalf("make an id: %v", err)
	}
	return id
}
