package audit

import (
	"context"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
)

// Limits of a page.
const (
	MaxTake         = 1000
	maxFilterLength = 200
)

// Record is one row of the log, as it is read.
type Record struct {
	ActorKind actor.Kind
	// ActorID and Email are the user's; zero for who is none.
	ActorID   uuid.UUID
	Email     string
	ActorName string
	Method    string
	Event     authz.Action
	// Data is a JSON object.
	Data string
	At   time.Time
}

// Query chooses a page of the log, newest first.
type Query struct {
	From, To   time.Time
	Skip, Take int
	// Filter is a part of the event, the actor's name or e-mail address, in
	// any case; empty for all.
	Filter string
	// What follows narrows it further; "" and the zero UUID are anything.

	ActorKind actor.Kind
	// ActorID is that of a user, or of a deploy token or trust.
	ActorID uuid.UUID
	// Event is what was done, e.g. "node.create"; without a dot all that was
	// done to a kind of thing, e.g. "node".
	Event string
	// Method is that of the request, in lower case.
	Method string
	// Entity is the id of something that the act was about.
	Entity uuid.UUID
}

// Reading is the part of the store that reads.
type Reading interface {
	// ListAudit returns a page and how many rows fit, see page.Counted.
	ListAudit(ctx context.Context, teamID uuid.UUID, q Query) ([]Record, int, error)
}

// Reader shows the log to people.
type Reader struct{ store Reading }

// NewReader returns a reader over a store.
func NewReader(store Reading) *Reader { return &Reader{store} }

// List returns a page of the team's log and how many rows fit the query, see
// page.Counted. Errors: Invalid.
func (r *Reader) List(ctx context.Context, q Query) ([]Record, int, error) {
	scope, _, err := authz.Require(ctx, authz.AuditRead)
	if err != nil {
		return nil, 0, err
	}
	switch {
	case q.Skip < 0:
		return nil, 0, apperr.InvalidField("skip", q.Skip, "must not be negative")
	case q.Take < 1 || q.Take > MaxTake:
		return nil, 0, apperr.InvalidField("take", q.Take, "must be 1 to %d", MaxTake)
	case q.To.Before(q.From):
		return nil, 0, apperr.InvalidField("to", q.To, "must not be before from")
	case len(q.Filter) > maxFilterLength:
		return nil, 0, apperr.InvalidField("filter", nil, "must be at most %d bytes", maxFilterLength)
	case len(q.Event) > maxFilterLength:
		return nil, 0, apperr.InvalidField("event", nil, "must be at most %d bytes", maxFilterLength)
	}
	return r.store.ListAudit(ctx, scope.ID, q)
}
