package agentrt

import (
	"context"
	"time"

	"fairlead.dev/shared/agentrt/internal/state"
)

// Shared is how agents on several machines share one state folder, of which each
// has a copy: there is nothing that all of them see but what Config.Keep wrote.
type Shared interface {
	// Refresh brings this machine's copy up to date. It is called by an agent
	// that does not act. Unavailable: it may be called again.
	Refresh(ctx context.Context) error
	// Hold waits until this agent is the only one that may act, brings its copy
	// up to date, calls work and returns its error. The context of work ends when
	// another one may act.
	Hold(ctx context.Context, work func(context.Context) error) error
	// Prove tells the agent that acts that the candidate of an update has proven
	// itself; there Replacer.Look answers it.
	Prove(ctx context.Context, updateID, version string) error
}

// sharedLook is updateLook where every look is a request to somebody else.
const sharedLook = time.Second

// lookEvery is how often the two agents of an update look at each other.
func (a *Agent) lookEvery() time.Duration {
	if a.config.Shared != nil {
		return sharedLook
	}
	return updateLook
}

// alone calls work once this agent is the only one that may act. Where the folder
// is not shared its lock sees to that.
func (a *Agent) alone(ctx context.Context, work func(context.Context) error) error {
	if a.config.Shared == nil {
		return work(ctx)
	}
	return a.config.Shared.Hold(ctx, work)
}

// readUpdate returns the last update, as an agent finds it that does not act.
func (a *Agent) readUpdate(ctx context.Context) (state.Update, error) {
	if a.config.Shared != nil {
		if err := a.config.Shared.Refresh(ctx); err != nil {
			return state.Update{}, err
		}
	}
	return state.ReadUpdate(a.config.StateDir)
}

// leaveProof leaves the candidate's proof where the agent that acts finds it.
func (a *Agent) leaveProof(ctx context.Context, updateID string) error {
	if a.config.Shared != nil {
		return a.config.Shared.Prove(ctx, updateID, a.config.Version)
	}
	return state.WriteProof(a.config.StateDir, state.Proof{ID: updateID, Version: a.config.Version})
}
