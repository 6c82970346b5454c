package kube

import (
	"context"
	"errors"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Hooks. A hook is a Job whose name is of its release, so that an Apply that is
// repeated finds it and makes no second one: it waits for its pod, or goes by the
// exit code of it. The Job of a post-deploy hook is made before anything of the
// release is applied, suspended: one that still is tells, after a crash, that it
// has to run. A Job stays until the next release of its workload.

// dueHooks are the workloads whose hooks of a kind run in this release.
func (a *applying) dueHooks(kind spec.HookKind) []spec.Workload {
	var due []spec.Workload
	for i, wl := range a.dep.Workloads {
		if slices.Contains(a.plan.Workloads[i].Hooks, kind) {
			due = append(due, wl)
		}
	}
	return due
}

// brings reports whether what is planned has a workload run what does not yet;
// more or fewer of the same pods are no reason for its hooks.
func brings(p workload.PlannedWorkload) bool {
	return p.Action == workload.ActionCreate || p.Action == workload.ActionReplace || p.Action == workload.ActionRecreate
}

// preDeploy ends hooks of other releases that still run, which nobody waits for
// any more, makes the Jobs of the hooks that come last, and runs those that come
// first.
func (a *applying) preDeploy(ctx context.Context, w world) *workload.Failure {
	fail := func(instance string, err error) *workload.Failure {
		return &workload.Failure{Step: workload.StepPreDeploy, InstanceID: instance, Err: err}
	}
	for _, job := range w.jobs {
		if !isHook(job) || job.Namespace != a.dep.Prefix || a.isOurHook(job) || hasEnded(job) {
			continue
		}
		if err := a.endHook(ctx, job.Name); err != nil {
			return fail("", err)
		}
	}
	for _, kind := range []spec.HookKind{spec.HookPostDeploy, spec.HookPreDeploy} {
		for _, wl := range a.dueHooks(kind) {
			if err := a.makeHook(ctx, w, wl, kind); err != nil {
				return fail(wl.InstanceID, err)
			}
		}
	}
	for _, wl := range a.dueHooks(spec.HookPreDeploy) {
		if failure := a.runHook(ctx, wl, spec.HookPreDeploy); failure != nil {
			return failure
		}
	}
	return nil
}

// makeHook applies what a hook's pod needs, and its Job unless it is there.
func (a *applying) makeHook(ctx context.Context, w world, wl spec.Workload, kind spec.HookKind) error {
	name := hookName(a.dep, wl, kind)
	if slices.ContainsFunc(w.jobs, func(j *batchv1.Job) bool { return j.Namespace == a.dep.Prefix && j.Name == name && isOurs(j) }) {
		return nil
	}
	a.touched = true
	at := slices.IndexFunc(a.dep.Workloads, func(o spec.Workload) bool { return o.InstanceID == wl.InstanceID })
	for _, u := range a.made[at] {
		var err error
		switch u.GetKind() {
		case "Secret":
			err = a.putSecret(ctx, u)
		case "ConfigMap", "PersistentVolumeClaim":
			_, err = a.put(ctx, u, false)
		}
		if err != nil {
			return err
		}
	}
	job, err := a.hookJob(a.dep, wl, kind)
	if err != nil {
		return err
	}
	return a.putJob(ctx, job)
}

func (a *applying) putJob(ctx context.Context, job *batchv1.Job) error {
	u, err := manifest(job)
	if err == nil {
		_, err = a.put(ctx, u, false)
	}
	return err
}

// postDeploy runs the hooks that come when the release is in place, also those
// that an Apply before this one did not come to. The release stays in place
// whatever becomes of them: the old one has ended.
func (a *applying) postDeploy(ctx context.Context) *workload.Failure {
	if !slices.ContainsFunc(a.dep.Workloads, func(wl spec.Workload) bool { return wl.Hook(spec.HookPostDeploy) != nil }) {
		return nil
	}
	w, err := a.lookAt(ctx, a.dep.Prefix)
	if err != nil {
		return &workload.Failure{Step: workload.StepPostDeploy, Err: err}
	}
	for _, wl := range a.dep.Workloads {
		if wl.Hook(spec.HookPostDeploy) == nil {
			continue
		}
		name := hookName(a.dep, wl, spec.HookPostDeploy)
		at := slices.IndexFunc(w.jobs, func(j *batchv1.Job) bool { return isHook(j) && j.Namespace == a.dep.Prefix && j.Name == name })
		if at < 0 {
			continue
		}
		if s := w.jobs[at].Spec.Suspend; s != nil && *s {
			job, err := a.hookJob(a.dep, wl, spec.HookPostDeploy)
			if err == nil {
				*job.Spec.Suspend = false
				err = a.putJob(ctx, job)
			}
			if err != nil {
				return &workload.Failure{Step: workload.StepPostDeploy, InstanceID: wl.InstanceID, Err: err}
			}
		}
		failure := a.runHook(ctx, wl, spec.HookPostDeploy)
		if failure != nil && (ctx.Err() != nil || apperr.Is(failure, apperr.Unavailable)) {
			return failure // is done again
		}
		if failure != nil {
			a.story.Warn(wl.InstanceID, "%v; the release stays in place, and the Job of the hook is kept", failure)
		}
	}
	return nil
}

// postDeployAgain is postDeploy where what is seen of the cluster was closed.
func (a *applying) postDeployAgain(ctx context.Context) *workload.Failure {
	var err error
	if a.sight, err = a.follow(ctx, a.dep.Prefix); err != nil {
		return &workload.Failure{Step: workload.StepPostDeploy, Err: err}
	}
	defer a.sight.close()
	return a.postDeploy(ctx)
}

// disarm takes the hooks away that come after a release which has failed.
func (a *applying) disarm(ctx context.Context) {
	if a.plan.Workloads == nil {
		return
	}
	for _, wl := range a.dueHooks(spec.HookPostDeploy) {
		if err := a.drop(ctx, hookObject(a.dep.Prefix, hookName(a.dep, wl, spec.HookPostDeploy))); err != nil {
			a.options.Logger.Warn("delete the job of a hook that does not run; the next release does", "workload", wl.Name(), "error", err)
		}
	}
}

// endHook deletes the Job of a hook and waits until its pod has ended.
func (a *applying) endHook(ctx context.Context, name string) error {
	if err := a.drop(ctx, hookObject(a.dep.Prefix, name)); err != nil {
		return err
	}
	return a.awaitNoPods(ctx, a.dep.Prefix, batchv1.JobNameLabel+"="+name)
}

func hookObject(namespace, name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetAPIVersion("batch/v1")
	u.SetKind("Job")
	u.SetNamespace(namespace)
	u.SetName(name)
	return u
}

// keepsHook reports whether an object is the Job of a hook that stays as the
// record of it: of this release, or of one whose workload this one leaves as it
// is.
func (a *applying) keepsHook(u *unstructured.Unstructured) bool {
	if !isHook(u) {
		return false
	}
	return a.isOurHook(u) || slices.ContainsFunc(a.dep.Workloads, func(wl spec.Workload) bool {
		at := slices.IndexFunc(a.plan.Workloads, func(p workload.PlannedWorkload) bool { return p.InstanceID == wl.InstanceID })
		return wl.Name() == u.GetLabels()[labelHookOf] && at >= 0 && !brings(a.plan.Workloads[at])
	})
}

// runHook waits until a hook has ended, and tells what it writes. One that takes
// too long is ended by the cluster.
func (a *applying) runHook(ctx context.Context, wl spec.Workload, kind spec.HookKind) *workload.Failure {
	name := hookName(a.dep, wl, kind)
	failure := &workload.Failure{Step: workload.StepPreDeploy, InstanceID: wl.InstanceID, Container: spec.ContainerName(a.dep.Prefix, name)}
	if kind == spec.HookPostDeploy {
		failure.Step = workload.StepPostDeploy
	}
	a.story.Info(wl.InstanceID, "running the %s hook of %s", kind, wl.Name())
	var log *workload.HookLog
	defer func() { log.End() }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		w, err := a.sight.world()
		if err != nil {
			failure.Err = err
			return failure
		}
		job, pod := w.hook(a.dep.Prefix, name)
		if log == nil && pod != nil && (runs(pod) || exitCode(pod) != nil) {
			log = a.story.FollowHook(ctx, wl, kind, func(ctx context.Context, line func(workload.LogLine) error) error {
				return a.readLog(ctx, pod, options(workload.LogOptions{Tail: workload.MaxHookLogLines, Follow: true}), time.Time{}, line)
			})
		}
		done, err := judgeHook(job, pod, wl.Hook(kind))
		if err != nil {
			failure.Err = apperr.Wrap(apperr.KindOf(err), err, "run the %s hook of %s", kind, wl.Name())
			a.examine(ctx, pod, failure)
			if last := log.End(); failure.LogTail == nil { // a pod that took too long is gone with its log
				failure.LogTail = last
			}
			if job != nil && !hasEnded(job) && pod != nil && exitCode(pod) == nil {
				failure.Err = errors.Join(failure.Err, a.drop(ctx, hookObject(a.dep.Prefix, name)))
			}
			return failure
		}
		if done {
			log.End()
			a.story.Info(wl.InstanceID, "the %s hook of %s is done", kind, wl.Name())
			return nil
		}
		select {
		case <-a.sight.changed:
		case <-tick.C:
		case <-ctx.Done():
			failure.Err = clusterError(ctx.Err(), "run the %s hook of %s", kind, wl.Name())
			return failure
		}
	}
}
