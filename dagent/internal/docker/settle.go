package docker

import (
	"context"
	"fmt"
	"slices"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
)

// settlings is how often settle looks whether all is right. The engine may still
// be at the last calls of an agent that was killed.
const (
	settlings   = 5
	settlePause = 500 * time.Millisecond
)

// settle puts right what an interrupted Apply left behind, before anything
// else is done. The names tell how far it had come:
//
//   - a ".previous" beside the container that replaced it, and no ".next": all
//     new containers were in place, the previous ones only wait to be retired;
//   - a ".next": the release was not in place; the previous one is put back;
//   - a ".previous" that nothing has replaced: it is put back.
func (a *applying) settle(ctx context.Context) (err error) {
	for range settlings {
		found, lookErr := a.ownedOf(ctx, a.dep.Prefix)
		if lookErr != nil {
			return lookErr
		}
		if !slices.ContainsFunc(found, func(o owned) bool { return o.leftOver() || o.place == placePrevious }) {
			return nil
		}
		if err = a.settleOnce(ctx, found); err == nil {
			continue
		}
		select {
		case <-time.After(settlePause):
		case <-ctx.Done():
			return err
		}
	}
	return err
}

func (a *applying) settleOnce(ctx context.Context, found []owned) error {
	a.story.Info("", "putting right what an interrupted deployment left behind")
	stopped := stoppedFor(found)
	for _, o := range found {
		// The engine may still be at a stop that it was told before.
		if stopped[o.id] && o.running() {
			if err := a.stop(ctx, o.id); err != nil {
				return engineError(err, "stop container %s", o.engineName)
			}
		}
	}
	_, err := a.putBack(ctx, "", func(o owned) bool { return stopped[o.id] })
	return err
}

// putBack makes the release that served before serve again: names, containers
// that were stopped for their successors, nothing else left over but the
// container with the id failed, which is kept for inspection. Of the serving
// containers it starts those that again picks. It can be repeated at any
// point. It reports whether there is a release that serves: of this deployment
// or of one that held the prefix before it.
func (a *applying) putBack(ctx context.Context, failed string, again func(owned) bool) (serves bool, err error) {
	found, err := a.ownedOf(ctx, a.dep.Prefix)
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(found, owned.isNext) {
		err = a.undoNames(ctx, found)
	} else {
		err = a.endPrevious(ctx, found)
	}
	if err != nil {
		return false, err
	}
	if found, err = a.ownedOf(ctx, a.dep.Prefix); err != nil {
		return false, err
	}
	a.leadBack(ctx, found)
	for _, o := range found {
		// Before anything is started: it may hold a port or a volume, and the
		// engine may be about to start it; then the stop waits for that.
		if o.leftOver() && (!o.ended() || o.state == container.StateCreated) {
			if err := a.stop(ctx, o.id); err != nil {
				return false, engineError(err, "stop container %s", o.engineName)
			}
		}
	}
	if serves, err = a.startServing(ctx, found, again); err != nil {
		return false, err
	}
	if err := a.routeToServing(ctx, a.dep.Prefix); err != nil {
		a.story.Warn("", "the routes are put back as soon as they can be: %v", err) // by SyncRoutes
	}
	for _, o := range found {
		switch {
		case o.leftOver() && o.id == failed:
			err = a.park(ctx, o, found)
		case o.leftOver():
			err = a.discard(ctx, o.id)
		}
		if err != nil {
			return false, engineError(err, "put container %s aside", o.engineName)
		}
	}
	return serves, nil
}

// leadBack sends requests to what serves before new containers are stopped, which
// may have got them already. Those under way may end, unless something is down
// until the new containers are.
func (a *applying) leadBack(ctx context.Context, found []owned) {
	var ending []string
	down := false
	for _, o := range found {
		if o.leftOver() && o.running() {
			ending = append(ending, o.id)
			down = down || len(o.stops) > 0
		}
	}
	if len(ending) == 0 {
		return
	}
	if err := a.routeToServing(ctx, a.dep.Prefix); err != nil {
		a.options.Logger.Warn("lead requests back before new containers are stopped", "prefix", a.dep.Prefix, "error", err)
		return // tried again, and told, when the old ones serve
	}
	if !down {
		a.drainRoutes(ctx, ending, 0)
	}
}

// endPrevious retires what an earlier release that is in place has replaced.
// What nothing has replaced gets its name back.
func (a *applying) endPrevious(ctx context.Context, found []owned) error {
	for _, o := range found {
		var err error
		switch {
		case o.place != placePrevious:
		case o.isReplaced(found):
			err = a.end(ctx, o)
		default:
			err = a.rename(ctx, o, o.home())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isReplaced reports whether another container bears the name of this one's
// workload.
func (o owned) isReplaced(found []owned) bool {
	return slices.ContainsFunc(found, func(s owned) bool { return s.place == placeServing && s.base == o.base })
}

// undoNames takes the names of workloads from containers of a release that is
// not in place, and gives them back to those that were renamed for it.
func (a *applying) undoNames(ctx context.Context, found []owned) error {
	if err := a.undoAdoptions(found); err != nil {
		return err
	}
	for _, o := range found {
		if o.place == placeServing && o.isNew(found) && o.adopted == "" {
			if err := a.rename(ctx, o, o.base+suffixNext); err != nil {
				return err
			}
		}
	}
	for _, o := range found {
		if o.place == placePrevious {
			if err := a.rename(ctx, o, o.home()); err != nil {
				return err
			}
		}
	}
	return nil
}

// startServing starts serving containers, those that again picks, and reports
// whether any serves then. One that somebody stopped before does not.
func (a *applying) startServing(ctx context.Context, found []owned, again func(owned) bool) (serves bool, err error) {
	for _, o := range found {
		if o.place != placeServing {
			continue
		}
		if !again(o) {
			serves = serves || !o.ended() || o.ends
			continue
		}
		a.story.Info(o.instance, "starting %s again", o.engineName)
		if err := a.engine.ContainerStart(ctx, o.id, container.StartOptions{}); err != nil {
			return false, a.startError(ctx, o.engineName, err)
		}
		serves = true
	}
	return serves, nil
}

// park keeps a failed container for inspection, stopped for good, in the place
// of an earlier one of the same workload.
func (a *applying) park(ctx context.Context, o owned, found []owned) error {
	for _, earlier := range found {
		if earlier.place == placeFailed && earlier.base == o.base {
			a.keepLog(ctx, earlier)
			if err := a.discard(ctx, earlier.id); err != nil {
				return err
			}
		}
	}
	_, err := a.engine.ContainerUpdate(ctx, o.id, container.UpdateConfig{
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled},
	})
	// Podman can't be told, and does not start what it was told to stop.
	if err != nil && !cerrdefs.IsNotFound(err) {
		return engineError(err, "end the restarts of container %s", o.engineName)
	}
	name := fmt.Sprintf("%s%s%d", o.base, suffixFailed, a.dep.Release)
	if err := a.rename(ctx, o, name); err != nil {
		a.story.Warn(o.instance, "the failed container cannot be kept as %s: %v", name, err)
		return a.discard(ctx, o.id)
	}
	a.story.Info(o.instance, "the failed container is kept as %s", name)
	return nil
}

func (a *applying) rename(ctx context.Context, o owned, name string) error {
	if err := a.engine.ContainerRename(ctx, o.id, name); err != nil {
		// The last rename puts a release in place, so it matters whether it
		// was done although the answer was lost.
		if seen, lookErr := a.engine.ContainerInspect(ctx, o.id); lookErr == nil && seen.Name == "/"+name {
			return nil
		}
		return engineError(err, "rename container %s to %s", o.engineName, name)
	}
	return nil
}

// stoppedFor are the ids of the containers that were stopped, or were to be, for
// those of a release that is being brought up.
func stoppedFor(found []owned) map[string]bool {
	stopped := map[string]bool{}
	for _, o := range found {
		if !o.isNew(found) {
			continue // what was stopped for it is long gone
		}
		for _, id := range o.stops {
			stopped[id] = true
		}
	}
	return stopped
}

// isNew reports whether the container is of a release that is being brought up:
// some that were made with it still bear temporary names.
func (o owned) isNew(found []owned) bool {
	return o.isNext() || o.attempt != "" && slices.ContainsFunc(found, func(n owned) bool { return n.isNext() && n.attempt == o.attempt })
}

func (o owned) isNext() bool { return o.place == placeNext }

// leftOver reports whether the container is of a release that is being brought up.
func (o owned) leftOver() bool {
	return o.place == placeNext || o.place == placeInit
}

// ownedOf lists the containers of ours under a prefix.
func (d *Driver) ownedOf(ctx context.Context, prefix string) ([]owned, error) {
	list, err := d.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(
		filters.Arg("label", labelManaged+"=true"), filters.Arg("label", labelNamespace+"="+prefix),
	)})
	if err != nil {
		return nil, engineError(err, "list the containers under prefix %s", prefix)
	}
	var found []owned
	for _, c := range list {
		if o, ours := ownedBy(c); ours {
			found = append(found, o)
		}
	}
	return found, nil
}
