package kube

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"fairlead.dev/shared/spec"
)

// podAt is a pod of a replica set, made some minutes after the hour.
func podAt(set *appsv1.ReplicaSet, name string, minute int, status corev1.PodStatus) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "shop", UID: types.UID(name), CreationTimestamp: at(minute),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))},
		},
		Spec:   corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}},
		Status: status,
	}
}

func at(minute int) metav1.Time {
	return metav1.NewTime(time.Date(2026, 11, 21, 9, minute, 0, 0, time.UTC))
}

func running(since int, last *corev1.ContainerStateTerminated) corev1.PodStatus {
	return corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
		State:                corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at(since)}},
		LastTerminationState: corev1.ContainerState{Terminated: last},
	}}}
}

// What ends in any replica is told, though the newest runs on.
func TestTheLatestEndOfAllReplicasIsTold(t *testing.T) {
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "d"}}
	set := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{
		Name: "web-1", Namespace: "shop", UID: "s",
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(deployment, appsv1.SchemeGroupVersion.WithKind("Deployment"))},
	}}
	end := func(minute int, reason string) *corev1.ContainerStateTerminated {
		return &corev1.ContainerStateTerminated{ExitCode: 137, Reason: reason, StartedAt: at(1), FinishedAt: at(minute)}
	}
	evicted := corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "The node was low on resource: memory.", ContainerStatuses: []corev1.ContainerStatus{{
		State: corev1.ContainerState{Terminated: end(20, "Error")},
	}}}
	drained := running(2, nil)
	drained.ContainerStatuses[0].State = corev1.ContainerState{Terminated: end(20, "Completed")}
	drained.Conditions = []corev1.PodCondition{{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting",
	}}
	// Started again in its pod, which is about to be evicted: that is not why it ended.
	restarted := running(21, end(20, "Error"))
	restarted.Conditions = drained.Conditions
	const lowMemory, api = "Evicted: The node was low on resource: memory.", "EvictionByEvictionAPI: Eviction API: evicting"
	waiting := corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{
		State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}},
	}}}
	for name, test := range map[string]struct {
		pods   []*corev1.Pod
		state  spec.ContainerState
		reason string
		ended  metav1.Time
		why    string
	}{
		"nothing ended":     {[]*corev1.Pod{podAt(set, "a", 1, running(2, nil))}, spec.StateRunning, "running", metav1.Time{}, ""},
		"the older replica": {[]*corev1.Pod{podAt(set, "a", 1, running(11, end(10, "OOMKilled"))), podAt(set, "b", 5, running(6, nil))}, spec.StateRunning, "running", at(10), ""},
		"an evicted one": {[]*corev1.Pod{podAt(set, "a", 1, evicted), podAt(set, "b", 21, running(22, nil))},
			spec.StateRunning, "running", at(20), lowMemory},
		"an evicted one, and what replaces it waits": {[]*corev1.Pod{podAt(set, "a", 1, evicted), podAt(set, "b", 21, waiting)},
			spec.StateWaiting, "ContainerCreating", at(20), lowMemory},
		"evicted and not replaced yet": {[]*corev1.Pod{podAt(set, "a", 1, evicted)}, spec.StateExited, "Evicted", at(20), lowMemory},
		"evicted through the API": {[]*corev1.Pod{podAt(set, "a", 1, drained), podAt(set, "b", 21, running(22, nil))},
			spec.StateRunning, "running", at(20), api},
		"started again in a pod that is to go": {[]*corev1.Pod{podAt(set, "a", 1, restarted), podAt(set, "b", 21, running(22, nil))},
			spec.StateRunning, "running", at(20), ""},
	} {
		w := world{deployments: []*appsv1.Deployment{deployment}, replicaSets: []*appsv1.ReplicaSet{set}, pods: test.pods}
		c := w.container(deployment)
		if c.State != test.state || c.Reason != test.reason || !c.FinishedAt.Equal(test.ended.Time) {
			t.Errorf("%s: seen %s (%s), ended %s, want %s (%s), %s", name, c.State, c.Reason, c.FinishedAt, test.state, test.reason, test.ended)
		}
		if c.EndReason != test.why {
			t.Errorf("%s: it ended for %q, want %q", name, c.EndReason, test.why)
		}
		if c.StartedAt.IsZero() {
			t.Errorf("%s: as if it had never run, which would have no end", name)
		}
		if c.State == spec.StateRunning && c.ExitCode != 0 {
			t.Errorf("%s: exit code %d while one runs", name, c.ExitCode)
		}
	}
}
