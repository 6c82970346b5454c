package agentrt

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"fairlead.dev/shared/agentrt/internal/backoff"
	"fairlead.dev/shared/agentrt/internal/state"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/workload"
)

// ErrDeleted is returned by Run when the agent's node was deleted and all that
// the agent had to do for that is done.
var ErrDeleted = errors.New("this agent's node was deleted")

// dismissed ends the link because the node was deleted.
type dismissed struct{ state.Deletion }

func (d *dismissed) Error() string { return d.Why }

// deleted remembers that the node was deleted: from here on the agent goes,
// whatever ends or starts it. Who says so has proven to be the controller, as on
// every connection, and has it on record.
func (l *link) deleted(why *refusal) error {
	gone := &dismissed{state.Deletion{Why: why.Error(), RemoveContainers: why.deletion.GetRemoveContainers()}}
	if err := l.dir.SetDeletion(gone.Deletion); err != nil {
		l.log.Error("the deletion of the node cannot be remembered; a restart asks for it again", logging.KeyError, err)
	}
	return gone
}

// depart does what is left to do of an agent whose node was deleted, for as long
// as it takes. It returns nil only when ctx ends: the next start goes on.
func (a *Agent) depart(ctx context.Context, dir *state.Dir, deletion state.Deletion) error {
	log := a.config.Log.With("why", deletion.Why)
	log.Error("this node was deleted: the agent goes", "remove_containers", deletion.RemoveContainers)
	if err := a.interrupted(ctx, dir); err != nil { // an update that was under way
		log.Error("check the state folder", logging.KeyError, err)
	}
	if deletion.RemoveContainers && !deletion.Done {
		if !a.persist(ctx, "the containers cannot be removed yet", func() error { return a.removeAll(ctx, dir) }) {
			return nil
		}
	}
	if !deletion.RemoveContainers {
		log.Info("containers, networks and volumes stay as they are; nobody looks after them any more")
	}
	deletion.Done = true
	if err := dir.SetDeletion(deletion); err != nil {
		log.Error("check the state folder", logging.KeyError, err)
	}
	if a.config.Depart == nil {
		log.Error("the agent stays, does nothing, and can be removed")
		<-ctx.Done()
		return nil
	}
	log.Info("the agent takes itself away; its state folder stays")
	if !a.persist(ctx, "the agent cannot take itself away yet", func() error { return a.config.Depart(ctx, deletion.RemoveContainers) }) {
		return nil
	}
	return ErrDeleted
}

// persist tries again until it is done; false when ctx ended before.
func (a *Agent) persist(ctx context.Context, failure string, try func() error) bool {
	pauses := backoff.New(defaultBackoff(), a.config.Random)
	for {
		err := try()
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		pause := pauses.Next()
		a.config.Log.Error(failure, logging.KeyError, err, "pause", pause)
		if !backoff.Sleep(ctx, pause) {
			return false
		}
	}
}

// removeAll removes what the agent made on the node, also for prefixes that
// nothing is assigned to any more.
func (a *Agent) removeAll(ctx context.Context, dir *state.Dir) error {
	prefixes := map[string]bool{}
	if set, err := dir.Assignments(); err == nil { // a broken file is no reason to leave containers behind
		for _, assigned := range set.GetAssignments() {
			prefixes[assigned.GetPrefix()] = true
		}
	}
	list, err := a.config.Driver.List(ctx)
	if err != nil {
		return err
	}
	for _, c := range list {
		if c.Managed {
			prefixes[c.ID.Prefix] = true
		}
	}
	var failed []error
	for _, prefix := range slices.Sorted(maps.Keys(prefixes)) {
		log := a.config.Log.With("prefix", prefix)
		report := workload.ReporterFunc(func(e workload.Event) { log.Info(strings.Join(e.Lines, " ")) })
		if err := a.config.Driver.Remove(ctx, prefix, report); err != nil {
			failed = append(failed, err)
			continue
		}
		log.Info("containers and networks are removed; volumes stay")
	}
	if len(failed) > 0 {
		return errors.Join(failed...)
	}
	if list, err = a.config.Driver.List(ctx); err != nil {
		return err
	}
	if at := slices.IndexFunc(list, func(c workload.Container) bool { return c.Managed }); at >= 0 {
		return apperr.New(apperr.Conflict, "the container %s is still there", list[at].ID)
	}
	return nil
}
