package spec_test

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"fairlead.dev/shared/spec"
)

func TestNormalizeIsIdempotentAndChangesACopy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := deployments().Draw(t, "deployment")
		before := clone(d)
		once := spec.Normalize(d)
		if !reflect.DeepEqual(d, before) {
			t.Fatal("the argument was changed")
		}
		if twice := spec.Normalize(once); !reflect.DeepEqual(twice, once) {
			t.Fatalf("twice %+v\nonce  %+v", twice, once)
		}
	})
}

func TestNormalizeFillsInTheDefaults(t *testing.T) {
	internal := spec.Port{Internal: 80}
	got := spec.Normalize(spec.Deployment{Workloads: []spec.Workload{{Container: spec.Container{
		Ports:      []spec.Port{internal, {Internal: 53, Protocol: "udp"}},
		PortRanges: []spec.PortRange{{}},
		Volumes:    []spec.Volume{{Name: "a"}, {Name: "b", Type: spec.VolumeMemory}},
		User:       ptr(int64(-1)),
		LogConfig:  &spec.LogConfig{Driver: spec.LogNodeDefault},
	}}}}).Workloads[0].Container

	for name, ok := range map[string]bool{
		"expose":             *got.Expose == spec.ExposeNone,
		"tty":                !*got.TTY,
		"replicas":           *got.Replicas == 1,
		"restartPolicy":      *got.RestartPolicy == spec.RestartUnlessStopped,
		"networkMode":        *got.NetworkMode == spec.NetworkBridge,
		"deploymentStrategy": *got.DeploymentStrategy == spec.StrategyRolling,
		"proxyHeaders":       !*got.ProxyHeaders,
		"useLoadBalancer":    !*got.UseLoadBalancer,
		"protocols":          got.Ports[0].Protocol == "tcp" && got.Ports[1].Protocol == "udp" && got.PortRanges[0].Protocol == "tcp",
		"volume types":       got.Volumes[0].Type == spec.VolumeReadWriteOnce && got.Volumes[1].Type == spec.VolumeMemory,
		"user":               got.User == nil,
		"logConfig":          got.LogConfig == nil,
	} {
		if !ok {
			t.Errorf("%s is not the default: %+v", name, got)
		}
	}
}

func TestNormalizeKeepsWhatWasSaid(t *testing.T) {
	said := spec.Container{
		Expose: ptr(spec.ExposePlain), TTY: ptr(true), Replicas: ptr(int32(0)), RestartPolicy: ptr(spec.RestartNo),
		NetworkMode: ptr(spec.NetworkHost), DeploymentStrategy: ptr(spec.StrategyRecreate), ProxyHeaders: ptr(true),
		UseLoadBalancer: ptr(true), User: ptr(int64(0)), LogConfig: &spec.LogConfig{Driver: "local"},
	}
	got := spec.Normalize(spec.Deployment{Workloads: []spec.Workload{{Container: said}}}).Workloads[0].Container
	if !reflect.DeepEqual(got, said) {
		t.Errorf("got %+v, want %+v", got, said)
	}
}

func ptr[T any](v T) *T { return &v }
