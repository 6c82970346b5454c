package workloadtest

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// fakeHook is a hook that has begun; it goes on whoever waits for it.
type fakeHook struct {
	lines []string
	ends  time.Time
	code  int
}

func hookKey(d spec.Deployment, w spec.Workload, kind spec.HookKind) string {
	return fmt.Sprintf("%s %d %s %s", d.ID, d.Release, w.InstanceID, kind)
}

// dueHooks are the workloads with hooks that the deployment brings, and those
// whose last hook an Apply before this one has begun.
func (f *FakeDriver) dueHooks(d spec.Deployment) []spec.Workload {
	f.mu.Lock()
	defer f.mu.Unlock()
	var due []spec.Workload
	for _, w := range d.Workloads {
		c, there := f.containers[spec.ContainerName(d.Prefix, w.Name())]
		serves := there && c.SpecHash == w.Hash
		begun := f.hooks[hookKey(d, w, spec.HookPostDeploy)] != nil
		if w.Container.Hooks != nil && (!serves || begun) {
			due = append(due, w)
		}
	}
	return due
}

// runHook runs a hook to its end, or waits for the one that has begun. The
// program is the one of Subject.Image.
func (f *FakeDriver) runHook(ctx context.Context, d spec.Deployment, w spec.Workload, kind spec.HookKind, report workload.Reporter) (*fakeHook, error) {
	f.mu.Lock()
	h := f.hooks[hookKey(d, w, kind)]
	if h == nil {
		h = f.beginHook(w.Hook(kind), f.options.Now())
		f.hooks[hookKey(d, w, kind)] = h
	}
	f.mu.Unlock()
	for _, line := range h.lines {
		f.say(report, w, string(kind)+": "+line)
	}
	within := time.Duration(w.Hook(kind).TimeoutSeconds) * time.Second
	left := h.ends.Sub(f.options.Now())
	if err := f.options.Wait(ctx, min(left, within)); err != nil {
		return h, apperr.Wrap(apperr.Unavailable, err, "wait for the %s hook", kind)
	}
	switch {
	case left > within:
		return h, apperr.New(apperr.Precondition, "the %s hook had not ended after %s and was stopped", kind, within)
	case h.code != 0:
		return h, apperr.New(apperr.Precondition, "the %s hook ended with exit code %d", kind, h.code)
	}
	return h, nil
}

// beginHook starts the program of a hook; f.mu is held.
func (f *FakeDriver) beginHook(hook *spec.Hook, now time.Time) *fakeHook {
	h := &fakeHook{lines: []string{"warming up", "hello", "ready"}, ends: now}
	args := hook.Args
	if len(args) == 3 && args[0].Key == "work" {
		h.lines = append(h.lines, "run "+f.nextID())
		if n, err := strconv.Atoi(args[1].Key); err == nil {
			h.ends = now.Add(time.Duration(n) * time.Second)
		}
		args = args[1:]
	}
	if len(args) == 2 {
		h.code, _ = strconv.Atoi(args[1].Key)
	}
	return h
}

// postDeploy runs the hooks that come when the deployment is in place.
func (f *FakeDriver) postDeploy(ctx context.Context, d spec.Deployment, due []spec.Workload, report workload.Reporter) error {
	for _, w := range due {
		if w.Hook(spec.HookPostDeploy) == nil {
			continue
		}
		err := f.do(ctx, Op{Name: string(workload.StepPostDeploy), Prefix: d.Prefix, DeploymentID: d.ID, InstanceID: w.InstanceID})
		if err == nil {
			_, err = f.runHook(ctx, d, w, spec.HookPostDeploy, report)
		}
		if err != nil && (ctx.Err() != nil || apperr.Is(err, apperr.Unavailable)) {
			return f.failure(ctx, workload.StepPostDeploy, d, w, "", err)
		}
		if err != nil {
			report.Report(workload.Event{Time: f.options.Now(), Level: workload.LevelWarn, InstanceID: w.InstanceID, Lines: []string{err.Error()}})
		}
	}
	return nil
}
