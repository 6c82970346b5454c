package docker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/docker/docker/api/types/container"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Hooks. The container of a hook is the record of it: its labels say of which
// release it is, its state says how far it came. It stays, ended, until the next
// release of its workload, so an Apply that is repeated finds what became of the
// hook and does not run it twice:
//
//   - "created": it never began, and begins now;
//   - running: it is waited for;
//   - ended: its exit code counts.
//
// The container of a post-deploy hook is made before the release is put in place:
// one that has not begun is what tells, after a crash, that it has to.

const suffixHook = ".hook-"

// hookName is the engine name of a hook's container.
func hookName(dep spec.Deployment, w spec.Workload, kind spec.HookKind) string {
	return spec.ContainerName(dep.Prefix, w.Name()) + suffixHook + string(kind)
}

// buildHook turns a hook into a container that is as the workload's, but
// publishes nothing, serves no route and runs once.
func buildHook(d spec.Deployment, w spec.Workload, kind spec.HookKind, image string) (blueprint, problems) {
	b, p := build(d, w, image)
	h := w.Hook(kind)
	b.config.Entrypoint, b.config.Cmd = words(h.Command), words(h.Args)
	b.config.Labels = workloadLabels(d, w) // a proxy may read those of dockerLabels
	b.config.Labels[labelHook] = string(kind)
	delete(b.config.Labels, labelEnds)
	b.config.Hostname, b.config.Tty, b.config.ExposedPorts = "", false, nil
	b.config.Healthcheck = &container.HealthConfig{Test: []string{"NONE"}}
	b.host.PortBindings = nil
	b.host.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyDisabled}
	b.know(d, w)
	return b, p
}

// brings reports whether the release has a workload run what does not serve now:
// then its hooks run. More or fewer of the same containers are no reason.
func (dec *decision) brings(w spec.Workload, seen sight) bool {
	fresh := slices.ContainsFunc(dec.slots, func(s *slot) bool { return s.Name() == w.Name() && !s.kept && s.candidate == nil })
	return fresh && !slices.ContainsFunc(seen.owned, func(o owned) bool {
		return o.place == placeServing && o.name == w.Name() && o.specHash == w.Hash && seen.images[w.Image.Reference].runs(o) && len(seen.otherMoves(w, o)) == 0
	})
}

// dueHooks are the workloads that the release brings and that have a hook of a
// kind, in their order.
func (a *applying) dueHooks(kind spec.HookKind) []spec.Workload {
	var due []spec.Workload
	for _, w := range a.dep.Workloads {
		if w.Hook(kind) != nil && a.brings(w, a.seen) {
			due = append(due, w)
		}
	}
	return due
}

// hookOf finds the container of a hook of this release.
func (a *applying) hookOf(w spec.Workload, kind spec.HookKind) (owned, bool) {
	at := slices.IndexFunc(a.seen.hooks, func(o owned) bool {
		return o.hook == kind && o.instance == w.InstanceID && a.isOurHook(o)
	})
	if at < 0 {
		return owned{}, false
	}
	return a.seen.hooks[at], true
}

func (a *applying) isOurHook(o owned) bool {
	return o.release == a.dep.Release && o.deployment == a.dep.ID
}

// preDeploy ends hooks of other releases that still run, which nobody waits for
// any more, and runs those that come before everything else.
func (a *applying) preDeploy(ctx context.Context) *workload.Failure {
	due := a.dueHooks(spec.HookPreDeploy)
	named := slices.Concat(due, a.dueHooks(spec.HookPostDeploy))
	for _, o := range a.seen.hooks {
		taken := slices.ContainsFunc(named, func(w spec.Workload) bool { return w.Name() == o.name })
		if a.isOurHook(o) || o.state == container.StateExited && !taken {
			continue
		}
		if err := a.end(ctx, o); err != nil {
			return a.fail(ctx, workload.StepPreDeploy, nil, "", err)
		}
	}
	for _, w := range due {
		id, err := a.makeHook(ctx, w, spec.HookPreDeploy)
		if err == nil {
			err = a.runHook(ctx, w, spec.HookPreDeploy, id)
		}
		if err != nil {
			return a.fail(ctx, workload.StepPreDeploy, &slot{Workload: w, base: hookName(a.dep, w, spec.HookPreDeploy)}, id, err)
		}
	}
	return nil
}

// armPostDeploy makes the containers of the hooks that come after everything
// else; see above.
func (a *applying) armPostDeploy(ctx context.Context) *workload.Failure {
	for _, w := range a.dueHooks(spec.HookPostDeploy) {
		id, err := a.makeHook(ctx, w, spec.HookPostDeploy)
		if err != nil {
			return a.fail(ctx, workload.StepCreate, &slot{Workload: w, base: hookName(a.dep, w, spec.HookPostDeploy)}, id, err)
		}
		a.armed = append(a.armed, id)
	}
	return nil
}

// disarm takes the hooks away that come after a release which has failed.
func (a *applying) disarm(ctx context.Context) {
	for _, id := range a.armed {
		if err := a.discard(ctx, id); err != nil {
			a.options.Logger.Warn("remove the container of a hook that does not run; the next release does", "container", id, "error", err)
		}
	}
}

// postDeploy runs the hooks that come when the release is in place, also those
// that an Apply before this one did not come to. The release stays in place
// whatever becomes of them: the old one has ended.
func (a *applying) postDeploy(ctx context.Context) *workload.Failure {
	found, err := a.ownedOf(ctx, a.dep.Prefix)
	if err != nil {
		return a.fail(ctx, workload.StepPostDeploy, nil, "", err)
	}
	for _, o := range found {
		if o.hook == "" || a.isOurHook(o) || !a.outlived(o) {
			continue
		}
		if err := a.end(ctx, o); err != nil {
			return a.fail(ctx, workload.StepPostDeploy, nil, "", err)
		}
	}
	for _, w := range a.dep.Workloads {
		at := slices.IndexFunc(found, func(o owned) bool {
			return o.hook == spec.HookPostDeploy && o.instance == w.InstanceID && a.isOurHook(o)
		})
		if at < 0 || w.Hook(spec.HookPostDeploy) == nil {
			continue
		}
		id, name := found[at].id, found[at].engineName
		err := a.runHook(ctx, w, spec.HookPostDeploy, id)
		if err != nil && (ctx.Err() != nil || apperr.Is(err, apperr.Unavailable)) {
			return a.fail(ctx, workload.StepPostDeploy, &slot{Workload: w, base: name}, id, err) // is done again
		}
		if err != nil {
			a.story.Warn(w.InstanceID, "%v; the release stays in place, and the container of the hook is kept as %s", err, name)
		}
	}
	return nil
}

// outlived reports whether nothing serves any more of what a hook's release
// brought.
func (a *applying) outlived(o owned) bool {
	return !slices.ContainsFunc(a.slots, func(s *slot) bool { return s.Name() == o.name && s.kept })
}

// makeHook returns the id of a hook's container, which it makes unless there is
// one of this release.
func (a *applying) makeHook(ctx context.Context, w spec.Workload, kind spec.HookKind) (string, error) {
	if o, there := a.hookOf(w, kind); there {
		return o.id, nil
	}
	b, p := buildHook(a.dep, w, kind, a.pulled[w.Image.Reference].pinned)
	if err := errors.Join(p.refused...); err != nil {
		return "", err // Check has let nothing of this through
	}
	return a.create(ctx, b, hookName(a.dep, w, kind), w)
}

// runHook has a hook run to its end, once: one that has begun is waited for.
func (a *applying) runHook(ctx context.Context, w spec.Workload, kind spec.HookKind, id string) error {
	hearing, deaf := context.WithCancel(ctx)
	defer deaf()
	bell := a.listen(hearing, a.dep.Prefix)
	begun, err := a.beginHook(ctx, w, kind, id)
	if err != nil {
		return err
	}
	log := a.story.FollowHook(ctx, w, kind, func(ctx context.Context, line func(workload.LogLine) error) error {
		return a.readLog(ctx, begun, workload.LogOptions{Tail: workload.MaxHookLogLines, Follow: true}, line)
	})
	within := time.Duration(w.Hook(kind).TimeoutSeconds) * time.Second
	ended, err := a.awaitHook(ctx, begun, within, bell)
	log.End()
	if err != nil {
		return apperr.Wrap(apperr.KindOf(err), err, "run the %s hook of %s", kind, w.Name())
	}
	if code := ended.State.ExitCode; code != 0 {
		return apperr.New(apperr.Precondition, "the %s hook of %s ended with exit code %d", kind, w.Name(), code)
	}
	a.story.Info(w.InstanceID, "the %s hook of %s is done", kind, w.Name())
	return nil
}

// beginHook starts a hook's container unless it has begun.
func (a *applying) beginHook(ctx context.Context, w spec.Workload, kind spec.HookKind, id string) (container.InspectResponse, error) {
	seen, err := a.engine.ContainerInspect(ctx, id)
	if o, there := a.hookOf(w, kind); there && o.id == id {
		// The engine may still be at the start that an agent before this one,
		// which was killed, told it.
		for tries := 0; tries < 2 && err == nil && !begun(seen); tries++ {
			select {
			case <-time.After(settlePause):
			case <-ctx.Done():
				return seen, engineError(ctx.Err(), "run the %s hook of %s", kind, w.Name())
			}
			seen, err = a.engine.ContainerInspect(ctx, id)
		}
	}
	if err != nil {
		return seen, engineError(err, "look at the container of the %s hook of %s", kind, w.Name())
	}
	if begun(seen) {
		a.story.Info(w.InstanceID, "the %s hook of %s has begun before; its end counts", kind, w.Name())
		return seen, nil
	}
	a.story.Info(w.InstanceID, "running the %s hook of %s", kind, w.Name())
	startErr := a.engine.ContainerStart(ctx, id, container.StartOptions{})
	seen, err = a.engine.ContainerInspect(ctx, id)
	switch {
	case startErr != nil && (err != nil || !begun(seen)): // else its answer was lost
		return seen, engineError(startErr, "start the %s hook of %s", kind, w.Name())
	case err != nil:
		return seen, engineError(err, "look at the container of the %s hook of %s", kind, w.Name())
	}
	return seen, nil
}

// begun reports whether a container's process was ever started.
func begun(seen container.InspectResponse) bool {
	return seen.State.Status != container.StateCreated && !readTime(seen.State.StartedAt).IsZero()
}

// awaitHook waits until a hook has ended. One that takes longer than it may,
// since it began, is stopped.
func (a *applying) awaitHook(ctx context.Context, seen container.InspectResponse, within time.Duration, bell *bell) (container.InspectResponse, error) {
	expired := time.NewTimer(within - a.options.Now().Sub(readTime(seen.State.StartedAt)))
	defer expired.Stop()
	tick := time.NewTicker(bell.glance())
	defer tick.Stop()
	for {
		if state, _ := stateOf(seen.State.Status, false); state == spec.StateExited {
			return seen, nil
		}
		select {
		case <-bell.wake(seen.ID):
		case <-tick.C:
		case <-expired.C:
			if err := a.stop(ctx, seen.ID); err != nil {
				return seen, engineError(err, "stop it after %s", within)
			}
			return seen, apperr.New(apperr.Precondition, "it had not ended after %s and was stopped", within)
		case <-ctx.Done():
			return seen, engineError(ctx.Err(), "wait for its end")
		}
		tick.Reset(bell.glance())
		var err error
		if seen, err = a.engine.ContainerInspect(ctx, seen.ID); err != nil {
			return seen, engineError(err, "look at its container")
		}
	}
}
