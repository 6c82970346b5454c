package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fairlead.dev/shared/apperr"
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
		return nil
	}
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
	// wanted is everything that this release consists of, applied or kept.
	wanted record
	// touched is true once anything was applied.
	touched bool
	sight   *sight
}

func (a *applying) run(ctx context.Context) *workload.Failure {
	fail := func(step workload.Step, instance string, err error) *workload.Failure {
		return &workload.Failure{Step: step, InstanceID: instance, Err: err}
	}
	if err := a.Check(a.dep); err != nil {
		return fail(workload.StepCheck, "", err)
	}
	if err := a.enter(ctx, a.dep.Prefix); err != nil {
		return fail(workload.StepCheck, "", err)
	}
	var err error
	if a.good, err = a.lastGood(ctx, a.dep.Prefix); err != nil {
		return fail(workload.StepCheck, "", err)
	}
	w, err := a.lookAt(ctx, a.dep.Prefix)
	if err != nil {
		return fail(workload.StepCheck, "", err)
	}
	plan, err := w.plan(a.dep)
	if err != nil {
		return fail(workload.StepCheck, "", err)
	}
	if a.sight, err = a.follow(ctx, a.dep.Prefix); err != nil {
		return fail(workload.StepCheck, "", err)
	}
	defer a.sight.close()

	var pending []rollout
	for i, wl := range a.dep.Workloads {
		// A workload waits for those before it that can tell whether they are
		// ready: it may need them.
		if slices.ContainsFunc(pending, rollout.probed) {
			if failure := a.await(ctx, pending); failure != nil {
				return failure
			}
			pending = nil
		}
		kept := plan.Workloads[i].Action == workload.ActionKeep && !plan.Workloads[i].Starts && w.belongs(a.dep, wl)
		r, err := a.applyWorkload(ctx, wl, kept)
		if err != nil {
			return fail(workload.StepCreate, wl.InstanceID, err)
		}
		pending = append(pending, r)
	}
	if failure := a.await(ctx, pending); failure != nil {
		return failure
	}
	if err := a.finish(ctx); err != nil {
		return fail(workload.StepRetire, "", err)
	}
	return nil
}

// belongs reports whether what is there of a workload is of this deployment.
func (w world) belongs(dep spec.Deployment, wl spec.Workload) bool {
	if d := w.deployment(dep.Prefix, wl.Name()); d != nil && !ends(wl.Container) {
		return d.Labels[labelDeployment] == dep.ID
	}
	if j := w.job(dep.Prefix, wl.Name()); j != nil && ends(wl.Container) {
		return j.Labels[labelDeployment] == dep.ID
	}
	return false
}

// applyWorkload applies the objects of a workload; one that is kept is only
// remembered.
func (a *applying) applyWorkload(ctx context.Context, wl spec.Workload, kept bool) (rollout, error) {
	made, err := a.build(a.dep, wl)
	if err != nil {
		return rollout{}, apperr.Wrap(apperr.Invalid, err, "make the objects of %s", wl.Name())
	}
	r := rollout{workload: wl}
	for _, object := range made.all() {
		u, err := manifest(object)
		if err != nil {
			return r, err
		}
		a.wanted = append(a.wanted, u)
		if kept {
			continue
		}
		a.touched = true
		put, err := a.put(ctx, u, false)
		if err != nil {
			return r, err
		}
		r.generation = put.GetGeneration() // the last is the Deployment or the Job
	}
	if !kept {
		a.story.Info(wl.InstanceID, "%s is applied", wl.Name())
	}
	return r, nil
}

// finish makes the release the last good one and deletes what it does not name.
func (a *applying) finish(ctx context.Context) error {
	if a.touched || len(a.good) == 0 || len(a.good) != len(withoutSecrets(a.wanted)) {
		if err := a.keep(ctx, a.dep.Prefix, a.wanted); err != nil {
			return err
		}
	}
	return a.retire(ctx, a.wanted)
}

func withoutSecrets(r record) record {
	return slices.DeleteFunc(slices.Clone(r), func(u *unstructured.Unstructured) bool { return u.GetKind() == "Secret" })
}

// retire deletes every object of ours in the namespace that a release does not
// name. Volumes stay.
func (a *applying) retire(ctx context.Context, named record) error {
	all, err := a.owned(ctx, a.dep.Prefix, ours)
	if err != nil {
		return err
	}
	for _, u := range all {
		if named.names(u) || u.GetName() == recordName && u.GetKind() == "Secret" || len(u.GetOwnerReferences()) > 0 {
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
	// Secrets of the good release are still there and not in its record.
	keep := slices.Clone(a.good)
	if len(a.good) > 0 {
		secrets, err := a.secrets(ctx)
		if err != nil {
			return false, fmt.Errorf("put the previous release back: %w", err)
		}
		keep = append(keep, secrets...)
	}
	if err := a.retire(ctx, keep); err != nil {
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

// secrets are all of ours in the namespace. Which of them the good release needs
// only its pods tell, so they stay until a release is good.
func (a *applying) secrets(ctx context.Context) (record, error) {
	all, err := a.owned(ctx, a.dep.Prefix, ours)
	return slices.DeleteFunc(all, func(u *unstructured.Unstructured) bool { return u.GetKind() != "Secret" }), err
}

// named makes of an applied object the little that waiting for it needs.
func named(u *unstructured.Unstructured) spec.Workload {
	name := u.GetLabels()[labelWorkload]
	replicas, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas")
	count := int32(min(max(replicas, 0), 1<<20))
	return spec.Workload{InstanceID: u.GetAnnotations()[noteInstance], Container: spec.Container{Name: &name, Replicas: &count}}
}
