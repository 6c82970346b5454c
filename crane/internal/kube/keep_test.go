//go:build linux

package kube_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// silence hears nothing.
func silence() workload.Reporter { return workload.ReporterFunc(func(workload.Event) {}) }

// release renders one workload as the controller does.
func release(prefix string, number int64, change func(*spec.Container)) spec.Deployment {
	name := "web"
	c := spec.Container{Name: &name}
	change(&c)
	d := spec.Normalize(spec.Deployment{ID: "deployment-" + prefix, Prefix: prefix, Release: number, Workloads: []spec.Workload{{
		InstanceID: "instance-web", Image: spec.Image{Reference: programImage}, Container: c,
	}}})
	d.Workloads[0].Hash = spec.Hash(d.Workloads[0])
	return d
}

func TestVolumesAndWhatOthersMadeOutliveTheDeployment(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const prefix = "keeping"
	d := release(prefix, 1, func(c *spec.Container) {
		c.Volumes = []spec.Volume{{Name: "data", Path: "/data", Size: "1Mi"}}
	})
	if err := s.Apply(t.Context(), d, silence()); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), prefix, silence()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.CoreV1().PersistentVolumeClaims(prefix).Get(t.Context(), "web-data", metav1.GetOptions{}); err != nil {
		t.Errorf("the volume after Remove: %v", err)
	}
	if _, err := s.client.CoreV1().Namespaces().Get(t.Context(), prefix, metav1.GetOptions{}); err != nil {
		t.Errorf("the namespace that holds it: %v", err)
	}

	s.addForeign(t, "shared-others")
	shared := release("shared", 1, func(*spec.Container) {})
	if err := s.Apply(t.Context(), shared, silence()); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), "shared", silence()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.AppsV1().Deployments("shared").Get(t.Context(), "others", metav1.GetOptions{}); err != nil {
		t.Errorf("what others made after Remove: %v", err)
	}

	if err := s.Apply(t.Context(), release("hoard", 1, func(*spec.Container) {}), silence()); err != nil {
		t.Fatal(err)
	}
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}}
	if _, err := s.client.CoreV1().Secrets("hoard").Create(t.Context(), theirs, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), "hoard", silence()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.CoreV1().Secrets("hoard").Get(t.Context(), "theirs", metav1.GetOptions{}); err != nil {
		t.Errorf("others' secret in a namespace of ours after Remove: %v", err)
	}
}

func TestSecretsOfAReleaseStayUntilTheNextIsGood(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const prefix = "secretive"
	with := func(value string, args ...string) func(*spec.Container) {
		return func(c *spec.Container) {
			c.Secrets = []spec.Secret{{Key: "PASSWORD", Value: value}}
			for _, a := range args {
				c.Args = append(c.Args, spec.Key{Key: a})
			}
		}
	}
	secrets := func() (names []string) {
		list, err := s.client.CoreV1().Secrets(prefix).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range list.Items {
			if strings.HasPrefix(secret.Name, "web-secret-") {
				names = append(names, secret.Name)
			}
			if secret.Name == "fairlead-release" && bytes.Contains(secret.Data["objects.json.gz"], []byte("hush")) {
				t.Error("the record of the release holds a secret's value")
			}
		}
		return names
	}
	if err := s.Apply(t.Context(), release(prefix, 1, with("hush-one")), silence()); err != nil {
		t.Fatal(err)
	}
	first := secrets()
	if err := s.Apply(t.Context(), release(prefix, 2, with("hush-two", "exit", "1")), silence()); err == nil {
		t.Fatal("a release that ends succeeded")
	}
	if now := secrets(); len(first) != 1 || !strings.Contains(strings.Join(now, " "), first[0]) {
		t.Errorf("after a failed release there are the secrets %q, want that of the good one, %q", now, first)
	}
	if err := s.Apply(t.Context(), release(prefix, 3, with("hush-three")), silence()); err != nil {
		t.Fatal(err)
	}
	if now := secrets(); len(now) != 1 || now[0] == first[0] {
		t.Errorf("after the next good release there are the secrets %q, want its own only (it was %q)", now, first)
	}
}

func TestAJobThatHasRunDoesNotRunAgainWhenAReleaseIsPutBack(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const prefix = "jobs"
	jobs := s.client.BatchV1().Jobs(prefix)
	with := func(number int64, args ...string) spec.Deployment {
		d := release(prefix, number, func(c *spec.Container) {
			for _, a := range args {
				c.Args = append(c.Args, spec.Key{Key: a})
			}
		})
		job := release(prefix, number, func(c *spec.Container) {
			name, no := "migrate", spec.RestartNo
			c.Name, c.RestartPolicy = &name, &no
			c.Args = []spec.Key{{Key: "exit"}, {Key: "0"}}
			c.ExpectedState = &spec.ExpectedState{State: spec.StateExited}
		})
		d.Workloads = append(job.Workloads, d.Workloads...)
		return d
	}
	if err := s.Apply(t.Context(), with(1), silence()); err != nil {
		t.Fatal(err)
	}
	// As the cluster does by itself with jobs that have a time to live.
	background := metav1.DeletePropagationBackground
	if err := jobs.DeleteCollection(t.Context(), metav1.DeleteOptions{PropagationPolicy: &background}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	failing := with(2, "exit", "1")
	failing.Workloads = failing.Workloads[1:]
	if err := s.Apply(t.Context(), failing, silence()); err == nil {
		t.Fatal("a release that ends succeeded")
	}
	list, err := jobs.List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 0 {
		t.Errorf("after the release was put back there are the jobs %+v (%v), want none", list.Items, err)
	}
}

func TestAWorkloadThatIsKeptGetsNewCredentialsOfItsRegistry(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const prefix = "credentials"
	with := func(number int64, password string) spec.Deployment {
		d := release(prefix, number, func(*spec.Container) {})
		d.Workloads[0].Image.Auth = &spec.RegistryAuth{Server: "registry.test", Username: "u", Password: password}
		d.Workloads[0].Hash = "the same"
		return d
	}
	for number, password := range []string{"first", "second"} {
		if err := s.Apply(t.Context(), with(int64(number+1), password), silence()); err != nil {
			t.Fatal(err)
		}
		list, err := s.client.CoreV1().Secrets(prefix).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, secret := range list.Items {
			if strings.HasPrefix(secret.Name, "web-pull-") {
				found++
				if !bytes.Contains(secret.Data[corev1.DockerConfigJsonKey], []byte(password)) {
					t.Errorf("release %d: the pull secret is not of its password", number+1)
				}
			}
		}
		if found != 1 {
			t.Errorf("release %d: %d pull secrets, want 1", number+1, found)
		}
	}
	if sets, err := s.client.AppsV1().ReplicaSets(prefix).List(t.Context(), metav1.ListOptions{}); err != nil || len(sets.Items) != 1 {
		t.Errorf("%d replica sets (%v): the pods were replaced", len(sets.Items), err)
	}
}

func TestARecreatedWorkloadServesAgainWhenTheNewOneFails(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const prefix = "recreated"
	with := func(number int64, args ...string) spec.Deployment {
		return release(prefix, number, func(c *spec.Container) {
			c.DeploymentStrategy = new(spec.StrategyRecreate)
			for _, a := range args {
				c.Args = append(c.Args, spec.Key{Key: a})
			}
		})
	}
	if err := s.Apply(t.Context(), with(1), silence()); err != nil {
		t.Fatal(err)
	}
	plan, err := s.Plan(t.Context(), with(2, "exit", "7"))
	if err != nil || plan.Workloads[0].Action != workload.ActionRecreate || len(plan.Workloads[0].Downtime) != 1 {
		t.Errorf("the plan is %+v, %v, want one that tells of the downtime", plan, err)
	}
	var failure *workload.Failure
	if err := s.Apply(t.Context(), with(2, "exit", "7"), silence()); !errors.As(err, &failure) || !failure.RolledBack {
		t.Errorf("a release that ends: %v, want one that was put back", err)
	}
	now, err := s.client.AppsV1().Deployments(prefix).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || now.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType || now.Annotations["fairlead.dev/release"] != "1" || now.Status.AvailableReplicas != 1 {
		t.Errorf("the deployment is %+v, %v, want the first release serving", now, err)
	}
}
