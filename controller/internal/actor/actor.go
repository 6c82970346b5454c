// Package actor says who is asking. Each edge fills it in once; everything
// below reads it from the context.
package actor

import (
	"context"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/shared/apperr"
)

// Kind is what sort of caller an actor is.
type Kind string

// Kinds of actors.
const (
	// User is a person, or a program with a person's token.
	User Kind = "user"
	// DeployToken is continuous integration with the token of one deployment.
	DeployToken Kind = "deployment-token"
	// System is the controller itself.
	System Kind = "system"
)

// Credential is what a caller proved itself with.
type Credential string

// Credentials.
const (
	// Session is a log-in, Personal a token that a person made for a program.
	Session  Credential = "session"
	Personal Credential = "personal"
	// Bound is the token of one deployment that a person made, Federated one
	// that was exchanged for the identity token of continuous integration.
	Bound     Credential = "bound"
	Federated Credential = "federated"
)

// Role is what a member of a team is.
type Role string

// Roles, from all rights to few.
const (
	Owner  Role = "owner"
	Admin  Role = "admin"
	Member Role = "user"
)

// Actor is an authenticated caller.
type Actor struct {
	Kind  Kind
	ID    uuid.UUID
	Name  string
	Email string
	// Administrator of the whole installation; gives no right inside a team.
	Administrator bool
	// TokenID is the token that was presented, and Credential what it is; empty
	// of the controller itself.
	TokenID    uuid.UUID
	Credential Credential
	// TokenExpiresAt is the zero time for a token that does not expire.
	TokenExpiresAt time.Time
	// DeploymentID is the one deployment that a deploy token is for.
	DeploymentID uuid.UUID
	// Method is the edge's word for what was called, for the audit log, e.g.
	// "post".
	Method string
}

// Ref names the actor in created-by and updated-by columns.
func (a Actor) Ref() string {
	if a.Kind == System {
		return "system"
	}
	return a.ID.String()
}

// Team is the team a request is about, and what the actor is in it. It is in
// the context only after membership was proven.
type Team struct {
	ID   uuid.UUID
	Slug string
	Role Role
}

type (
	actorKey struct{}
	teamKey  struct{}
)

// With returns a context that carries the actor.
func With(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// From returns the actor; an Unauthenticated error when there is none.
func From(ctx context.Context) (Actor, error) {
	a, ok := ctx.Value(actorKey{}).(Actor)
	if !ok {
		return Actor{}, apperr.New(apperr.Unauthenticated, "log in first: send a session cookie or a bearer token")
	}
	return a, nil
}

// WithTeam returns a context that carries the team.
func WithTeam(ctx context.Context, t Team) context.Context {
	return context.WithValue(ctx, teamKey{}, t)
}

// TeamFrom returns the team the request is about; a NotFound error when it is
// about none the actor belongs to.
func TeamFrom(ctx context.Context) (Team, error) {
	t, ok := ctx.Value(teamKey{}).(Team)
	if !ok {
		return Team{}, apperr.New(apperr.NotFound, "no such team")
	}
	return t, nil
}
