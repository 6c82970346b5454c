package workloadtest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
	"fairlead.dev/shared/workload/workloadtest"
)

func subject(options workloadtest.FakeOptions) workloadtest.Subject {
	options.Missing = []string{"registry.test/missing:1"}
	fake := workloadtest.NewFakeDriver(options)
	return workloadtest.Subject{
		Driver:       fake,
		Image:        "registry.test/program:1",
		Program:      workloadtest.FakeProgram,
		MissingImage: options.Missing[0],
		Unsupported: func(c *spec.Container) string {
			c.Routing = &spec.Routing{Domain: "web.test"}
			return "routing"
		},
		AddForeign: func(t *testing.T, name string) {
			t.Helper()
			fake.AddForeign(name)
			t.Cleanup(func() { fake.RemoveForeign(name) })
		},
	}
}

func TestFakeDriverKeepsTheContract(t *testing.T) {
	workloadtest.Run(t, func(*testing.T) workloadtest.Subject { return subject(workloadtest.FakeOptions{}) })
}

func TestFakeDriverKeepsTheContractWhenSlow(t *testing.T) {
	workloadtest.Run(t, func(*testing.T) workloadtest.Subject {
		return subject(workloadtest.FakeOptions{Seed: 1, MaxLatency: time.Millisecond})
	})
}

func deployment(release int64, greeting string) spec.Deployment {
	name := "web"
	w := spec.Workload{
		InstanceID: "web",
		Image:      spec.Image{Reference: "registry.test/program:1"},
		Container:  spec.Container{Name: &name, Environment: []spec.KeyValue{{Key: "GREETING", Value: greeting}}},
	}
	w.Hash = spec.Hash(w)
	return spec.Deployment{ID: "d", Prefix: "p", Release: release, Workloads: []spec.Workload{w}}
}

func TestInjectedFailureHitsItsStep(t *testing.T) {
	ignore := workload.ReporterFunc(func(workload.Event) {})
	for _, step := range []workload.Step{
		workload.StepCheck, workload.StepPull, workload.StepCreate, workload.StepStart, workload.StepHealth, workload.StepRetire,
	} {
		t.Run(string(step), func(t *testing.T) {
			armed := false
			boom := apperr.New(apperr.Unavailable, "boom")
			fake := workloadtest.NewFakeDriver(workloadtest.FakeOptions{Fail: func(op workloadtest.Op) error {
				if armed && op.Name == string(step) {
					return boom
				}
				return nil
			}})
			if err := fake.Apply(t.Context(), deployment(1, "one"), ignore); err != nil {
				t.Fatal(err)
			}
			armed = true
			err := fake.Apply(t.Context(), deployment(2, "two"), ignore)
			var failure *workload.Failure
			if !errors.As(err, &failure) || failure.Step != step || !errors.Is(err, boom) {
				t.Fatalf("Apply: %v, want the injected failure at step %s", err, step)
			}
			armed = false
			list, err := fake.List(t.Context())
			if err != nil || len(list) != 1 || list[0].Release != 1 {
				t.Errorf("List = %+v, %v, want release 1 alone", list, err)
			}
		})
	}
}

func TestExitEndsAContainer(t *testing.T) {
	fake := workloadtest.NewFakeDriver(workloadtest.FakeOptions{})
	if err := fake.Apply(context.Background(), deployment(1, "one"), workload.ReporterFunc(func(workload.Event) {})); err != nil {
		t.Fatal(err)
	}
	if !fake.Exit("p-web", 9) || fake.Exit("p-web", 9) || fake.Exit("p-none", 9) {
		t.Error("Exit must tell whether the container was running")
	}
	list, err := fake.List(t.Context())
	if err != nil || list[0].State != spec.StateExited || list[0].ExitCode != 9 {
		t.Errorf("List = %+v, %v, want the container exited with 9", list, err)
	}
}
