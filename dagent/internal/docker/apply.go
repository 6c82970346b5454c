package docker

import (
	"context"
	"errors"
	"fmt"

	"github.com/docker/docker/api/types/container"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Apply makes the engine run the deployment, all or nothing.
//
// New containers come up under temporary names while the old ones serve or, if
// both cannot be there at once, stand by stopped. Only when all are healthy do
// they change names, and only then are the old ones retired. The names on the
// engine tell how far that went, so whatever an interrupted call left behind
// is put right at the start of the next: see settle.
//
// What holds the prefix is the previous release, whichever deployment made it.
//
// Workloads are brought up one after the other, in their order: a later one
// may need an earlier one, and waits for it where the earlier one's image has a
// health check.
func (d *Driver) Apply(ctx context.Context, dep spec.Deployment, report workload.Reporter) error {
	a := &applying{Driver: d, dep: dep, story: &story{report: report, now: d.options.Now}}
	defer a.story.end()
	lock := d.changing.of(dep.Prefix)
	lock.Lock()
	defer lock.Unlock()

	failure := a.run(ctx)
	if failure == nil {
		return nil
	}
	if ctx.Err() != nil {
		return failure // told to stop: what is half done is settled by the next call
	}
	if !a.inPlace {
		serves, err := a.putBack(ctx, a.failed, a.stoodBy)
		failure.RolledBack = serves && err == nil
		if err != nil {
			failure.Err = errors.Join(failure.Err, engineError(err, "put the previous release back"))
		}
	}
	a.story.tell(workload.Event{Level: workload.LevelError, InstanceID: failure.InstanceID, Lines: []string{failure.Error()}})
	return failure
}

// applying is one Apply at work.
type applying struct {
	*Driver
	dep   spec.Deployment
	story *story
	slots []*slot
	// retiring are the containers that end with this release: those that are
	// replaced and those that are no longer named.
	retiring []*retiree
	// proofs are the containers that still have to prove that they run on.
	proofs []*proof
	// failed is the id of the container to keep for inspection.
	failed string
	// inPlace is true once every new container bears its workload's name.
	// From then on there is no way back.
	inPlace bool
}

// slot is a workload and what stands for it on the engine.
type slot struct {
	spec.Workload
	// base is the engine name of its serving container.
	base string
	old  *owned
	// kept is true when old needs no change.
	kept bool
	// next is the id of the container that is brought up.
	next string
}

// retiree is a container that ends with this release.
type retiree struct {
	owned
	// stopped is true when it was running and is stopped for a successor.
	stopped bool
	seen    container.InspectResponse
}

func (a *applying) run(ctx context.Context) *workload.Failure {
	if err := a.reach(ctx); err != nil {
		return a.fail(ctx, workload.StepCheck, nil, "", err)
	}
	if err := a.settle(ctx); err != nil {
		return a.fail(ctx, workload.StepCheck, nil, "", err)
	}
	if err := a.Check(a.dep); err != nil {
		return a.fail(ctx, workload.StepCheck, nil, "", err)
	}
	if failure := a.survey(ctx); failure != nil {
		return failure
	}
	if a.options.Router != nil {
		if err := a.options.Router.Prepare(ctx, a.dep); err != nil {
			return a.fail(ctx, workload.StepCheck, nil, "", err)
		}
	}
	images, failure := a.pullAll(ctx)
	if failure != nil {
		return failure
	}
	for _, s := range a.slots {
		if failure := a.bring(ctx, s, images); failure != nil {
			return failure
		}
	}
	if failure := a.awaitProofs(ctx); failure != nil {
		return failure
	}
	if failure := a.switchOver(ctx); failure != nil {
		return failure
	}
	return a.retire(ctx)
}

// survey finds what is there for each workload, what stands in the way, and
// what has to go.
func (a *applying) survey(ctx context.Context) *workload.Failure {
	all, err := a.engine.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return a.fail(ctx, workload.StepCheck, nil, "", engineError(err, "list the containers"))
	}
	slots := map[string]*slot{}
	for _, w := range a.dep.Workloads {
		s := &slot{Workload: w, base: spec.ContainerName(a.dep.Prefix, w.Name())}
		slots[s.base] = s
		a.slots = append(a.slots, s)
	}
	for _, c := range all {
		o, ours := ownedBy(c)
		s := slots[engineName(c)]
		switch {
		case s != nil && (!ours || o.prefix != a.dep.Prefix):
			return a.fail(ctx, workload.StepCheck, s, "", apperr.New(apperr.Conflict,
				"a container named %s is already there and %s; remove or rename it, or choose another prefix or name", s.base, whose(o, ours)))
		case s != nil && o.place == placeServing:
			s.old = &o
			s.kept = o.specHash == s.Hash
		}
	}
	for _, c := range all {
		o, ours := ownedBy(c)
		if !ours || o.prefix != a.dep.Prefix {
			continue
		}
		s := slots[o.base]
		if s != nil && (o.place == placeFailed || o.place == placeServing && s.kept) {
			continue
		}
		seen, err := a.engine.ContainerInspect(ctx, o.id)
		if err != nil {
			return a.fail(ctx, workload.StepCheck, s, "", engineError(err, "look at container %s", o.engineName))
		}
		a.retiring = append(a.retiring, &retiree{owned: o, seen: seen})
	}
	return nil
}

func whose(o owned, ours bool) string {
	if !ours {
		return "was not made by this agent"
	}
	return fmt.Sprintf("belongs to deployment %s under prefix %s", o.deployment, o.prefix)
}

// pullAll pulls the images of everything that is brought up.
func (a *applying) pullAll(ctx context.Context) (map[string]string, *workload.Failure) {
	var fresh []spec.Workload
	for _, s := range a.slots {
		if !s.kept {
			fresh = append(fresh, s.Workload)
		}
	}
	images, err := a.Driver.pullAll(ctx, requests(fresh), a.story)
	var which *pullError
	if errors.As(err, &which) {
		return nil, &workload.Failure{Step: workload.StepPull, InstanceID: which.instanceID, Err: which.err}
	}
	if err != nil {
		return nil, a.fail(ctx, workload.StepPull, nil, "", err)
	}
	return images, nil
}

// fail makes the failure card. What is known of the container goes on it, and
// the container is kept for inspection when it was new.
func (a *applying) fail(ctx context.Context, step workload.Step, s *slot, id string, err error) *workload.Failure {
	failure := &workload.Failure{Step: step, Err: err}
	if s != nil {
		failure.InstanceID = s.InstanceID
	}
	if id == "" || ctx.Err() != nil {
		return failure
	}
	failure.Container = s.base
	if !s.kept {
		a.failed = id
	}
	a.examine(ctx, id, failure)
	return failure
}

// examine notes on a failure card what is known of a container. It is made to
// help: what cannot be learnt is left out.
func (d *Driver) examine(ctx context.Context, id string, failure *workload.Failure) {
	seen, err := d.engine.ContainerInspect(ctx, id)
	if err != nil {
		return
	}
	if s := seen.State; s.Status == container.StateExited || s.Status == container.StateDead || s.Status == container.StateRestarting {
		failure.ExitCode = &s.ExitCode
	}
	failure.OOMKilled = seen.State.OOMKilled
	failure.ProbeOutput = probeOutput(seen.State)
	err = d.readLog(ctx, seen, workload.LogOptions{Tail: failureLogLines}, func(l workload.LogLine) error {
		failure.LogTail = append(failure.LogTail, l.Text)
		return nil
	})
	if err != nil {
		d.options.Logger.Warn("read the log of a failed container", "container", seen.Name, "error", err)
	}
}
