// Package misuse notes that an agent spoke of what belongs to another node: a
// deployment or a command whose id it should not know. What it says there has
// no effect; that it said it is for people to see.
package misuse

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/authz"
)

const (
	// every is how often one node's misuse is written down.
	every = time.Minute
	// remembered is how many nodes that is known of.
	remembered = 1000
)

// Store keeps the notes; it joins the transaction in ctx.
type Store interface {
	InTx(ctx context.Context, fn func(ctx context.Context) error) error
	// FindNodeTeam returns the team and the name of a node; NotFound when it is
	// gone.
	FindNodeTeam(ctx context.Context, nodeID uuid.UUID) (teamID uuid.UUID, name string, err error)
	AppendNodeEvent(ctx context.Context, nodeID uuid.UUID, event string, data map[string]any, at time.Time) error
}

// Log writes notes, of each node at most one a minute.
type Log struct {
	store Store
	audit *audit.Log
	now   func() time.Time

	mu   sync.Mutex
	last map[uuid.UUID]time.Time
}

// New returns a log. A nil one notes nothing.
func New(store Store, log *audit.Log, now func() time.Time) *Log {
	return &Log{store: store, audit: log, now: now, last: map[uuid.UUID]time.Time{}}
}

// Note writes into the history of the node whose agent spoke, and into its
// team's audit log, what kind of thing it spoke of ("deployment", "command")
// and its id. It joins the transaction in ctx.
func (l *Log) Note(ctx context.Context, nodeID uuid.UUID, kind string, id uuid.UUID) error {
	if l == nil || !l.due(nodeID) {
		return nil
	}
	return l.store.InTx(ctx, func(ctx context.Context) error {
		teamID, _, err := l.store.FindNodeTeam(ctx, nodeID)
		if err != nil {
			return err
		}
		if err := l.store.AppendNodeEvent(ctx, nodeID, "reportRefused", map[string]any{"kind": kind, "id": id}, l.now()); err != nil {
			return err
		}
		ctx = actor.WithTeam(ctx, actor.Team{ID: teamID})
		return l.audit.Record(ctx, authz.AgentReportRefused, map[string]any{"node": nodeID, "kind": kind, "id": id})
	})
}

func (l *Log) due(nodeID uuid.UUID) bool {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if last, noted := l.last[nodeID]; noted && now.Sub(last) < every {
		return false
	}
	if len(l.last) >= remembered {
		clear(l.last)
	}
	l.last[nodeID] = now
	return true
}
