package agentrt

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fairlead.dev/shared/agentrt/internal/backoff"
	"fairlead.dev/shared/agentrt/internal/state"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
)

// role is what a process is while an update is under way, or after it.
type role int

const (
	// serving: it holds the folder and works.
	serving role = iota
	// proving: it is new, and works only once it was told to take over.
	proving
	// takingOver: it is new, and takes the folder as soon as the old one lets go.
	takingOver
	// standingBy: it is old, and takes the folder back when the new one fails.
	standingBy
	// rejected: it is new and was found wanting.
	rejected
)

// roleIn is the process's part in the update: updateID names the update that
// started it, if one did.
func roleIn(u state.Update, updateID string) role {
	isNew := updateID != "" && u.ID == updateID
	switch {
	case isNew && u.Phase == state.Failed:
		return rejected
	case u.Phase.Final():
		return serving
	case isNew && (u.Phase == state.Preparing || u.Phase == state.Proving):
		return proving
	case isNew:
		return takingOver
	case u.Phase == state.Handover || u.Phase == state.Committed:
		return standingBy
	default: // it was restarted, and ends the update
		return serving
	}
}

// goneLooks is how often in a row the new agent must be seen not to live, and
// maxRestarts how often it may end, before the old one takes back.
const (
	goneLooks   = 3
	maxRestarts = 3
)

func (a *Agent) patience() time.Duration {
	if a.config.UpdatePatience > 0 {
		return a.config.UpdatePatience
	}
	return time.Minute
}

// standBy watches the agent that took over, and returns once this one is to
// serve again; nothing stops it when the new one has stayed but its removal of
// this one.
func (a *Agent) standBy(ctx context.Context, update state.Update) error {
	log := a.config.Log.With(logging.KeyCommand, update.ID)
	log.Info("standing by while the new agent takes over", "to", update.To)
	if a.config.Replacer == nil {
		return apperr.New(apperr.Unsupported, "an update to %s is under way and this agent cannot look at it: it was not started as the one before", update.To)
	}
	deadline := time.Now().Add(a.patience())
	gone := 0
	for backoff.Sleep(ctx, a.lookEvery()) {
		now, err := a.readUpdate(ctx)
		if apperr.Is(err, apperr.Unavailable) {
			continue // what is shared is away for a moment
		}
		if err != nil {
			return err
		}
		if now.ID != update.ID || now.Phase == state.Failed {
			return nil
		}
		var why string
		seen, err := a.config.Replacer.Look(ctx, update.ID)
		if err == nil && (!seen.Alive || seen.Restarts >= maxRestarts) {
			gone++
		} else {
			gone = 0
		}
		switch {
		case gone >= goneLooks:
			why = "the new agent ended after it took over: " + seen.Words
		case now.Phase == state.Handover && time.Now().After(deadline):
			why = fmt.Sprintf("the new agent took over and got no session with the controller within %s: %s", a.patience(), seen.Words)
		default:
			continue
		}
		log.Error("taking back from the new agent", "reason", why)
		return a.takeBack(ctx, update, why)
	}
	return nil
}

// takeBack ends the new agent and writes down that it failed. Only who holds
// the folder may do so: as long as the new one has it, it may still succeed.
func (a *Agent) takeBack(ctx context.Context, update state.Update, why string) error {
	for {
		discarding, cancel := context.WithTimeout(ctx, clearPatience)
		discarded := a.config.Replacer.Discard(discarding, update.ID)
		cancel()
		if discarded != nil {
			a.config.Log.Error("the new agent cannot be stopped", logging.KeyError, discarded)
		}
		err := a.alone(ctx, func(context.Context) error {
			dir, err := state.OpenKept(a.config.StateDir, a.config.Keep)
			if err != nil {
				return err
			}
			return errors.Join(a.failed(dir, update.ID, why, discarded != nil), dir.Close())
		})
		if !apperr.Is(err, apperr.Conflict) {
			return err
		}
		if !backoff.Sleep(ctx, updateRetry) {
			return nil
		}
	}
}

// failed writes down that an update failed, unless it is over.
func (a *Agent) failed(dir *state.Dir, id, why string, uncleared bool) error {
	now, err := state.ReadUpdate(a.config.StateDir)
	if err != nil || now.ID != id || now.Phase.Final() {
		return err
	}
	now.Phase, now.Error, now.Uncleared = state.Failed, why, uncleared
	return errors.Join(dir.SetUpdate(now), dir.ClearUpdate())
}

// interrupted ends an update that this agent had begun when it was ended.
func (a *Agent) interrupted(ctx context.Context, dir *state.Dir) error {
	now, err := state.ReadUpdate(a.config.StateDir)
	if err != nil || now.Phase != state.Preparing && now.Phase != state.Proving {
		return err
	}
	uncleared := true
	if a.config.Replacer != nil {
		ctx, cancel := context.WithTimeout(ctx, clearPatience)
		defer cancel()
		err := a.config.Replacer.Discard(ctx, now.ID)
		if uncleared = err != nil; uncleared {
			a.config.Log.Error("what is left of an update cannot be removed, and will be tried again", logging.KeyError, err)
		}
	}
	return a.failed(dir, now.ID, "the agent was restarted while it prepared the update", uncleared)
}

// take opens the folder for the new agent once the old one lets go of it.
func (a *Agent) take(ctx context.Context, update state.Update) (*state.Dir, error) {
	for {
		dir, err := state.OpenKept(a.config.StateDir, a.config.Keep)
		if err != nil && !apperr.Is(err, apperr.Conflict) {
			return nil, err
		}
		now, readErr := state.ReadUpdate(a.config.StateDir)
		switch {
		case readErr != nil:
			return nil, errors.Join(readErr, closeDir(dir))
		case roleIn(now, update.ID) != takingOver:
			return nil, errors.Join(errRejected(now), closeDir(dir))
		case err == nil:
			return dir, nil
		}
		if !backoff.Sleep(ctx, updateLook) {
			return nil, ctx.Err()
		}
	}
}

func closeDir(dir *state.Dir) error {
	if dir == nil {
		return nil
	}
	return dir.Close()
}

func errRejected(u state.Update) error {
	return apperr.New(apperr.Precondition, "this agent was started to take another one's place, which did not come about: %s", u.Error)
}
