//go:build linux

package kube_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"fairlead.dev/crane/internal/kube"
	"fairlead.dev/crane/kubetest"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// guarded is what Guard told of a prefix.
type guarded struct {
	mu    sync.Mutex
	lines []string
}

// nobody hears what Guard tells.
func nobody(string, workload.Event) {}

// newGuardedSite is a site whose driver looks at one namespace only, so that it
// leaves those of other tests alone.
func newGuardedSite(t *testing.T, prefix string) site {
	t.Helper()
	s := newSite(t)
	admin, err := kubetest.Running(t).Config()
	if err != nil {
		t.Fatal(err)
	}
	s.Driver, err = kube.New(asAgent(t, admin), kube.Options{Namespaces: []string{prefix}, StabilityWindow: time.Second, StopGrace: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s site) guard(t *testing.T, prefix string) *guarded {
	t.Helper()
	g := &guarded{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- s.Guard(ctx, func(of string, e workload.Event) {
			g.mu.Lock()
			defer g.mu.Unlock()
			if of == prefix {
				g.lines = append(g.lines, fmt.Sprintf("%s %s: %s", e.Level, e.InstanceID, strings.Join(e.Lines, "\n")))
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("guard: %v", err)
		}
	})
	return g
}

func (g *guarded) all() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string(nil), g.lines...)
}

// await waits for a line that has all the words.
func (g *guarded) await(t *testing.T, words ...string) {
	t.Helper()
	eventually(t, func() error {
		for _, line := range g.all() {
			missing := false
			for _, word := range words {
				missing = missing || !strings.Contains(line, word)
			}
			if !missing {
				return nil
			}
		}
		return fmt.Errorf("no line has %q: %q", words, g.all())
	})
}

func eventually(t *testing.T, try func() error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, 2*time.Minute, true, func(context.Context) (bool, error) {
		last = try()
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("%v: %v", err, last)
	}
}

const byHand = `{"metadata":{"annotations":{"mine":"1"}},"spec":{"replicas":2,"template":{"spec":{"containers":[{"name":"web","workingDir":"/hush"}]}}}}`

func TestAChangeByHandIsToldOfAndLeft(t *testing.T) {
	t.Parallel()
	const prefix = "drifting"
	s := newGuardedSite(t, prefix)
	if err := s.Apply(t.Context(), release(prefix, 1, withPort), silence()); err != nil {
		t.Fatal(err)
	}
	told := s.guard(t, prefix)
	hand := metav1.PatchOptions{FieldManager: "kubectl-edit"}
	deployments, services := s.client.AppsV1().Deployments(prefix), s.client.CoreV1().Services(prefix)
	if _, err := deployments.Patch(t.Context(), "web", types.StrategicMergePatchType, []byte(byHand), hand); err != nil {
		t.Fatal(err)
	}
	told.await(t, "warn instance-web: Deployment web was changed by kubectl-edit: ", "spec.replicas", "spec.template.spec.containers[web].workingDir", "left so until the next start")
	for _, line := range told.all() {
		if strings.Contains(line, "hush") || strings.Contains(line, "mine") {
			t.Errorf("told of a value, or of what is not the agent's: %s", line)
		}
	}
	if err := services.Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	told.await(t, "Service web was deleted by somebody", "left so")
	live, err := deployments.Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || *live.Spec.Replicas != 2 {
		t.Errorf("after a report there are %v replicas (%v), want what was set by hand", live.Spec.Replicas, err)
	}
}

func withPort(c *spec.Container) {
	c.Ports = []spec.Port{{Internal: 8080}}
	root := "/"
	c.WorkingDirectory = &root
}

func TestAChangeByHandIsPutBackWhereThePolicySaysSo(t *testing.T) {
	t.Parallel()
	const prefix = "correcting"
	s := newGuardedSite(t, prefix)
	web := workload.ContainerID{Prefix: prefix, Name: "web"}
	if err := s.Apply(t.Context(), release(prefix, 1, withPort), silence()); err != nil {
		t.Fatal(err)
	}
	// The policy is of the start and not of the content: nothing is applied anew.
	corrected := release(prefix, 2, withPort)
	corrected.Policy.Drift = spec.DriftCorrect
	if err := s.Apply(t.Context(), corrected, silence()); err != nil {
		t.Fatal(err)
	}
	told := s.guard(t, prefix)
	hand := metav1.PatchOptions{FieldManager: "kubectl-edit"}
	deployments, services := s.client.AppsV1().Deployments(prefix), s.client.CoreV1().Services(prefix)

	// What the agent does itself by command is no drift.
	if err := s.Stop(t.Context(), web); err != nil {
		t.Fatal(err)
	}
	if _, err := deployments.Patch(t.Context(), "web", types.StrategicMergePatchType, []byte(byHand), hand); err != nil {
		t.Fatal(err)
	}
	told.await(t, "Deployment web was changed by kubectl-edit: ", "spec.replicas", "containers[web].workingDir", "it was put back")
	if err := services.Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	told.await(t, "Service web was deleted by somebody; it was put back")
	if _, err := services.Get(t.Context(), "web", metav1.GetOptions{}); err != nil {
		t.Errorf("the Service that was deleted: %v", err)
	}
	live, err := deployments.Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || *live.Spec.Replicas != 1 || live.Spec.Template.Spec.Containers[0].WorkingDir != "/" || live.Annotations["mine"] != "1" {
		t.Errorf("after a correction: %v, %+v", err, live)
	}
	if err := s.Stop(t.Context(), web); err != nil {
		t.Fatal(err)
	}
	count := len(told.all())
	if _, err := deployments.Patch(t.Context(), "web", types.StrategicMergePatchType, []byte(`{"spec":{"minReadySeconds":77}}`), hand); err != nil {
		t.Fatal(err)
	}
	told.await(t, "spec.minReadySeconds; it was put back")
	live, err = deployments.Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || *live.Spec.Replicas != 0 || live.Spec.MinReadySeconds == 77 {
		t.Errorf("a stopped workload after a correction: %v, %+v", err, live.Spec)
	}
	if lines := told.all()[count:]; len(lines) != 1 {
		t.Errorf("told of %q, want one change", lines)
	}
	if err := s.Delete(t.Context(), web); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), prefix, silence()); err != nil {
		t.Fatal(err)
	}
	for _, line := range told.all() {
		if strings.Contains(line, "Deployment web was deleted") {
			t.Errorf("what was deleted by command counts as drift: %s", line)
		}
	}
}
