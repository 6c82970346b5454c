package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Apply makes the namespace of the deployment hold what it says, all or
// nothing. Each workload's objects are applied in order; the cluster brings new
// pods up beside the old. When all are available, the namespace's record of its
// last good release is replaced and what is no longer named is deleted. When
// one fails, the objects of the last good release are applied again and waited
// for. An interrupted call leaves the record as it was: the next one goes on,
// or comes back to it.
func (d *Driver) Apply(ctx context.Context, dep spec.Deployment, report workload.Reporter) error {
	a := &applying{Driver: d, dep: dep, story: workload.NewStory(report, d.options.Now)}
	defer a.story.End()
	end, err := d.turnOfRelease(ctx, dep.Prefix)
	if err != nil {
		return err
	}
	defer end()

	failure := a.run(ctx)
	if failure == nil {
		return nil
	}
	if ctx.Err() != nil {
		return failure // told to stop: the next call goes on
	}
	if failure.Step == workload.StepHealth && dep.Policy.OnFailure == spec.OnFailureNotify {
		a.story.Warn(failure.InstanceID, "%v; it stays, as the deployment's policy says", failure)
		if err := a.finish(ctx); err != nil {
			return &workload.Failure{Step: workload.StepRetire, Err: err}
		}
		if failure := a.postDeployAgain(ctx); failure != nil {
			return failure
		}
		return nil
	}
	if failure.Step == workload.StepPostDeploy {
		return failure // the release is in place; the next call goes on with the hook
	}
	a.disarm(ctx)
	if failure.Step != workload.StepHealth || dep.Policy.OnFailure != spec.OnFailureKeep {
		serves, err := a.putBack(ctx)
		failure.RolledBack = serves && err == nil
		failure.Err = errors.Join(failure.Err, err)
	}
	a.story.Tell(workload.Event{Level: workload.LevelError, InstanceID: failure.InstanceID, Lines: []string{failure.Error()}})
	return failure
}

// applying is one Apply at work.
type applying struct {
	*Driver
	dep   spec.Deployment
	story *workload.Story
	// good is what the last good release applied.
	good record
	// made are the objects of each workload; wanted is all of them, applied or
	// kept, and wantedSecrets the secrets among them.
	made          []record
	wanted        record
	wantedSecrets secretNames
	// secrets may be there: of the good release, of this one, of failed ones;
	// recorded is what the record says of them.
	secrets, recorded secretNames
	// fresh is true of a namespace that this call has made: nothing is in it.
	fresh bool
	// applied guards touched and secrets while workloads are applied side by side.
	applied sync.Mutex
	// touched is true once anything was applied.
	touched bool
	sight   *sight
	plan    workload.Plan
}

func (a *applying) run(ctx context.Context) *workload.Failure {
	fail := func(step workload.Step, err error) *workload.Failure {
		return &workload.Failure{Step: step, Err: err}
	}
	if err := a.Check(a.dep); err != nil {
		return fail(workload.StepCheck, err)
	}
	var err error
	if a.fresh, err = a.enter(ctx, a.dep.Prefix); err != nil {
		return fail(workload.StepCheck, err)
	}
	if a.good, a.secrets, err = a.lastGood(ctx, a.dep.Prefix); err != nil {
		return fail(workload.StepCheck, err)
	}
	a.recorded = maps.Clone(a.secrets)
	if err := a.makeAll(); err != nil {
		return fail(workload.StepCheck, err)
	}
	w, err := a.lookAt(ctx, a.dep.Prefix)
	if err != nil {
		return fail(workload.StepCheck, err)
	}
	if a.plan, err = w.plan(a.dep); err != nil {
		return fail(workload.StepCheck, err)
	}
	if a.sight, err = a.follow(ctx, a.dep.Prefix); err != nil {
		return fail(workload.StepCheck, err)
	}
	defer a.sight.close()
	if err := a.announce(ctx); err != nil {
		return fail(workload.StepCreate, err)
	}
	if failure := a.preDeploy(ctx, w); failure != nil {
		return failure
	}

	if failure := a.bringUp(ctx, w); failure != nil {
		return failure
	}
	if err := a.finish(ctx); err != nil {
		return fail(workload.StepRetire, err)
	}
	return a.postDeploy(ctx)
}

// finish makes the release the last good one and deletes what it does not name.
// Secrets are taken off the record when they are gone.
func (a *applying) finish(ctx context.Context) error {
	fresh := a.touched || len(a.good) == 0 || len(a.good) != len(withoutSecrets(a.wanted)) ||
		a.good.drift() != a.wanted.drift()
	if fresh {
		if err := a.keep(ctx, a.dep.Prefix, a.wanted, a.secrets); err != nil {
			return err
		}
		a.recorded = maps.Clone(a.secrets)
	}
	if err := errors.Join(a.retire(ctx, a.wanted), a.dropSecrets(ctx)); err != nil {
		return err
	}
	if maps.Equal(a.recorded, a.wantedSecrets) {
		return nil
	}
	return a.keep(ctx, a.dep.Prefix, a.wanted, a.wantedSecrets)
}

func withoutSecrets(r record) record {
	return slices.DeleteFunc(slices.Clone(r), func(u *unstructured.Unstructured) bool { return u.GetKind() == "Secret" })
}

// retire deletes every object of ours in the namespace that a release does not
// name. Volumes stay.
func (a *applying) retire(ctx context.Context, named record) error {
	if a.fresh && len(named) > 0 {
		return nil // there is what this call applied, and that is named
	}
	all, err := a.owned(ctx, a.dep.Prefix, ours)
	if err != nil {
		return err
	}
	for _, u := range all {
		if named.names(u) || len(u.GetOwnerReferences()) > 0 || a.keepsHook(u) {
			continue
		}
		if err := a.drop(ctx, u); err != nil {
			return err
		}
		if u.GetKind() == "Deployment" || u.GetKind() == "Job" {
			a.story.Info("", "%s is no longer named and was deleted", u.GetName())
		}
	}
	return nil
}

// putBack applies the last good release again and waits until it serves. It
// reports whether there was one.
func (a *applying) putBack(ctx context.Context) (serves bool, err error) {
	if !a.touched {
		return len(a.good) > 0, nil
	}
	var pending []rollout
	for _, u := range a.good {
		if u.GetKind() == "Job" {
			continue // it is still there and has run: it must not run again
		}
		put, err := a.put(ctx, u, false)
		if err != nil {
			return false, fmt.Errorf("put the previous release back: %w", err)
		}
		if u.GetKind() == "Deployment" {
			pending = append(pending, rollout{generation: put.GetGeneration(), workload: named(u)})
		}
	}
	// Secrets of the good release are still there, and so are this one's: which
	// are needed only the next good release tells.
	if err := a.retire(ctx, a.good); err != nil {
		return false, fmt.Errorf("put the previous release back: %w", err)
	}
	if a.sight, err = a.follow(ctx, a.dep.Prefix); err != nil {
		return false, err
	}
	defer a.sight.close()
	if failure := a.await(ctx, pending); failure != nil {
		return false, fmt.Errorf("put the previous release back: %w", failure)
	}
	return len(a.good) > 0, nil
}

// named makes of an applied object the little that waiting for it needs.
func named(u *unstructured.Unstructured) spec.Workload {
	name := u.GetLabels()[labelWorkload]
	replicas, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas")
	count := int32(min(max(replicas, 0), 1<<20))
	return spec.Workload{InstanceID: u.GetAnnotations()[noteInstance], Container: spec.Container{Name: &name, Replicas: &count}}
}
