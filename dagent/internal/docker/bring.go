package docker

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// parallelBrings is how many containers are made and started at once when the
// policy does not say: more make the engine no faster.
const parallelBrings = 8

// bringAll has every container of the release running, and healthy if it can
// tell, beside what serves where it can.
//
// Containers are made and started several at a time. One waits for those before
// it that can tell whether they are healthy, since it may need them; with a
// parallelism in the policy, it waits for all but so many.
func (a *applying) bringAll(ctx context.Context) *workload.Failure {
	hearing, deaf := context.WithCancel(ctx)
	defer deaf()
	for _, s := range a.slots {
		if !s.kept || !s.old.running() {
			a.bell = a.listen(hearing, a.dep.Prefix)
			break
		}
	}
	line := newLine(ctx, a.dep.Policy.Parallelism)
	defer line.halt()
	var group sync.WaitGroup
	for _, s := range a.slots {
		turn, ok := line.next()
		if !ok {
			break
		}
		group.Go(func() {
			defer turn.end()
			if a.bring(ctx, turn, s) != nil {
				line.halt()
			}
		})
	}
	group.Wait()
	if ctx.Err() != nil && a.failure == nil {
		return a.fail(ctx, workload.StepStart, nil, "", engineError(ctx.Err(), "bring the deployment up"))
	}
	return a.failure
}

// bring has one container running, and healthy if it can tell.
//
// The new container exists before anything is stopped for it, and names on a
// label what will be: that is how settle knows which ones were.
func (a *applying) bring(ctx context.Context, t *turn, s *slot) *workload.Failure {
	if s.kept {
		return a.keep(ctx, t, s)
	}
	if s.replica <= 1 {
		for _, note := range notes(s.Container) {
			a.story.Warn(s.InstanceID, "%s: %s", s.base, note)
		}
		if a.unlimited && asksForLimits(s.Container) {
			a.story.Warn(s.InstanceID, "%s: %s", s.base, limitsNote)
		}
	}
	if err := errors.Join(s.problems.refused...); err != nil {
		return a.fail(ctx, workload.StepCreate, s, "", err) // Check has let nothing of this through
	}
	image := a.pulled[s.Image.Reference]
	s.blueprint.config.Image = image.pinned
	digest := digestOf(image.pinned)
	s.gate = gateOf(s.Container, image.checked)
	if s.readyAtOnce() {
		t.free()
	}
	if digest != "" {
		s.blueprint.config.Labels[labelImageDigest] = digest
	}
	others := a.othersOf(s.Workload)
	if len(others) > 0 {
		s.blueprint.config.Labels[labelOtherDigests] = encodeOthers(others)
	}
	s.blueprint.config.Labels[labelAttempt] = a.attempt
	var err error
	if s.next, err = a.create(ctx, s.blueprint, s.base+suffixNext, s.Workload); err != nil {
		return a.fail(ctx, workload.StepCreate, s, "", err)
	}
	a.story.Tell(workload.Event{
		Level: workload.LevelInfo, InstanceID: s.InstanceID, Lines: []string{"created container " + s.base},
		State: spec.StateWaiting, Reason: container.StateCreated, Digest: digest, OtherDigests: others,
	})
	if !t.wait() {
		return nil // another has failed
	}
	if err := a.standBy(ctx, s, s.stopsForInit); err != nil {
		return a.fail(ctx, workload.StepInit, s, "", err)
	}
	if err := a.fillOnce(ctx, t.ctx, s); err != nil && !t.halted() {
		return a.fail(ctx, workload.StepInit, s, "", err)
	}
	for _, ic := range s.Container.InitContainers {
		if id, err := a.runInit(ctx, t.ctx, s, ic); err != nil && !t.halted() {
			return a.fail(ctx, workload.StepInit, s, id, err)
		}
		if t.halted() {
			return nil
		}
	}
	if err := a.standBy(ctx, s, s.stops); err != nil {
		return a.fail(ctx, workload.StepStart, s, "", err)
	}
	if t.halted() {
		return nil
	}
	if failure := a.startAndAwait(ctx, t, s, s.next); failure != nil || t.halted() {
		return failure
	}
	if err := a.announce(ctx, s); err != nil {
		return a.fail(ctx, workload.StepHealth, s, s.next, err)
	}
	return nil
}

// keep makes sure that a container that needs no change does what it should.
func (a *applying) keep(ctx context.Context, t *turn, s *slot) *workload.Failure {
	if s.candidate != nil {
		t.free()
		return nil // it runs
	}
	unchanged := func(state spec.ContainerState) {
		a.story.Tell(workload.Event{
			Level: workload.LevelInfo, InstanceID: s.InstanceID, Lines: []string{s.base + " is unchanged"},
			State: state, Reason: s.old.state, Digest: s.old.digest, OtherDigests: s.old.othersFor(s.Workload),
		})
	}
	if s.old.running() {
		t.free()
		unchanged(spec.StateRunning)
		return nil
	}
	seen, err := a.engine.ContainerInspect(ctx, s.old.id)
	if err != nil {
		return a.fail(ctx, workload.StepCheck, s, "", engineError(err, "look at container %s", s.base))
	}
	s.gate = gateOf(s.Container, len(healthCommand(seen.Config)) > 0)
	if want := expected(s.Workload); want.State == spec.StateExited {
		if done, err := judge(seen.State, want, s.gate, evidence{unbroken: true, steady: true}); done && err == nil && seen.State.Status == container.StateExited {
			unchanged(spec.StateExited)
			return nil
		}
	}
	if s.readyAtOnce() {
		t.free()
	}
	if !t.wait() {
		return nil
	}
	return a.startAndAwait(ctx, t, s, s.old.id)
}

func (a *applying) startAndAwait(ctx context.Context, t *turn, s *slot, id string) *workload.Failure {
	a.story.Info(s.InstanceID, "starting %s", s.base)
	if err := a.engine.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return a.fail(ctx, workload.StepStart, s, id, a.startError(ctx, s.base, err))
	}
	want := a.expected(s.Workload)
	t.started()
	if want.State == spec.StateRunning {
		a.story.State(s.InstanceID, spec.StateRunning, "starting", "started %s", s.base)
	}
	said, err := a.awaitState(t.ctx, id, want, s.gate, a.bell) //nolint:contextcheck // the turn's context is made of ctx
	if t.halted() {
		return nil
	}
	if err == nil {
		a.story.State(s.InstanceID, want.State, string(want.State), "%s is ready", s.base)
		return nil
	}
	failure := a.card(ctx, workload.StepHealth, s, id, err)
	a.note(failure, id, said)
	if policy := a.dep.Policy.OnFailure; policy == spec.OnFailureKeep || policy == spec.OnFailureNotify {
		a.story.Warn(s.InstanceID, "%v; it is put in place all the same", failure)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.unhealthy = append(a.unhealthy, failure)
		return nil
	}
	return a.record(failure, s, id)
}

// note adds to a failure card what a look at the container does not tell.
func (a *applying) note(failure *workload.Failure, id, said string) {
	if said != "" {
		failure.ProbeOutput = said
	}
	if code, heard := a.bell.exit(id); heard {
		if n, err := strconv.Atoi(code); err == nil {
			failure.ExitCode = &n
		}
	}
}

// readyAtOnce reports whether nobody can tell when the container is ready.
func (s *slot) readyAtOnce() bool {
	return s.gate.free() && expected(s.Workload).State == spec.StateRunning
}

// expected is the state a container should come to, and how long it may take.
func (a *applying) expected(w spec.Workload) spec.ExpectedState {
	want := expected(w)
	if want.TimeoutSeconds == 0 {
		want.TimeoutSeconds = a.dep.Policy.HealthWindowSeconds
	}
	return want
}

// standBy stops containers that end with this release and cannot be there at
// the same time as the new one.
func (a *applying) standBy(ctx context.Context, s *slot, list []*retiree) error {
	for _, r := range list {
		a.mu.Lock()
		if a.halted == nil {
			a.halted = map[string]*halt{}
		}
		h := a.halted[r.id]
		if h == nil {
			h = &halt{}
			a.halted[r.id] = h // even when the engine's answer is lost
		}
		a.mu.Unlock()
		h.once.Do(func() {
			a.story.Info(s.InstanceID, "stopping %s, which cannot run beside its successor", r.engineName)
			h.err = a.stop(ctx, r.id)
		})
		if h.err != nil {
			return engineError(h.err, "stop container %s", r.engineName)
		}
	}
	return nil
}

// stoodBy reports whether a container was stopped for a successor.
func (a *applying) stoodBy(o owned) bool { return a.halted[o.id] != nil }

func (d *Driver) stop(ctx context.Context, id string) error {
	grace := int(d.options.StopGrace / time.Second)
	return d.engine.ContainerStop(ctx, id, container.StopOptions{Timeout: &grace})
}

// hostPort finds the host port in the engine's words for one that is taken.
var hostPort = regexp.MustCompile(`(?:Bind for|listen (?:tcp|udp)[46]?|exposing port (?:TCP|UDP)) \S*?:(\d+)`)

// startError says whose a host port is when one is taken.
func (d *Driver) startError(ctx context.Context, name string, err error) error {
	match := hostPort.FindStringSubmatch(err.Error())
	if match == nil {
		return engineError(err, "start container %s", name)
	}
	owner := "something on this node"
	if all, listed := d.engine.ContainerList(ctx, container.ListOptions{}); listed == nil {
		for _, c := range all {
			for _, p := range c.Ports {
				if strconv.Itoa(int(p.PublicPort)) == match[1] {
					owner = "container " + engineName(c)
				}
			}
		}
	}
	return apperr.Wrap(apperr.Conflict, err, "start container %s: host port %s is already used by %s", name, match[1], owner)
}
