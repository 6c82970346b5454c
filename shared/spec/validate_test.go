package spec_test

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// good returns a deployment without problems.
func good() spec.Deployment {
	return spec.Deployment{
		ID: "d1", Prefix: "shop", Release: 1,
		Workloads: []spec.Workload{
			{InstanceID: "i1", Image: spec.Image{Reference: "web:1"}, Container: spec.Container{
				Name:        ptr("web"),
				Environment: []spec.KeyValue{{Key: "A", Value: "1"}},
				Ports:       []spec.Port{{Internal: 80, External: ptr(int32(8080))}},
				PortRanges:  []spec.PortRange{{Internal: spec.Range{From: 100, To: 110}, External: spec.Range{From: 9000, To: 9010}}},
				Volumes:     []spec.Volume{{Name: "data", Path: "/data", Size: "1Gi"}, {Name: "/srv/web", Path: "/srv"}},
				ResourceConfig: &spec.ResourceConfig{
					Limits: &spec.Resources{CPU: "250m", Memory: "64Mi"},
				},
				HealthCheckConfig: &spec.HealthCheckConfig{Port: 80, LivenessProbe: "/health"},
			}},
			{InstanceID: "i2", Image: spec.Image{Reference: "db:1"}, Container: spec.Container{Name: ptr("db")}},
		},
	}
}

func TestAGoodDeploymentHasNoProblems(t *testing.T) {
	if p := spec.Validate(spec.Normalize(good())); p != nil || p.Err() != nil {
		t.Errorf("problems %v", p)
	}
}

func TestProblemsNameTheirField(t *testing.T) {
	for _, c := range []struct {
		field string
		spoil func(d *spec.Deployment, c *spec.Container)
	}{
		{"prefix", func(d *spec.Deployment, _ *spec.Container) { d.Prefix = "" }},
		{"prefix", func(d *spec.Deployment, _ *spec.Container) { d.Prefix = "Shop" }},
		{"prefix", func(d *spec.Deployment, _ *spec.Container) { d.Prefix = "-shop" }},
		{"prefix", func(d *spec.Deployment, _ *spec.Container) { d.Prefix = strings.Repeat("a", 64) }},
		{"workloads", func(d *spec.Deployment, _ *spec.Container) { d.Workloads = make([]spec.Workload, spec.MaxWorkloads+1) }},
		{"workloads[0].image", func(d *spec.Deployment, _ *spec.Container) { d.Workloads[0].Image.Reference = "" }},
		{"workloads[0].name", func(_ *spec.Deployment, c *spec.Container) { c.Name = nil }},
		{"workloads[0].name", func(_ *spec.Deployment, c *spec.Container) { c.Name = ptr("a_b") }},
		{"workloads[1].name", func(_ *spec.Deployment, c *spec.Container) { c.Name = ptr("db") }},
		{"workloads[0].name", func(_ *spec.Deployment, c *spec.Container) { c.Name = ptr(strings.Repeat("a", 63)) }},
		{"workloads[0].environment[0].key", func(_ *spec.Deployment, c *spec.Container) { c.Environment[0].Key = "A=B" }},
		{"workloads[0].environment[1].key", func(_ *spec.Deployment, c *spec.Container) {
			c.Environment = append(c.Environment, c.Environment[0])
		}},
		{"workloads[0].environment[0].value", func(_ *spec.Deployment, c *spec.Container) { c.Environment[0].Value = "\x00" }},
		{"workloads[0].environment[0].value", func(_ *spec.Deployment, c *spec.Container) {
			c.Environment[0].Value = strings.Repeat("x", spec.MaxValueLength+1)
		}},
		{"workloads[0].environment", func(_ *spec.Deployment, c *spec.Container) {
			for i := range spec.MaxListEntries {
				c.Environment = append(c.Environment, spec.KeyValue{Key: fmt.Sprint("K", i)})
			}
		}},
		{"workloads[0].secrets[0].key", func(_ *spec.Deployment, c *spec.Container) { c.Secrets = []spec.Secret{{}} }},
		{"workloads[0].secrets[0].key", func(_ *spec.Deployment, c *spec.Container) { c.Secrets = []spec.Secret{{Key: "/etc/passwd"}} }},
		{"workloads[0].secrets[0].key", func(_ *spec.Deployment, c *spec.Container) { c.Secrets = []spec.Secret{{Key: "/run/secrets/a/b"}} }},
		{"workloads[0].secrets[0].key", func(_ *spec.Deployment, c *spec.Container) { c.Secrets = []spec.Secret{{Key: "/run/secrets/.."}} }},
		{"workloads[0].secrets[0].key", func(_ *spec.Deployment, c *spec.Container) { c.Secrets = []spec.Secret{{Key: "/run/secrets/"}} }},
		{"workloads[0].volumes[0].path", func(_ *spec.Deployment, c *spec.Container) {
			c.Secrets = []spec.Secret{{Key: "/run/secrets/token"}}
			c.Volumes[0].Path = "/run/secrets"
		}},
		{"workloads[0].expose", func(_ *spec.Deployment, c *spec.Container) { c.Expose = ptr(spec.Expose("maybe")) }},
		{"workloads[0].restartPolicy", func(_ *spec.Deployment, c *spec.Container) { c.RestartPolicy = ptr(spec.RestartPolicy("")) }},
		{"workloads[0].user", func(_ *spec.Deployment, c *spec.Container) { c.User = ptr(int64(1) << 40) }},
		{"workloads[0].replicas", func(_ *spec.Deployment, c *spec.Container) { c.Replicas = ptr(int32(-1)) }},
		{"workloads[0].workingDirectory", func(_ *spec.Deployment, c *spec.Container) { c.WorkingDirectory = ptr("../etc") }},
		{"workloads[0].ports[0].internal", func(_ *spec.Deployment, c *spec.Container) { c.Ports[0].Internal = 0 }},
		{"workloads[0].ports[0].external", func(_ *spec.Deployment, c *spec.Container) { c.Ports[0].External = ptr(int32(65536)) }},
		{"workloads[0].ports[0].protocol", func(_ *spec.Deployment, c *spec.Container) { c.Ports[0].Protocol = "icmp" }},
		{"workloads[0].ports[0].address", func(_ *spec.Deployment, c *spec.Container) { c.Ports[0].Address = "localhost" }},
		{"workloads[0].ports[0].address", func(_ *spec.Deployment, c *spec.Container) { c.Ports[0].Address = "fe80::1%eth0" }},
		{"workloads[1].ports[0].external", func(d *spec.Deployment, c *spec.Container) { d.Workloads[1].Container.Ports = c.Ports }},
		{"workloads[0].portRanges[0]", func(_ *spec.Deployment, c *spec.Container) { c.PortRanges[0].Internal.To++ }},
		{"workloads[0].portRanges[0].internal", func(_ *spec.Deployment, c *spec.Container) { c.Ports[0].Internal = 105 }},
		{"workloads[0].portRanges[0].external", func(_ *spec.Deployment, c *spec.Container) { c.Ports[0].External = ptr(int32(9005)) }},
		{"workloads[0].volumes[0].path", func(_ *spec.Deployment, c *spec.Container) { c.Volumes[0].Path = "data" }},
		{"workloads[0].volumes[0].path", func(_ *spec.Deployment, c *spec.Container) { c.Volumes[0].Path = "/" }},
		{"workloads[0].volumes[0].name", func(_ *spec.Deployment, c *spec.Container) { c.Volumes[0].Name = "../x" }},
		{"workloads[0].volumes[1].name", func(_ *spec.Deployment, c *spec.Container) { c.Volumes[1].Name = "/srv/../etc" }},
		{"workloads[0].volumes[0].size", func(_ *spec.Deployment, c *spec.Container) { c.Volumes[0].Size = "big" }},
		{"workloads[0].configContainer.volume", func(_ *spec.Deployment, c *spec.Container) {
			c.ConfigContainer = &spec.ConfigContainer{Image: "x", Volume: "other"}
		}},
		{"workloads[0].storage.path", func(_ *spec.Deployment, c *spec.Container) {
			c.Storage = &spec.Storage{StorageID: "s", Path: "other"}
		}},
		{"workloads[0].initContainers[0].name", func(_ *spec.Deployment, c *spec.Container) {
			c.InitContainers = []spec.InitContainer{{Image: "x"}}
		}},
		{"workloads[0].hooks.preDeploy.command", func(_ *spec.Deployment, c *spec.Container) {
			c.Hooks = &spec.Hooks{PreDeploy: &spec.Hook{}}
		}},
		{"workloads[0].hooks.postDeploy.timeoutSeconds", func(_ *spec.Deployment, c *spec.Container) {
			c.Hooks = &spec.Hooks{PostDeploy: &spec.Hook{Args: []spec.Key{{Key: "warm-up"}}, TimeoutSeconds: spec.MaxHookTimeoutSeconds + 1}}
		}},
		{"workloads[0].healthCheckConfig.port", func(_ *spec.Deployment, c *spec.Container) { c.HealthCheckConfig.Port = 0 }},
		{"workloads[0].resourceConfig.limits.cpu", func(_ *spec.Deployment, c *spec.Container) { c.ResourceConfig.Limits.CPU = "lots" }},
		{"workloads[0].labels.service[0].key", func(_ *spec.Deployment, c *spec.Container) {
			c.Labels = &spec.Markers{Service: []spec.KeyValue{{Key: "a b"}}}
		}},
		{"workloads[0].logConfig.driver", func(_ *spec.Deployment, c *spec.Container) { c.LogConfig = &spec.LogConfig{Driver: "paper"} }},
		{"workloads[0].expectedState.state", func(_ *spec.Deployment, c *spec.Container) { c.ExpectedState = &spec.ExpectedState{State: "gone"} }},
	} {
		t.Run(c.field, func(t *testing.T) {
			d := good()
			c.spoil(&d, &d.Workloads[0].Container)
			problems := spec.Validate(d)
			if !slices.ContainsFunc(problems, func(p spec.Problem) bool { return p.Field == c.field }) {
				t.Fatalf("problems %v, want one of %s", problems, c.field)
			}
		})
	}
}

func TestProblemsAreOneInvalidError(t *testing.T) {
	d := good()
	d.Prefix, d.Workloads[0].Image.Reference = "", ""
	err := spec.Validate(d).Err()
	var first *apperr.Error
	if !errors.As(err, &first) || first.Kind != apperr.Invalid || first.Field != "prefix" {
		t.Fatalf("error %v", err)
	}
	if !strings.Contains(err.Error(), "workloads[0].image") {
		t.Errorf("the second problem is not in %q", err)
	}
}

func TestValidatePrefixAndContainerAlone(t *testing.T) {
	if p := spec.ValidatePrefix("shop-2"); p != nil {
		t.Errorf("problems %v", p)
	}
	if p := spec.ValidatePrefix("shop_2"); len(p) != 1 || p[0].Field != "prefix" {
		t.Errorf("problems %v", p)
	}
	p := spec.ValidateContainer("config", spec.Container{Ports: []spec.Port{{}}})
	if len(p) != 1 || p[0].Field != "config.ports[0].internal" {
		t.Errorf("problems %v", p)
	}
	// An override may name a volume of its image.
	if p := spec.ValidateContainer("", spec.Container{Storage: &spec.Storage{StorageID: "s", Path: "data"}}); p != nil {
		t.Errorf("problems %v", p)
	}
}

// TestEndlessPortRangesEnd: ranges that run up to the end of their type, and
// more of them than there are ports, are reported and not walked.
func TestEndlessPortRangesEnd(t *testing.T) {
	const last = math.MaxInt32
	var ranges []spec.PortRange
	for range spec.MaxListEntries {
		ranges = append(ranges, spec.PortRange{Internal: spec.Range{From: 1, To: 1000}, External: spec.Range{From: 1, To: 1000}})
	}
	d := good()
	d.Workloads[0].Container.PortRanges = []spec.PortRange{{Internal: spec.Range{From: last, To: last}, External: spec.Range{From: last, To: last}}}
	d.Workloads[1].Container.PortRanges = ranges
	problems := spec.Validate(d)
	if !slices.ContainsFunc(problems, func(p spec.Problem) bool { return p.Field == "workloads[0].portRanges[0].external.to" }) {
		t.Errorf("the range at the end is not reported")
	}
	if len(problems) > 2*spec.MaxListEntries {
		t.Errorf("%d problems with %d ranges", len(problems), len(ranges))
	}
}

func TestValidateTakesWhateverItIsGiven(t *testing.T) { rapid.Check(t, validateAnything) }

func FuzzValidate(f *testing.F) { f.Fuzz(rapid.MakeFuzz(validateAnything)) }

func validateAnything(t *rapid.T) {
	d := deployments().Draw(t, "deployment")
	before := clone(d)
	problems := spec.Validate(d)
	for _, p := range problems {
		if p.Field == "" || p.Message == "" || strings.HasPrefix(p.Field, ".") {
			t.Fatalf("problem %+v", p)
		}
	}
	if (problems.Err() == nil) != (len(problems) == 0) {
		t.Fatalf("error %v of %v", problems.Err(), problems)
	}
	if !reflect.DeepEqual(d, before) {
		t.Fatal("the argument was changed")
	}
}

// TestWhatIsValidStaysValidWhenNormalised: normalising must not break a rule.
func TestWhatIsValidStaysValidWhenNormalised(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := containers().Draw(t, "container")
		if p := spec.ValidateContainer("", c); p != nil {
			return
		}
		d := spec.Normalize(spec.Deployment{Workloads: []spec.Workload{{Container: c}}})
		if p := spec.ValidateContainer("", d.Workloads[0].Container); p != nil {
			t.Fatalf("normalising brought %v", p)
		}
	})
}
