package docker

import (
	"context"
	"errors"

	"github.com/docker/docker/api/types/container"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// initLogLines is how much of an init container's log goes into the story.
const initLogLines = 200

// runInit runs an init container to its end. Its output goes into the story.
// On failure the id of the container is returned with the error.
// It is waited for no longer than waits lasts.
func (a *applying) runInit(ctx, waits context.Context, s *slot, ic spec.InitContainer) (string, error) {
	b, p := buildInit(a.dep, s.Workload, ic, a.pulled[ic.Image].pinned)
	b.know(a.dep, s.Workload)
	if err := errors.Join(p.refused...); err != nil {
		return "", err // Check has let nothing of this through
	}
	name := s.base + suffixInit + ic.Name
	id, err := a.create(ctx, b, name, s.Workload)
	if err != nil {
		return "", err
	}
	a.story.Info(s.InstanceID, "running init container %s", ic.Name)
	if err := a.engine.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return id, engineError(err, "start init container %s", ic.Name)
	}
	ended, err := a.awaitEnd(waits, id, a.bell)
	a.storyOfInit(ctx, s, ic, id)
	if err != nil {
		return id, apperr.Wrap(apperr.KindOf(err), err, "run init container %s", ic.Name)
	}
	if code := ended.State.ExitCode; code != 0 {
		return id, apperr.New(apperr.Precondition, "init container %s ended with exit code %d", ic.Name, code)
	}
	if err := a.discard(ctx, id); err != nil {
		return id, engineError(err, "remove init container %s", ic.Name)
	}
	return "", nil
}

// storyOfInit tells what an init container wrote.
func (a *applying) storyOfInit(ctx context.Context, s *slot, ic spec.InitContainer, id string) {
	seen, err := a.engine.ContainerInspect(ctx, id)
	if err != nil {
		return
	}
	var lines []string
	err = a.readLog(ctx, seen, workload.LogOptions{Tail: initLogLines}, func(l workload.LogLine) error {
		lines = append(lines, ic.Name+": "+l.Text)
		return nil
	})
	if err != nil {
		a.options.Logger.Warn("read the log of an init container", "container", seen.Name, "error", err)
	}
	if len(lines) > 0 {
		a.story.Tell(workload.Event{Level: workload.LevelInfo, InstanceID: s.InstanceID, Lines: lines})
	}
}
