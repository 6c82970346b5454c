package deployment

import (
	"slices"

	"github.com/google/uuid"
)

// State is where a deployment is in its life; the team API's status.
type State string

// States of a deployment.
const (
	// Preparing: never started, free to be edited.
	Preparing State = "preparing"
	// InProgress: its latest release was accepted and has no outcome yet.
	InProgress State = "in-progress"
	Successful State = "successful"
	// Failed: its latest release failed; what ran before serves on.
	Failed State = "failed"
	// Obsolete: another deployment has taken its place under the prefix.
	Obsolete State = "obsolete"
	// Downgraded: a deployment of an earlier version has taken its place.
	Downgraded State = "downgraded"
)

// States lists every state.
func States() []State {
	return []State{Preparing, InProgress, Successful, Failed, Obsolete, Downgraded}
}

// following returns the states that may follow one.
func following(s State) []State {
	switch s {
	case Preparing:
		return []State{InProgress}
	case InProgress: // again when a newer release is started over it
		return []State{InProgress, Successful, Failed, Obsolete, Downgraded}
	case Successful:
		return []State{InProgress, Obsolete, Downgraded}
	case Failed:
		return []State{InProgress, Obsolete, Downgraded}
	case Obsolete:
		return []State{InProgress, Downgraded}
	case Downgraded:
		return []State{Obsolete}
	default:
		return nil
	}
}

func (s State) canBecome(next State) bool { return slices.Contains(following(s), next) }

// Editable reports whether configuration, environment and prefix may be
// changed. What an incremental version once ran is history; a rolling one is
// edited in place.
func (d Deployment) Editable() bool {
	switch d.State {
	case Preparing, Failed:
		return true
	case Successful, Obsolete:
		return d.Version.Type == rolling
	default:
		return false
	}
}

// Startable reports whether a release may be started. One in progress may: what
// is wanted last counts, and so a deployment whose node never returns, or whose
// rollout hangs, is never stuck.
func (d Deployment) Startable() bool {
	switch d.State {
	case Preparing, Failed, Obsolete, InProgress:
		return true
	case Successful:
		return d.Version.Type == rolling
	default:
		return false
	}
}

// displacedBy returns what a deployment becomes when another one takes its
// prefix: Downgraded when its version descends from the other's, else
// Obsolete.
func (d Deployment) displacedBy(descendants []uuid.UUID) State {
	if slices.Contains(descendants, d.Version.ID) {
		return Downgraded
	}
	return Obsolete
}
