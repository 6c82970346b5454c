package docker

import (
	"context"
	"errors"
	"io"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"

	"fairlead.dev/shared/apperr"
)

// crashRetry is the pause before containers are looked at again whose prefix is
// being changed, or that the engine did not start.
const crashRetry = 2 * time.Second

// startCrashed starts the containers that ended because the engine crashed. One
// that comes back without live restore ends what it finds running, and 20.10
// then takes that for the wish of somebody, which "unless-stopped" heeds.
//
// What ran is known from before (see runs), and that the engine is another
// process since. A container that somebody stopped, or that ended before, is
// left alone. It returns when all is dealt with, or ctx ends.
func (d *Driver) startCrashed(ctx context.Context) {
	if d.options.Runs == nil {
		return
	}
	was := d.runs.load()
	for !was.LostAt.IsZero() && len(was.Running) > 0 {
		left, err := d.startCrashedOnce(ctx, was)
		if err != nil && ctx.Err() == nil {
			d.options.Logger.Warn("start what ended with the docker engine", "error", err)
		}
		if err == nil && left == 0 {
			break
		}
		select {
		case <-time.After(crashRetry):
		case <-ctx.Done():
			return
		}
	}
	d.runs.resume()
}

// startCrashedOnce tries, and returns how many containers have to wait for a
// deploy that is under way.
func (d *Driver) startCrashedOnce(ctx context.Context, was Runs) (left int, err error) {
	info, err := d.engine.Info(ctx)
	if err != nil {
		return 0, engineError(err, "ask the docker engine about itself")
	}
	if info.LiveRestoreEnabled {
		return 0, nil // it ends nothing
	}
	if remembers, err := d.remembersBefore(ctx, was.LostAt); remembers || err != nil {
		return 0, err // only its events were lost
	}
	all, err := d.engine.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return 0, engineError(err, "list the containers")
	}
	for _, c := range all {
		o, ours := ownedBy(c)
		if run, ran := was.Running[c.ID]; !ours || !ran || run.Unwanted || o.place != placeServing || o.ends || !o.ended() {
			continue
		}
		lock := d.changing.of(o.prefix)
		if !lock.TryLock() {
			left++
			continue
		}
		err := d.startIfCrashed(ctx, o, was)
		lock.Unlock()
		if err != nil {
			return left, err
		}
	}
	return left, nil
}

// startIfCrashed starts a container if its run ended with the engine, and
// nothing has happened to it since. Its prefix is held.
func (d *Driver) startIfCrashed(ctx context.Context, o owned, was Runs) error {
	seen, err := d.engine.ContainerInspect(ctx, o.id)
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return engineError(err, "look at container %s", o.engineName)
	}
	s := seen.State
	if s == nil || s.Running || seen.Name != "/"+o.engineName || !readTime(s.StartedAt).Equal(was.Running[o.id].StartedAt) ||
		readTime(s.FinishedAt).Before(was.LostAt) || !startedByEngines(seen) {
		return nil
	}
	if err := d.engine.ContainerStart(ctx, o.id, container.StartOptions{}); err != nil {
		// One that cannot start does not keep the others down.
		if err := d.engineAway(ctx); err != nil {
			return err
		}
		d.options.Logger.Error("start a container again that ended with the docker engine", "container", o.engineName, "error", err)
		return nil
	}
	d.options.Logger.Info("started a container again that ended with the docker engine", "container", o.engineName)
	return nil
}

// startedByEngines reports whether an engine that was stopped in order would
// start the container again when it comes back.
func startedByEngines(seen container.InspectResponse) bool {
	if seen.HostConfig == nil {
		return false
	}
	switch seen.HostConfig.RestartPolicy.Name {
	case container.RestartPolicyAlways, container.RestartPolicyUnlessStopped:
		return true
	case container.RestartPolicyOnFailure:
		return seen.State.ExitCode != 0
	case container.RestartPolicyDisabled:
	}
	return false
}

// remembersBefore reports whether the engine knows of anything that happened
// before a time: it forgets with its process.
func (d *Driver) remembersBefore(ctx context.Context, at time.Time) (bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	heard, end := d.engine.Events(ctx, events.ListOptions{Since: "1", Until: at.Format(time.RFC3339Nano)})
	select {
	case <-heard:
		return true, nil
	case err := <-end:
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		return false, apperr.Wrap(apperr.Unavailable, err, "ask the docker engine for its events")
	}
}
