package docker_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"fairlead.dev/dagent/internal/docker"
)

// pairs is how many times each side is measured, in turns.
const pairs = 10

// What a release costs beyond the engine's own work: Apply of a first release
// of one workload beside creating, starting and inspecting the same container
// by the engine's API. The wait for stability is left out; it is a choice and
// not a cost.
func BenchmarkApplyBesideRawEngine(b *testing.B) {
	for b.Loop() {
		var applied, raw []time.Duration
		for range pairs {
			applied = append(applied, timeApply(b))
			raw = append(raw, timeRaw(b))
		}
		value, floor := median(applied), median(raw)
		ratio := float64(value) / float64(floor)
		b.ReportMetric(ratio, "ratio")
		fmt.Fprintf(os.Stdout, "figure: docker_apply_one_workload\t%.1f\tms\t%.1f\t%.2f\n", milliseconds(value), milliseconds(floor), ratio)
	}
}

func timeApply(b *testing.B) time.Duration {
	b.Helper()
	s := newSite(b, docker.Options{StabilityWindow: time.Nanosecond, StopGrace: time.Second})
	release := s.release(1, web())
	began := time.Now()
	s.apply(release)
	took := time.Since(began)
	s.forget()
	return took
}

func timeRaw(b *testing.B) time.Duration {
	b.Helper()
	engine, ctx := connect(b), b.Context()
	began := time.Now()
	made, err := engine.ContainerCreate(ctx, &container.Config{Image: programImage}, &container.HostConfig{}, nil, nil, "raw-t"+token())
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		err := engine.ContainerRemove(context.WithoutCancel(ctx), made.ID, container.RemoveOptions{Force: true})
		if err != nil {
			b.Errorf("clean up: %v", err)
		}
	}()
	if err := engine.ContainerStart(ctx, made.ID, container.StartOptions{}); err != nil {
		b.Fatal(err)
	}
	if _, err := engine.ContainerInspect(ctx, made.ID); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}

func median(list []time.Duration) time.Duration {
	slices.Sort(list)
	return (list[len(list)/2] + list[(len(list)-1)/2]) / 2
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
