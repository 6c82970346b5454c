package selfupdate

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTheImageIsNamedWhereTheAgentCameFrom(t *testing.T) {
	t.Parallel()
	b := build{tag: "fairlead/crane:2", manifest: "sha256:" + strings.Repeat("ab", 32), config: "sha256:" + strings.Repeat("cd", 32)}
	for present, want := range map[string]string{
		"registry.example.org:5000/fairlead/crane:1":                    "registry.example.org:5000/fairlead/crane@" + b.manifest,
		"registry.example.org:5000/fairlead/crane":                      "registry.example.org:5000/fairlead/crane@" + b.manifest,
		"fairlead/crane:1@sha256:" + strings.Repeat("01", 32):           "fairlead/crane@" + b.manifest,
		"registry.example.org/crane@sha256:" + strings.Repeat("01", 32): "registry.example.org/crane@" + b.manifest,
	} {
		if got := b.referenceBeside(corev1.Container{Image: present}); got != want {
			t.Errorf("beside %s it is %s, want %s", present, got, want)
		}
	}
	if got := b.referenceBeside(corev1.Container{Image: "fairlead/crane:1", ImagePullPolicy: corev1.PullNever}); got != b.tag {
		t.Errorf("where images are brought to the nodes it is %s, want %s", got, b.tag)
	}
	for id, want := range map[string]bool{
		"registry.example.org/crane@" + b.manifest: true,
		b.config:                                true,
		strings.TrimPrefix(b.config, "sha256:"): true,
		"registry.example.org/crane@sha256:" + strings.Repeat("9", 64): false,
		"": false,
	} {
		if b.isIn(id) != want {
			t.Errorf("what a node calls %q is the build: %t, want %t", id, !want, want)
		}
	}
}

func TestHowAPodDoesIsTold(t *testing.T) {
	t.Parallel()
	of := func(s corev1.ContainerStatus) corev1.Pod {
		s.Name = containerName
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "crane-x"}, Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{s}}}
	}
	ended := &corev1.ContainerStateTerminated{ExitCode: 3, Message: "first\x1b[1m\nlast\n"}
	for words, test := range map[string]struct {
		pod      corev1.Pod
		alive    bool
		restarts int
	}{
		"its pod crane-x runs":                                              {of(corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}), true, 0},
		"its pod crane-x waits: ContainerCreating":                          {of(corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}}), true, 0},
		"its pod crane-x waits: ErrImagePull, no way":                       {of(corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no\nway"}}}), true, 0},
		"its pod crane-x waits: ErrImageNeverPull":                          {of(corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImageNeverPull"}}}), false, 0},
		"its pod crane-x ended, exit code 3; it said last: first[1m | last": {of(corev1.ContainerStatus{State: corev1.ContainerState{Terminated: ended}}), true, 0},
		"its pod crane-x waits: CrashLoopBackOff, exit code 3; it said last: first[1m | last": {of(corev1.ContainerStatus{
			RestartCount: 2, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off"}},
			LastTerminationState: corev1.ContainerState{Terminated: ended},
		}), false, 2},
		"its pod crane-x is pending, on no node: 0/1 nodes are available": {corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "crane-x"},
			Status: corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{
				Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/1 nodes are available",
			}}},
		}, true, 0},
	} {
		if seen := look(test.pod); seen.Words != words || seen.Alive != test.alive || seen.Restarts != test.restarts {
			t.Errorf("it is told as %+v, want %q, alive %t", seen, words, test.alive)
		}
	}
}
