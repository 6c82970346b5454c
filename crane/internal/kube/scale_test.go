//go:build linux

package kube_test

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// pods are the names of the pods of a namespace.
func (s site) pods(t *testing.T, namespace string) (names []string) {
	t.Helper()
	list, err := s.client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil {
			names = append(names, pod.Name)
		}
	}
	return names
}

func TestScalingKeepsPodsAndStoppingRemembersHowMany(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const prefix = "scaled"
	with := func(number int64, replicas int32) spec.Deployment {
		return release(prefix, number, func(c *spec.Container) { c.Replicas = &replicas })
	}
	if err := s.Apply(t.Context(), with(1, 1), silence()); err != nil {
		t.Fatal(err)
	}
	before := s.pods(t, prefix)
	plan, err := s.Plan(t.Context(), with(2, 2))
	if err != nil || plan.Workloads[0].Action != workload.ActionScale || plan.Workloads[0].ReplicasNow != 1 || plan.Workloads[0].ReplicasThen != 2 {
		t.Errorf("the plan is %+v, %v, want a scaling from 1 to 2", plan, err)
	}
	if err := s.Apply(t.Context(), with(2, 2), silence()); err != nil {
		t.Fatal(err)
	}
	if now := s.pods(t, prefix); len(before) != 1 || len(now) != 2 || !slices.Contains(now, before[0]) {
		t.Errorf("scaled from %q to %q, want the first kept and one more", before, now)
	}
	web := workload.ContainerID{Prefix: prefix, Name: "web"}
	if err := s.Stop(t.Context(), web); err != nil {
		t.Fatal(err)
	}
	if now := s.pods(t, prefix); len(now) != 0 {
		t.Errorf("stopped, there are %q", now)
	}
	if err := s.Start(t.Context(), web); err != nil {
		t.Fatal(err)
	}
	if now := s.pods(t, prefix); len(now) != 2 {
		t.Errorf("started again, there are %q, want two", now)
	}
	if err := s.Apply(t.Context(), with(3, 1), silence()); err != nil {
		t.Fatal(err)
	}
	if now := s.pods(t, prefix); len(now) != 1 {
		t.Errorf("scaled back, there are %q, want one", now)
	}
}
