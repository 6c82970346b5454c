package kube

import (
	"cmp"
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"fairlead.dev/shared/workload"
)

// examine notes on a failure card what is known of a pod. It is made to help:
// what cannot be learnt is left out.
func (d *Driver) examine(ctx context.Context, pod *corev1.Pod, failure *workload.Failure) {
	if pod == nil {
		return
	}
	previous := false
	name := ""
	for _, s := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
		if t := endedBadly(s); t != nil && (t.ExitCode != 0 || failure.Step == workload.StepHealth) {
			code := int(t.ExitCode)
			failure.ExitCode, failure.OOMKilled = &code, t.Reason == "OOMKilled"
			previous = s.State.Terminated == nil
			name = s.Name
			break
		}
	}
	if name == "" && len(pod.Spec.Containers) > 0 {
		name = pod.Spec.Containers[0].Name
	}
	failure.ProbeOutput = d.probeOutput(ctx, pod)
	// A container that is started again and again may just have made room for its
	// next run.
	for _, before := range []bool{previous, !previous} {
		log, err := d.lastWords(ctx, pod, name, before)
		if err != nil {
			d.options.Logger.Debug("read the log of a failed pod", "pod", pod.Name, "error", err)
		}
		if log != "" {
			failure.LogTail = strings.Split(log, "\n")
			return
		}
	}
}

// logIsGone is how a kubelet begins what it answers in place of a log.
const logIsGone = "unable to retrieve container logs for "

// lastWords are the last lines of a container's log, of the run before or of this
// one; empty when there are none.
func (d *Driver) lastWords(ctx context.Context, pod *corev1.Pod, container string, previous bool) (string, error) {
	lines := int64(workload.FailureLogLines)
	text, err := d.client.CoreV1().Pods(pod.Namespace).
		GetLogs(pod.Name, &corev1.PodLogOptions{Container: container, TailLines: &lines, Previous: previous}).DoRaw(ctx)
	if err != nil {
		return "", clusterError(err, "read the log of pod %s", pod.Name)
	}
	log := strings.TrimRight(string(text), "\n")
	if strings.HasPrefix(log, logIsGone) {
		return "", nil
	}
	return log, nil
}

// probeOutput is what the kubelet last said of a pod's probes.
func (d *Driver) probeOutput(ctx context.Context, pod *corev1.Pod) string {
	events, err := d.client.CoreV1().Events(pod.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.AndSelectors(
			fields.OneTermEqualSelector("involvedObject.uid", string(pod.UID)),
			fields.OneTermEqualSelector("reason", "Unhealthy")).String(),
	})
	if err != nil {
		d.options.Logger.Debug("ask what a pod's probes said", "pod", pod.Name, "error", err)
		return ""
	}
	if len(events.Items) == 0 {
		return ""
	}
	// Each wording is an event of its own, which counts how often it was said.
	return slices.MaxFunc(events.Items, func(a, b corev1.Event) int {
		return cmp.Or(a.LastTimestamp.Compare(b.LastTimestamp.Time), a.CreationTimestamp.Compare(b.CreationTimestamp.Time))
	}).Message
}
