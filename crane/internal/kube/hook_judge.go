package kube

import (
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// hook finds the Job of a hook and its newest pod.
func (w world) hook(namespace, name string) (*batchv1.Job, *corev1.Pod) {
	for _, job := range w.jobs {
		if job.Namespace == namespace && job.Name == name {
			if pods := w.podsOf(job); len(pods) > 0 {
				return job, pods[0]
			}
			return job, nil
		}
	}
	return nil, nil
}

// judgeHook decides whether a hook has ended well, or why it will not.
func judgeHook(job *batchv1.Job, pod *corev1.Pod, hook *spec.Hook) (done bool, err error) {
	if job == nil {
		return false, nil // not seen yet
	}
	for _, c := range job.Status.Conditions {
		switch {
		case c.Status != corev1.ConditionTrue:
		case c.Type == batchv1.JobComplete:
			return true, nil
		case c.Type == batchv1.JobFailed && c.Reason == batchv1.JobReasonDeadlineExceeded, c.Type == batchv1.JobFailureTarget && c.Reason == batchv1.JobReasonDeadlineExceeded:
			return false, apperr.New(apperr.Precondition, "it had not ended after %d s and was stopped", hook.TimeoutSeconds)
		case c.Type == batchv1.JobFailed && pod == nil:
			return false, apperr.New(apperr.Precondition, "%s: %s", c.Reason, c.Message)
		}
	}
	if pod == nil {
		return false, nil
	}
	if code := exitCode(pod); code != nil {
		if *code != 0 {
			return false, apperr.New(apperr.Precondition, "it ended with exit code %d", *code)
		}
		return true, nil
	}
	// Whatever else keeps it from starting may pass, and is bounded by its time.
	for _, s := range pod.Status.ContainerStatuses {
		if failure := imageFailure(s); failure != nil {
			return false, failure.Err
		}
	}
	if pod.Status.Phase == corev1.PodFailed { // evicted, as by a node that is short of memory
		return false, apperr.New(apperr.Precondition, "its pod failed: %s %s", pod.Status.Reason, pod.Status.Message)
	}
	return false, nil
}

// exitCode is how a hook's process ended; nil until it has.
func exitCode(pod *corev1.Pod) *int32 {
	for _, s := range pod.Status.ContainerStatuses {
		if s.State.Terminated != nil {
			return &s.State.Terminated.ExitCode
		}
	}
	return nil
}

func hasEnded(job *batchv1.Job) bool {
	return slices.ContainsFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool {
		return c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed)
	})
}
