package workloadtest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Check refuses routing, as an example of what a driver may not honor.
func (f *FakeDriver) Check(d spec.Deployment) error {
	var refused []error
	for _, w := range d.Workloads {
		if w.Container.Routing != nil {
			refused = append(refused, apperr.New(apperr.Unsupported, "instances %q: routing is not supported by the fake driver", w.Name()))
		}
	}
	if len(refused) == 0 {
		return nil
	}
	return apperr.Wrap(apperr.Unsupported, errors.Join(refused...), "the deployment cannot run on this node")
}

// Apply makes the engine run the deployment, all or nothing.
func (f *FakeDriver) Apply(ctx context.Context, d spec.Deployment, report workload.Reporter) error {
	step := func(step workload.Step, w spec.Workload) error {
		op := Op{Name: string(step), Prefix: d.Prefix, DeploymentID: d.ID, InstanceID: w.InstanceID}
		if w.Name() != "" {
			op.Container = spec.ContainerName(d.Prefix, w.Name())
		}
		if err := f.do(ctx, op); err != nil {
			return f.failure(ctx, step, d, w, op.Container, err)
		}
		if w.Name() != "" {
			f.say(report, w, string(step))
		}
		return nil
	}
	if err := f.Check(d); err != nil {
		return f.failure(ctx, workload.StepCheck, d, spec.Workload{}, "", err)
	}
	if err := step(workload.StepCheck, spec.Workload{}); err != nil {
		return err
	}
	if w, err := f.conflict(d); err != nil {
		return f.failure(ctx, workload.StepCheck, d, w, "", err)
	}
	for _, w := range d.Workloads {
		if err := step(workload.StepPull, w); err != nil {
			return err
		}
		if slices.Contains(f.options.Missing, w.Image.Reference) {
			return f.failure(ctx, workload.StepPull, d, w, "", apperr.New(apperr.NotFound, "image %s does not exist", w.Image.Reference))
		}
		report.Report(workload.Event{
			Time: f.options.Now(), Level: workload.LevelInfo, InstanceID: w.InstanceID, Lines: []string{"pulled"}, Digest: digestOf(w.Image.Reference),
		})
	}
	due := f.dueHooks(d)
	for _, w := range due {
		if w.Hook(spec.HookPreDeploy) == nil {
			continue
		}
		if err := step(workload.StepPreDeploy, w); err != nil {
			return err
		}
		if h, err := f.runHook(ctx, d, w, spec.HookPreDeploy, report); err != nil {
			failed := f.failure(ctx, workload.StepPreDeploy, d, w, spec.ContainerName(d.Prefix, w.Name())+".hook-pre-deploy", err)
			failed.ExitCode, failed.LogTail = &h.code, h.lines
			return failed
		}
	}
	candidates := map[string]*fakeContainer{}
	for _, w := range d.Workloads {
		name := spec.ContainerName(d.Prefix, w.Name())
		if f.keep(name, w) {
			continue
		}
		for _, s := range []workload.Step{workload.StepCreate, workload.StepStart, workload.StepHealth} {
			if err := step(s, w); err != nil {
				return err
			}
		}
		c := f.start(d, w)
		if err := c.judge(); err != nil {
			failed := f.failure(ctx, workload.StepHealth, d, w, name, err)
			failed.ExitCode = &c.ExitCode
			for _, line := range c.log {
				failed.LogTail = append(failed.LogTail, line.Text)
			}
			return failed
		}
		candidates[name] = c
	}
	if err := step(workload.StepRetire, spec.Workload{}); err != nil {
		return err
	}
	for _, event := range f.commit(d, candidates) {
		report.Report(event)
	}
	return f.postDeploy(ctx, d, due, report)
}

// Remove removes every container under the prefix.
func (f *FakeDriver) Remove(ctx context.Context, prefix string, report workload.Reporter) error {
	op := Op{Name: string(workload.StepRemove), Prefix: prefix}
	if err := f.do(ctx, op); err != nil {
		return &workload.Failure{Step: workload.StepRemove, Err: err}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, c := range f.containers {
		if c.under(prefix) {
			delete(f.containers, name)
			report.Report(workload.Event{
				Time: f.options.Now(), Level: workload.LevelInfo, InstanceID: c.InstanceID,
				Lines: []string{"removed " + name},
			})
		}
	}
	f.notify()
	return nil
}

// conflict finds containers of others under the names the deployment needs.
func (f *FakeDriver) conflict(d spec.Deployment) (spec.Workload, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range d.Workloads {
		name := spec.ContainerName(d.Prefix, w.Name())
		if c, ok := f.containers[name]; ok && !c.under(d.Prefix) {
			return w, apperr.New(apperr.Conflict, "a container named %s is already there and is not of prefix %s", name, d.Prefix)
		}
	}
	return spec.Workload{}, nil
}

// keep reports whether the workload runs already, and starts it if it is
// stopped. The container keeps the release that made it.
func (f *FakeDriver) keep(name string, w spec.Workload) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.containers[name]
	if !ok || c.SpecHash != w.Hash {
		return false
	}
	if c.State != spec.StateRunning && c.judge() != nil {
		c.run(f.options.Now())
		f.notify()
	}
	return true
}

// start makes the workload's container and runs its program, beside what serves.
func (f *FakeDriver) start(d spec.Deployment, w spec.Workload) *fakeContainer {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &fakeContainer{
		Container: workload.Container{
			ID:           workload.ContainerID{Prefix: d.Prefix, Name: w.Name()},
			EngineID:     f.nextID(),
			Managed:      true,
			DeploymentID: d.ID,
			InstanceID:   w.InstanceID,
			Release:      d.Release,
			SpecHash:     w.Hash,
			ImageName:    w.Image.Reference,
			CreatedAt:    f.options.Now(),
		},
		workload: w,
	}
	c.run(f.options.Now())
	return c
}

// under reports whether the driver made the container for a deployment under
// the prefix.
func (c *fakeContainer) under(prefix string) bool { return c.Managed && c.ID.Prefix == prefix }

// judge says whether the container came to the state that was asked for.
func (c *fakeContainer) judge() error {
	want := spec.ExpectedState{State: spec.StateRunning}
	if c.workload.Container.ExpectedState != nil {
		want = *c.workload.Container.ExpectedState
	}
	if c.State != want.State || c.State == spec.StateExited && c.ExitCode != int(want.ExitCode) {
		return apperr.New(apperr.Precondition, "is %s with exit code %d, not %s", c.State, c.ExitCode, want.State)
	}
	return nil
}

// commit puts the new containers in place, retires what is no longer named,
// and returns the states the workloads came to.
func (f *FakeDriver) commit(d spec.Deployment, candidates map[string]*fakeContainer) []workload.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	named := map[string]bool{}
	for _, w := range d.Workloads {
		named[spec.ContainerName(d.Prefix, w.Name())] = true
	}
	for name, c := range f.containers {
		if c.under(d.Prefix) && !named[name] {
			delete(f.containers, name)
		}
	}
	for name, c := range candidates {
		f.containers[name] = c
	}
	f.notify()
	var events []workload.Event
	for _, w := range d.Workloads {
		if c, ok := f.containers[spec.ContainerName(d.Prefix, w.Name())]; ok {
			events = append(events, workload.Event{
				Time: f.options.Now(), Level: workload.LevelInfo, InstanceID: w.InstanceID, State: c.State, Reason: c.Reason,
			})
		}
	}
	return events
}

// failure makes a failure card; nothing that served was touched.
func (f *FakeDriver) failure(ctx context.Context, step workload.Step, d spec.Deployment, w spec.Workload, container string, err error) *workload.Failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	serves := false
	for _, c := range f.containers {
		serves = serves || c.under(d.Prefix) && c.judge() == nil
	}
	return &workload.Failure{
		Step: step, InstanceID: w.InstanceID, Container: container, Err: err,
		RolledBack: serves && ctx.Err() == nil,
	}
}

// digestOf is what a reference stands for: what it says itself, or what is made
// of it.
func digestOf(reference string) string {
	if _, digest, ok := strings.Cut(reference, "@"); ok {
		return digest
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(reference)))
}

func (f *FakeDriver) say(report workload.Reporter, w spec.Workload, text string) {
	report.Report(workload.Event{
		Time: f.options.Now(), Level: workload.LevelInfo, InstanceID: w.InstanceID, Lines: []string{text},
	})
}
