package kube

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// atOnce is how many workloads are applied side by side.
const atOnce = 8

// bringUp applies the workloads and waits for them. One waits for those before it
// that can tell whether they are ready: it may need them.
func (a *applying) bringUp(ctx context.Context, w world) *workload.Failure {
	for first := 0; first < len(a.dep.Workloads); {
		last := first
		for last+1 < len(a.dep.Workloads) && !(rollout{workload: a.dep.Workloads[last]}).probed() {
			last++
		}
		pending, failure := a.applyAll(ctx, w, first, last+1)
		if failure != nil {
			return failure
		}
		if failure := a.await(ctx, pending); failure != nil {
			return failure
		}
		first = last + 1
	}
	return nil
}

// applyAll applies some of the workloads, side by side.
func (a *applying) applyAll(ctx context.Context, w world, from, to int) ([]rollout, *workload.Failure) {
	pending := make([]rollout, to-from)
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, wl := range a.dep.Workloads[from:to] {
		planned := a.plan.Workloads[from+i]
		kept := planned.Action == workload.ActionKeep && !planned.Starts && w.belongs(a.dep, wl)
		group.Go(func() error {
			r, err := a.applyWorkload(within, wl, a.made[from+i], kept)
			if err != nil {
				return &workload.Failure{Step: workload.StepCreate, InstanceID: wl.InstanceID, Err: err}
			}
			pending[i] = r
			return nil
		})
	}
	var failure *workload.Failure
	if err := group.Wait(); errors.As(err, &failure) {
		return nil, failure
	}
	return pending, nil
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

// applyWorkload applies the objects of a workload; of one that is kept only
// secrets that changed, such as a registry's password.
func (a *applying) applyWorkload(ctx context.Context, wl spec.Workload, made record, kept bool) (rollout, error) {
	r := rollout{workload: wl}
	for _, u := range made {
		if u.GetKind() == "Secret" {
			if err := a.putSecret(ctx, u); err != nil {
				return r, err
			}
			continue
		}
		if kept {
			continue
		}
		put, err := a.place(ctx, u)
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

// place applies an object of the release. In a namespace that was just made
// nobody has to be asked whose the object is.
func (a *applying) place(ctx context.Context, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	a.applied.Lock()
	a.touched = true
	a.applied.Unlock()
	if a.fresh {
		return a.send(ctx, u, false)
	}
	return a.put(ctx, u, false)
}
