package docker

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"

	"github.com/docker/docker/api/types/container"

	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Apply makes the engine run the deployment, all or nothing.
//
// It decides what to do as Plan does, and pulls everything. New containers come
// up under temporary names while the old ones serve or, if both cannot be there
// at once, stand by stopped. Only when all are healthy do they change names;
// then the old ones are drained and retired. The names and labels on the engine
// are the journal: they tell how far that went, so whatever an interrupted call
// left behind is put right at the start of the next; see settle.
//
// What holds the prefix is the previous release, whichever deployment made it.
func (d *Driver) Apply(ctx context.Context, dep spec.Deployment, report workload.Reporter) error {
	a := &applying{Driver: d, dep: dep, story: workload.NewStory(report, d.options.Now), attempt: rand.Text(), routesDone: func() {}}
	defer a.story.End()
	defer func() { a.routesDone() }()
	lock := d.changing.of(dep.Prefix)
	lock.Lock()
	defer lock.Unlock()
	defer a.useImages(ctx)()

	a.run(ctx)
	failure := a.failure
	if failure == nil {
		return a.verdict()
	}
	if ctx.Err() != nil {
		return failure // told to stop: what is half done is settled by the next call
	}
	if !a.inPlace {
		if err := a.undoAdopting(); err != nil {
			failure.Err = errors.Join(failure.Err, err)
		}
		serves, err := a.putBack(ctx, a.failed, a.stoodBy)
		a.disarm(ctx)
		failure.RolledBack = serves && err == nil
		if err != nil {
			failure.Err = errors.Join(failure.Err, engineError(err, "put the previous release back"))
		}
	}
	a.story.Tell(workload.Event{Level: workload.LevelError, InstanceID: failure.InstanceID, Lines: []string{failure.Error()}})
	return failure
}

// applying is one Apply at work.
type applying struct {
	*Driver
	// routesDone lets go of what was made ready for the release's routes.
	routesDone func()
	dep        spec.Deployment
	story      *workload.Story
	// attempt is on a label of every container that is made.
	attempt string
	decision
	// seen is what the decision was made from; armed are the ids of the
	// containers of hooks that run when the release is in place.
	seen  sight
	armed []string
	// filled are the workloads whose volumes have been filled, and how that
	// ended; filling is held meanwhile.
	filled  map[string]error
	filling sync.Mutex
	// pulled is what each image's reference stands for.
	pulled map[string]pulled
	bell   *bell

	mu sync.Mutex
	// failure is the first one, failed the id of the container to keep for
	// inspection.
	failure *workload.Failure
	failed  string
	// unhealthy are the cards of containers that the policy puts in place
	// though they are not healthy.
	unhealthy []*workload.Failure
	// halted are the containers that were stopped for their successors.
	halted map[string]*halt
	// adopting are the ids of the containers that were made ours.
	adopting []string
	// inPlace is true once every new container bears its workload's name.
	// From then on there is no way back.
	inPlace bool
}

// halt is the stop of a container, done once for all who need it.
type halt struct {
	once sync.Once
	err  error
}

func (a *applying) run(ctx context.Context) {
	steps := []func(context.Context) *workload.Failure{
		a.prepare, a.survey, a.prepareRoutes, a.pullAll, a.preDeploy, a.bringAll, a.armPostDeploy, a.switchOver, a.drain, a.retire, a.postDeploy,
	}
	for _, step := range steps {
		if step(ctx) != nil {
			return
		}
	}
}

// verdict is the outcome of a release that is in place: containers that are not
// healthy make it fail unless the policy says otherwise.
func (a *applying) verdict() error {
	if len(a.unhealthy) == 0 || a.dep.Policy.OnFailure == spec.OnFailureNotify {
		return nil
	}
	failure := a.unhealthy[0]
	a.story.Tell(workload.Event{Level: workload.LevelError, InstanceID: failure.InstanceID, Lines: []string{failure.Error()}})
	return failure
}

// prepare finds the engine ready and the deployment fit for it.
func (a *applying) prepare(ctx context.Context) *workload.Failure {
	err := a.reach(ctx)
	if err == nil {
		err = a.settle(ctx)
	}
	if err == nil {
		err = a.Check(a.dep)
	}
	if err != nil {
		return a.fail(ctx, workload.StepCheck, nil, "", err)
	}
	return nil
}

// survey looks at what is there and decides what to do. Only the images of
// what could stay are resolved: the others are pulled anyway.
func (a *applying) survey(ctx context.Context) *workload.Failure {
	seen, err := a.look(ctx, a.dep, func(w spec.Workload, seen sight) bool {
		return seen.candidates[w.InstanceID] != nil || slices.ContainsFunc(seen.owned, func(o owned) bool { return o.name == w.Name() && o.specHash == w.Hash })
	})
	if err != nil {
		return a.fail(ctx, workload.StepCheck, nil, "", err)
	}
	a.seen, a.decision = seen, decide(a.dep, seen, a.planRoutes)
	if a.reason != nil {
		return a.fail(ctx, workload.StepCheck, &slot{Workload: *a.blocked}, "", a.reason)
	}
	if s, err := a.unlikeCandidates(); err != nil {
		return a.fail(ctx, workload.StepPlan, s, "", err)
	}
	if err := a.forgetGone(seen.gone); err != nil {
		return a.fail(ctx, workload.StepCheck, nil, "", err)
	}
	for reference, p := range seen.images {
		if p.doubt != nil {
			a.story.Warn("", "it could not be found out what image %s stands for now (%v); what runs it goes on", reference, p.doubt)
		}
	}
	return nil
}

// prepareRoutes has ready what the routes of the release need.
func (a *applying) prepareRoutes(ctx context.Context) *workload.Failure {
	if a.options.Router == nil {
		return nil
	}
	done, err := a.options.Router.Prepare(ctx, a.dep)
	a.routesDone = done
	if err != nil {
		return a.fail(ctx, workload.StepCheck, nil, "", err)
	}
	return nil
}

// pullAll pulls the images of everything that is brought up.
func (a *applying) pullAll(ctx context.Context) *workload.Failure {
	var fresh []spec.Workload
	for _, s := range a.slots {
		if !s.kept {
			fresh = append(fresh, s.Workload)
		}
	}
	images, err := a.Driver.pullAll(ctx, requests(fresh), a.story)
	var which *pullError
	if errors.As(err, &which) {
		return a.fail(ctx, workload.StepPull, &slot{Workload: spec.Workload{InstanceID: which.instanceID}}, "", which.err)
	}
	if err != nil {
		return a.fail(ctx, workload.StepPull, nil, "", err)
	}
	a.pulled = images
	return nil
}

// fail makes the failure card of the Apply, unless there is one.
func (a *applying) fail(ctx context.Context, step workload.Step, s *slot, id string, err error) *workload.Failure {
	return a.record(a.card(ctx, step, s, id, err), s, id)
}

// record makes a card the Apply's failure, unless there is one, and returns that.
func (a *applying) record(failure *workload.Failure, s *slot, id string) *workload.Failure {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failure != nil {
		return a.failure
	}
	a.failure = failure
	if id != "" && s != nil && !s.kept {
		a.failed = id
	}
	return failure
}

// card makes a failure card. What is known of the container goes on it.
func (a *applying) card(ctx context.Context, step workload.Step, s *slot, id string, err error) *workload.Failure {
	failure := &workload.Failure{Step: step, Err: err}
	if s != nil {
		failure.InstanceID = s.InstanceID
	}
	if id == "" || ctx.Err() != nil {
		return failure
	}
	failure.Container = s.base
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
	// Of one that runs at the moment, in a crash loop, the engine has forgotten how
	// it ended before: its events told.
	switch seen.State.Status {
	case container.StateExited, container.StateDead, container.StateRestarting:
		failure.ExitCode = &seen.State.ExitCode
	}
	failure.OOMKilled = seen.State.OOMKilled
	failure.ProbeOutput = probeOutput(seen.State)
	err = d.readLog(ctx, seen, workload.LogOptions{Tail: workload.FailureLogLines}, func(l workload.LogLine) error {
		failure.LogTail = append(failure.LogTail, l.Text)
		return nil
	})
	if err != nil {
		d.options.Logger.Warn("read the log of a failed container", "container", seen.Name, "error", err)
	}
}
