// Package audit is the record of who did what. A row is written in the
// transaction of the act, so that there is neither an act without a row nor a
// row without an act.
package audit

import (
	"context"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/authz"
)

// Entry is one row of the log.
type Entry struct {
	// TeamID is the zero UUID for acts outside of any team.
	TeamID uuid.UUID
	Actor  actor.Actor
	Event  authz.Action
	// Data names what was acted on. Callers list its keys one by one; request
	// bodies never go in whole, so that a secret can't.
	Data map[string]any
	At   time.Time
}

// Store keeps entries; it joins the transaction in ctx.
type Store interface {
	AppendAudit(ctx context.Context, e Entry) error
}

// Log writes entries for services.
type Log struct {
	store Store
	now   func() time.Time
}

// New returns a log over a store.
func New(store Store, now func() time.Time) *Log { return &Log{store: store, now: now} }

// Record writes who (the actor in ctx, or the system), in which team (if ctx
// has one), did what. It must be called inside the transaction of the act.
func (l *Log) Record(ctx context.Context, event authz.Action, data map[string]any) error {
	who, err := actor.From(ctx)
	if err != nil {
		who = actor.Actor{Kind: actor.System, Name: "system"}
	}
	e := Entry{Actor: who, Event: event, Data: data, At: l.now()}
	if team, err := actor.TeamFrom(ctx); err == nil {
		e.TeamID = team.ID
	}
	return l.store.AppendAudit(ctx, e)
}
