//go:build linux

package kube_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

func TestTheCardSaysWhyAWorkloadDoesNotBecomeReady(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*spec.Container)
		// message and probe are parts of what the card says.
		message, probe string
	}{
		"probed": {func(c *spec.Container) {
			c.Args = []spec.Key{{Key: "serve"}, {Key: "hello"}}
			c.HealthCheckConfig = &spec.HealthCheckConfig{Port: 80, ReadinessProbe: "/missing"}
		}, "not ready after 40s", "Readiness probe failed: "},
		"greedy": {func(c *spec.Container) {
			c.ResourceConfig = &spec.ResourceConfig{Requests: &spec.Resources{CPU: "1000"}}
		}, "no node takes it: 0/1 nodes are available: 1 Insufficient cpu", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			d := release(name, 1, func(c *spec.Container) {
				// A busy machine takes its time to start a pod and to probe it.
				c.ExpectedState = &spec.ExpectedState{State: spec.StateRunning, TimeoutSeconds: 40}
				test.change(c)
			})
			var failure *workload.Failure
			if err := s.Apply(t.Context(), d, silence()); !errors.As(err, &failure) {
				t.Fatalf("Apply: %v, want a card", err)
			}
			if failure.Step != workload.StepHealth || failure.InstanceID != "instance-web" || !strings.Contains(failure.Error(), test.message) || !strings.Contains(failure.ProbeOutput, test.probe) {
				t.Errorf("the card is %+v (probe: %q), want %q and %q", failure, failure.ProbeOutput, test.message, test.probe)
			}
		})
	}
}

func TestTheCardOfAContainerWithoutMemorySaysSo(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := release("devouring", 1, func(c *spec.Container) {
		c.Args = []spec.Key{{Key: "devour"}}
		c.ResourceConfig = &spec.ResourceConfig{Limits: &spec.Resources{Memory: "48Mi"}}
	})
	var failure *workload.Failure
	if err := s.Apply(t.Context(), d, silence()); !errors.As(err, &failure) {
		t.Fatalf("Apply: %v, want a card", err)
	}
	if !failure.OOMKilled || failure.ExitCode == nil || *failure.ExitCode != 137 || !strings.Contains(failure.Error(), "OOMKilled") {
		t.Errorf("the card is %+v, want it to tell of the memory", failure)
	}
	if !slices.Contains(failure.LogTail, "bite 60") {
		t.Errorf("the log on the card is %q, want what the container wrote last", failure.LogTail)
	}
}
