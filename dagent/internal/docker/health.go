package docker

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

const pollInterval = 100 * time.Millisecond

// awaitState waits until a started container has come to the state that is
// wanted of it. Running means that it has passed its gate or, where it has
// none, that it runs through the stability window without a restart. It returns
// what the last probe of its own said.
func (d *Driver) awaitState(ctx context.Context, id string, want spec.ExpectedState, g gate, bell *bell) (said string, err error) {
	w := &waiting{Driver: d, id: id, want: want, gate: g, bell: bell}
	if want.State != spec.StateRunning || g.free() {
		return "", w.run(ctx, nil)
	}
	p := d.probe(ctx, id, g)
	err = w.run(ctx, p.passed)
	return p.stop(), err
}

// waiting waits for one container.
type waiting struct {
	*Driver
	id   string
	want spec.ExpectedState
	gate gate
	bell *bell
}

// run looks at the container whenever there is reason to. It counts as healthy
// when healthy is closed.
func (w *waiting) run(ctx context.Context, healthy <-chan struct{}) error {
	timeout := w.options.HealthTimeout
	if w.want.TimeoutSeconds > 0 {
		timeout = time.Duration(w.want.TimeoutSeconds) * time.Second
	}
	expired := time.NewTimer(timeout)
	defer expired.Stop()
	tick := time.NewTicker(w.bell.glance())
	defer tick.Stop()
	steady := time.NewTimer(w.options.StabilityWindow)
	defer steady.Stop()

	known := evidence{}
	for started := ""; ; {
		select {
		case <-w.bell.wake(w.id):
		case <-tick.C:
		case <-steady.C:
			known.steady = true
		case <-healthy:
			known.healthy, healthy = true, nil
		case <-expired.C:
			seen, err := w.engine.ContainerInspect(ctx, w.id)
			if err != nil {
				return engineError(err, "look at the new container")
			}
			if len(w.gate.probes) > 0 && seen.State.Running && w.want.State == spec.StateRunning {
				return apperr.New(apperr.Precondition, "container runs, but its probes have not succeeded within %s", timeout)
			}
			return apperr.New(apperr.Precondition, "container is %s after %s, wanted %s", describe(seen.State), timeout, wanted(w.want, w.gate))
		case <-ctx.Done():
			return engineError(ctx.Err(), "wait for the new container")
		}
		tick.Reset(w.bell.glance())
		seen, err := w.engine.ContainerInspect(ctx, w.id)
		if err != nil {
			return engineError(err, "look at the new container")
		}
		if started == "" {
			started = seen.State.StartedAt
		}
		// The engine counts from 0 again when a container is started by hand.
		known.unbroken = seen.RestartCount == 0 && seen.State.StartedAt == started
		if done, err := judge(seen.State, w.want, w.gate, known); done || err != nil {
			return err
		}
	}
}

// awaitEnd waits until a container that is not restarted has ended.
func (d *Driver) awaitEnd(ctx context.Context, id string, bell *bell) (container.InspectResponse, error) {
	expired := time.NewTimer(d.options.InitTimeout)
	defer expired.Stop()
	tick := time.NewTicker(bell.glance())
	defer tick.Stop()
	for {
		seen, err := d.engine.ContainerInspect(ctx, id)
		if err != nil {
			return seen, engineError(err, "look at the container")
		}
		if state, _ := stateOf(seen.State.Status, false); state == spec.StateExited {
			return seen, nil
		}
		tick.Reset(bell.glance())
		select {
		case <-bell.wake(id):
		case <-tick.C:
		case <-expired.C:
			return seen, apperr.New(apperr.Precondition, "it has not ended after %s", d.options.InitTimeout)
		case <-ctx.Done():
			return seen, engineError(ctx.Err(), "wait for the container")
		}
	}
}

// evidence is what is known of a running container beyond its state.
type evidence struct {
	// unbroken is true while it runs on from its first start.
	unbroken bool
	// steady is true once it has run through the stability window.
	steady bool
	// healthy is true once it has passed its gate by a probe of the agent's.
	healthy bool
}

// judge decides whether a container has come to the wanted state, never will,
// or may still.
func judge(s *container.State, want spec.ExpectedState, g gate, known evidence) (done bool, err error) {
	state, _ := stateOf(s.Status, s.OOMKilled)
	switch want.State {
	case spec.StateExited:
		// A container that is started again has ended as well.
		if s.Status != container.StateExited && s.Status != container.StateDead && s.Status != container.StateRestarting {
			return false, nil
		}
		if s.ExitCode != int(want.ExitCode) {
			return false, apperr.New(apperr.Precondition, "container ended with exit code %d, wanted %d", s.ExitCode, want.ExitCode)
		}
		return true, nil
	case spec.StateWaiting:
		return state == spec.StateWaiting, nil
	case spec.StateRunning:
	}
	switch {
	case s.Status == container.StateRestarting:
		return false, apperr.New(apperr.Precondition, "container ended (%s) before it was ready", describe(s))
	case !known.unbroken:
		return false, apperr.New(apperr.Precondition, "container ended and was started again before it was ready")
	case state == spec.StateExited:
		hint := ""
		if s.ExitCode == 0 {
			hint = "; a container that is meant to end needs expectedState exited"
		}
		return false, apperr.New(apperr.Precondition, "container ended (%s) before it was ready%s", describe(s), hint)
	case state != spec.StateRunning:
		return false, nil
	case g.free():
		return known.steady, nil
	case !g.image || !hasHealthCheck(s):
		return known.healthy, nil
	case s.Health.Status == container.Unhealthy:
		return false, apperr.New(apperr.Precondition, "container is unhealthy: %s", probeOutput(s))
	}
	return known.healthy || s.Health.Status == container.Healthy, nil
}

// stateOf maps the engine's word for a state to one of three, and gives the
// reason that goes with it.
func stateOf(status string, oomKilled bool) (spec.ContainerState, string) {
	if oomKilled && status != container.StateRunning {
		return exitedOrWaiting(status), "OOMKilled"
	}
	if status == container.StateRunning {
		return spec.StateRunning, status
	}
	return exitedOrWaiting(status), status
}

func exitedOrWaiting(status string) spec.ContainerState {
	switch status {
	case container.StateExited, container.StateDead, container.StateRemoving:
		return spec.StateExited
	}
	return spec.StateWaiting
}

// hasHealthCheck reports whether the engine probes the container.
func hasHealthCheck(s *container.State) bool {
	return s.Health != nil && s.Health.Status != container.NoHealthcheck && s.Health.Status != ""
}

func describe(s *container.State) string {
	switch {
	case s.OOMKilled:
		return s.Status + ", out of memory"
	case s.Status == container.StateExited || s.Status == container.StateRestarting:
		return fmt.Sprintf("%s, exit code %d", s.Status, s.ExitCode)
	case hasHealthCheck(s):
		return s.Status + ", health " + s.Health.Status
	}
	return s.Status
}

func wanted(want spec.ExpectedState, g gate) string {
	if want.State == spec.StateRunning && !g.free() {
		return container.Healthy
	}
	return string(want.State)
}

// probeOutput is what the last health probe wrote.
func probeOutput(s *container.State) string {
	if s.Health == nil || len(s.Health.Log) == 0 {
		return ""
	}
	return strings.TrimSpace(s.Health.Log[len(s.Health.Log)-1].Output)
}
