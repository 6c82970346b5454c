package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// rollout is a workload on its way to what was applied.
type rollout struct {
	workload spec.Workload
	// generation is that of the object that was applied; 0 when it was kept.
	generation int64
}

// probed reports whether the workload can tell whether it is ready.
func (r rollout) probed() bool {
	h := r.workload.Container.HealthCheckConfig
	return h != nil && h.Port != 0 && (h.ReadinessProbe != "" || h.StartupProbe != "")
}

// stableFor is how long a pod of the workload must run to count as available.
func (d *Driver) stableFor(w spec.Workload) time.Duration {
	if (rollout{workload: w}).probed() {
		return 0
	}
	return d.options.StabilityWindow
}

// patience is how long a workload may take to come up.
func (a *applying) patience(w spec.Workload) time.Duration {
	if e := w.Container.ExpectedState; e != nil && e.TimeoutSeconds > 0 {
		return time.Duration(e.TimeoutSeconds) * time.Second
	}
	if s := a.dep.Policy.HealthWindowSeconds; s > 0 {
		return time.Duration(s) * time.Second
	}
	return a.options.HealthTimeout
}

// await waits until every rollout is complete, or one has failed.
func (a *applying) await(ctx context.Context, pending []rollout) *workload.Failure {
	if len(pending) == 0 {
		return nil
	}
	pending = slices.Clone(pending)
	started := a.options.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		w, err := a.sight.world()
		if err != nil {
			return &workload.Failure{Step: workload.StepHealth, Err: err}
		}
		var failed *workload.Failure
		pending = slices.DeleteFunc(pending, func(r rollout) bool {
			v := w.judge(a.dep.Prefix, r)
			if v.failure != nil && failed == nil {
				failed = v.failure
				a.examine(ctx, v.pod, failed)
			}
			late := a.options.Now().Sub(started) > a.patience(r.workload)
			if !v.done && late && failed == nil {
				failed = &workload.Failure{
					Step: workload.StepHealth, InstanceID: r.workload.InstanceID, Container: spec.ContainerName(a.dep.Prefix, r.workload.Name()),
					Err: apperr.New(apperr.Precondition, "not ready after %s: %s", a.patience(r.workload), v.waiting),
				}
				a.examine(ctx, v.pod, failed)
			}
			if v.done {
				a.story.Tell(workload.Event{
					Level: workload.LevelInfo, InstanceID: v.seen.InstanceID, State: v.seen.State, Reason: v.seen.Reason, Digest: v.seen.ImageDigest,
					Lines: []string{fmt.Sprintf("%s is %s", v.seen.ID.Name, v.seen.State)},
				})
			}
			return v.done
		})
		if failed != nil {
			return failed
		}
		if len(pending) == 0 {
			return nil
		}
		select {
		case <-a.sight.changed:
		case <-tick.C:
		case <-ctx.Done():
			return &workload.Failure{Step: workload.StepHealth, InstanceID: pending[0].workload.InstanceID, Err: ctx.Err()}
		}
	}
}

// verdict is how far a rollout is.
type verdict struct {
	done    bool
	failure *workload.Failure
	// waiting says what is waited for; pod is the one that tells most.
	waiting string
	pod     *corev1.Pod
	seen    workload.Container
}

// judge looks at one rollout.
func (w world) judge(namespace string, r rollout) verdict {
	if ends(r.workload.Container) {
		return w.judgeJob(namespace, r)
	}
	d := w.deployment(namespace, r.workload.Name())
	if d == nil || d.Generation < r.generation || d.Status.ObservedGeneration < d.Generation {
		return verdict{waiting: "the cluster has not seen it yet"}
	}
	v := verdict{seen: w.container(d), waiting: "its pods are not available yet"}
	if set := w.made(d); set != nil {
		for _, pod := range w.podsOf(set) {
			if pod.DeletionTimestamp != nil {
				continue // it was told to end
			}
			if v.pod == nil {
				v.pod = pod
			}
			if failure := diagnose(pod); failure != nil && r.generation != 0 {
				failure.InstanceID = r.workload.InstanceID
				failure.Container = spec.ContainerName(namespace, r.workload.Name())
				v.failure, v.pod = failure, pod
				return v
			}
			if why := unscheduled(pod); why != "" {
				v.waiting = why
			}
		}
	}
	want := ptr.Deref(d.Spec.Replicas, 1)
	s := d.Status
	v.done = s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas >= want
	return v
}

func (w world) judgeJob(namespace string, r rollout) verdict {
	job := w.job(namespace, r.workload.Name())
	if job == nil || job.Annotations[noteSpecHash] != r.workload.Hash {
		return verdict{waiting: "the cluster has not seen it yet"}
	}
	v := verdict{seen: w.containerOfJob(job), waiting: "it has not ended yet"}
	pods := w.podsOf(job)
	if len(pods) == 0 {
		return v
	}
	v.pod = pods[0]
	expected := r.workload.Container.ExpectedState
	toEnd := expected != nil && expected.State == spec.StateExited
	switch v.seen.State {
	case spec.StateRunning:
		v.done = !toEnd
	case spec.StateExited:
		want := 0
		if expected != nil {
			want = int(expected.ExitCode)
		}
		v.done = v.seen.ExitCode == want
		if !v.done {
			v.failure = &workload.Failure{Step: workload.StepHealth, Err: apperr.New(apperr.Precondition, "ended with %d, expected %d", v.seen.ExitCode, want)}
		}
	default:
		if v.failure = diagnose(v.pod); v.failure == nil {
			v.waiting = unscheduled(v.pod)
		}
	}
	if v.failure != nil {
		v.failure.InstanceID = r.workload.InstanceID
		v.failure.Container = spec.ContainerName(namespace, r.workload.Name())
	}
	return v
}

// notYet is how a kubelet ends what it says of a configuration or a secret that it
// has not read in time, which it tries again.
const notYet = "timed out waiting for the condition"

// diagnose says why a pod will not come up, as far as that is certain.
func diagnose(pod *corev1.Pod) *workload.Failure {
	for _, s := range pod.Status.InitContainerStatuses {
		if f := imageFailure(s); f != nil {
			return f
		}
		if t := endedBadly(s); t != nil && t.ExitCode != 0 {
			return &workload.Failure{Step: workload.StepInit, Err: apperr.New(apperr.Precondition, "init container %s ended with %d", s.Name, t.ExitCode)}
		}
	}
	for _, s := range pod.Status.ContainerStatuses {
		if f := imageFailure(s); f != nil {
			return f
		}
		if t := endedBadly(s); t != nil {
			return &workload.Failure{Step: workload.StepHealth, Err: apperr.New(apperr.Precondition,
				"the container ended with %d (%s) instead of running on", t.ExitCode, t.Reason)}
		}
		if reason := waitingFor(s); slices.Contains([]string{"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}, reason) &&
			!strings.HasSuffix(s.State.Waiting.Message, notYet) {
			return &workload.Failure{Step: workload.StepStart, Err: apperr.New(apperr.Invalid, "%s: %s", reason, s.State.Waiting.Message)}
		}
	}
	return nil
}

func endedBadly(s corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	if s.State.Terminated != nil {
		return s.State.Terminated
	}
	return s.LastTerminationState.Terminated
}

func waitingFor(s corev1.ContainerStatus) string {
	if s.State.Waiting == nil {
		return ""
	}
	return s.State.Waiting.Reason
}

// imageFailure is about an image that cannot be pulled. A first failure may
// pass; one that the kubelet backs off from, or that the registry is sure of,
// counts.
func imageFailure(s corev1.ContainerStatus) *workload.Failure {
	reason := waitingFor(s)
	sure := reason == "ImagePullBackOff" || reason == "InvalidImageName" || reason == "ErrImageNeverPull" ||
		reason == "ErrImagePull" && (strings.Contains(s.State.Waiting.Message, "not found") || strings.Contains(s.State.Waiting.Message, "unauthorized"))
	if !sure {
		return nil
	}
	return &workload.Failure{Step: workload.StepPull, Err: apperr.New(apperr.NotFound, "pull %s: %s: %s", s.Image, reason, s.State.Waiting.Message)}
}

// unscheduled says why no node takes the pod.
func unscheduled(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return fmt.Sprintf("no node takes it: %s", c.Message)
		}
	}
	return ""
}
