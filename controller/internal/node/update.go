package node

import (
	"time"

	"github.com/google/uuid"
)

// UpdatePhase is how far the replacement of a node's agent has come.
type UpdatePhase string

// Phases of an update, in their order.
const (
	// UpdateRequested: the agent has not said anything of it yet.
	UpdateRequested UpdatePhase = "requested"
	// UpdatePreparing: it fetches and checks the build.
	UpdatePreparing UpdatePhase = "preparing"
	// UpdateProving: the new agent runs beside the old one, which serves.
	UpdateProving UpdatePhase = "proving"
	// UpdateTakingOver: the new agent takes the old one's place.
	UpdateTakingOver UpdatePhase = "taking-over"
	UpdateSuccessful UpdatePhase = "successful"
	// UpdateFailed: the agent that was there before serves on.
	UpdateFailed UpdatePhase = "failed"
)

// Final reports whether the update is over.
func (p UpdatePhase) Final() bool { return p == UpdateSuccessful || p == UpdateFailed }

// Update is one replacement of a node's agent by another build.
type Update struct {
	// ID is that of the command which asked for it.
	ID     uuid.UUID
	NodeID uuid.UUID
	// RolloutID is of the rollout it is part of; zero when it is of none.
	RolloutID uuid.UUID
	From, To  string
	Phase     UpdatePhase
	// Error is why it failed.
	Error     string
	StartedAt time.Time
	StartedBy string
	// ChangedAt is when the agent last said how it goes.
	ChangedAt time.Time
	// FinishedAt is zero until it is over.
	FinishedAt time.Time
}

// Silences after which an update is not under way any more, whatever was said
// last. An agent that comes back later tells how it ended.
const (
	// takenOnWithin is longer than the command that asks for it is good.
	takenOnWithin = 45 * time.Second
	// saidWithin is longer than any phase lasts.
	saidWithin = 15 * time.Minute
)

// Running reports whether the update is under way at a moment. Every view uses
// this function.
func (u Update) Running(now time.Time) bool {
	switch {
	case u.ID == uuid.Nil || !u.FinishedAt.IsZero() || u.Phase.Final():
		return false
	case u.Phase == UpdateRequested:
		return now.Sub(u.StartedAt) < takenOnWithin
	default:
		return now.Sub(u.ChangedAt) < saidWithin
	}
}

// Outcome is why the update is of no use; "" while it is under way and when it
// succeeded.
func (u Update) Outcome(now time.Time) string {
	switch {
	case u.ID == uuid.Nil || u.Running(now) || u.Phase == UpdateSuccessful:
		return ""
	case u.Error != "":
		return u.Error
	case u.Phase == UpdateRequested:
		return "the node's agent did not take the update on in time"
	default:
		return "the node's agent did not say how the update ended"
	}
}
