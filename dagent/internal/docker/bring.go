package docker

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sync/errgroup"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// bring has a workload running, and healthy if it can tell, beside what serves
// where it can.
//
// The new container exists before anything is stopped: a stopped container
// beside a new one is how settle tells that the old one was stopped by us.
func (a *applying) bring(ctx context.Context, s *slot, images map[string]string) *workload.Failure {
	if s.kept {
		return a.keep(ctx, s)
	}
	for _, note := range notes(s.Container) {
		a.story.warn(s.InstanceID, "%s: %s", s.base, note)
	}
	b, p := build(a.dep, s.Workload, images[s.Image.Reference])
	p.refused = append(p.refused, a.planRoutes(a.dep, s.Workload, &b)...)
	if err := errors.Join(p.refused...); err != nil {
		return a.fail(ctx, workload.StepCreate, s, "", err) // Check has let nothing of this through
	}
	id, err := a.create(ctx, b, s.base+suffixNext, s.Workload)
	if err != nil {
		return a.fail(ctx, workload.StepCreate, s, "", err)
	}
	s.next = id
	a.story.state(s.InstanceID, spec.StateWaiting, container.StateCreated, "created container %s", s.base)

	inits := len(s.Container.InitContainers) > 0
	if inits {
		if err := a.standBy(ctx, s, func(r *retiree) bool { return sharesVolume(s.base, b, r) }); err != nil {
			return a.fail(ctx, workload.StepInit, s, "", err)
		}
	}
	for _, ic := range s.Container.InitContainers {
		if id, err := a.runInit(ctx, s, ic, images[ic.Image]); err != nil {
			return a.fail(ctx, workload.StepInit, s, id, err)
		}
	}
	if err := a.standBy(ctx, s, func(r *retiree) bool { return conflicts(s.base, b, r) }); err != nil {
		return a.fail(ctx, workload.StepStart, s, "", err)
	}
	return a.startAndAwait(ctx, s, s.next)
}

// keep makes sure that a container that needs no change does what it should.
func (a *applying) keep(ctx context.Context, s *slot) *workload.Failure {
	if s.old.running() {
		a.story.state(s.InstanceID, spec.StateRunning, s.old.state, "%s is unchanged", s.base)
		return nil
	}
	if want := expected(s.Workload); want.State == spec.StateExited {
		seen, err := a.engine.ContainerInspect(ctx, s.old.id)
		if err != nil {
			return a.fail(ctx, workload.StepCheck, s, "", engineError(err, "look at container %s", s.base))
		}
		if done, err := judge(seen.State, want, evidence{unbroken: true, steady: true}); done && err == nil && seen.State.Status == container.StateExited {
			a.story.state(s.InstanceID, spec.StateExited, s.old.state, "%s is unchanged", s.base)
			return nil
		}
	}
	return a.startAndAwait(ctx, s, s.old.id)
}

func (a *applying) startAndAwait(ctx context.Context, s *slot, id string) *workload.Failure {
	a.story.info(s.InstanceID, "starting %s", s.base)
	if err := a.engine.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return a.fail(ctx, workload.StepStart, s, id, a.startError(ctx, s.base, err))
	}
	proving := &proof{slot: s, id: id}
	want := expected(s.Workload)
	if want.State == spec.StateRunning {
		seen, err := a.engine.ContainerInspect(ctx, id)
		if err != nil {
			return a.fail(ctx, workload.StepStart, s, id, engineError(err, "look at container %s", s.base))
		}
		if !hasHealthCheck(seen.State) {
			a.proofs = append(a.proofs, proving)
			return nil
		}
	}
	proving.said, proving.err = a.awaitState(ctx, id, want)
	return a.conclude(ctx, proving)
}

// proof is a container that has been started and has to prove itself. Those
// that only have to run on for a while do it side by side, so that a release
// takes one stability window and not one for each workload.
type proof struct {
	*slot
	id string
	// said is what the last health probe of ours said.
	said string
	err  error
}

// awaitProofs waits for the containers that have yet to prove themselves.
func (a *applying) awaitProofs(ctx context.Context) *workload.Failure {
	var group errgroup.Group
	for _, p := range a.proofs {
		group.Go(func() error {
			p.said, p.err = a.awaitState(ctx, p.id, expected(p.Workload))
			return p.err
		})
	}
	_ = group.Wait() // each proof has its own
	for _, p := range a.proofs {
		if failure := a.conclude(ctx, p); failure != nil {
			return failure
		}
	}
	return nil
}

func (a *applying) conclude(ctx context.Context, p *proof) *workload.Failure {
	if p.err != nil {
		failure := a.fail(ctx, workload.StepHealth, p.slot, p.id, p.err)
		if p.said != "" {
			failure.ProbeOutput = p.said
		}
		return failure
	}
	want := expected(p.Workload)
	a.story.state(p.InstanceID, want.State, string(want.State), "%s is ready", p.base)
	return nil
}

// standBy stops the containers that end with this release and cannot be there
// at the same time as the new one.
func (a *applying) standBy(ctx context.Context, s *slot, conflicts func(*retiree) bool) error {
	for _, r := range a.retiring {
		if r.stopped || r.ended() || !conflicts(r) {
			continue
		}
		r.stopped = true // even when the engine's answer is lost
		a.story.info(s.InstanceID, "stopping %s, which cannot run beside its successor", r.engineName)
		if err := a.stop(ctx, r.id); err != nil {
			return engineError(err, "stop container %s", r.engineName)
		}
	}
	return nil
}

// stoodBy reports whether a container was stopped for a successor.
func (a *applying) stoodBy(o owned) bool {
	return slices.ContainsFunc(a.retiring, func(r *retiree) bool { return r.id == o.id && r.stopped })
}

// conflicts reports whether a container that ends keeps a new one from
// starting: by a host port, or, being its predecessor, by the host's network or
// a volume that only one may have.
func conflicts(base string, b blueprint, r *retiree) bool {
	if r.seen.HostConfig == nil {
		return false
	}
	for port, wanted := range b.host.PortBindings {
		for otherPort, taken := range r.seen.HostConfig.PortBindings {
			for _, w := range wanted {
				for _, t := range taken {
					if port.Proto() == otherPort.Proto() && w.HostPort == t.HostPort {
						return true
					}
				}
			}
		}
	}
	if r.base == base && b.host.NetworkMode.IsHost() && r.seen.HostConfig.NetworkMode.IsHost() {
		return true
	}
	return sharesVolume(base, b, r)
}

func sharesVolume(base string, b blueprint, r *retiree) bool {
	if r.base != base {
		return false
	}
	for _, source := range b.exclusive {
		for _, m := range r.seen.Mounts {
			if m.Name == source || m.Name == "" && m.Source == source {
				return true
			}
		}
	}
	return false
}

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
