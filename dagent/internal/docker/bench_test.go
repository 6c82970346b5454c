package docker_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sync/errgroup"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/spec"
)

const (
	// pairs is how many times each side is measured, in turns.
	pairs = 8
	// rawParallel is the parallelism at which the engine makes and starts
	// containers quickest.
	rawParallel = 8
)

// What a release costs beyond the engine's own work: Apply of a first release
// beside creating, starting and inspecting the same containers by the engine's
// API, eight at a time. The wait for stability is left out; it is a choice and
// not a cost. Then the same release again, which changes nothing.
func BenchmarkApplyBesideRawEngine(b *testing.B) {
	for b.Loop() {
		for _, n := range []int{1, 10, 50} {
			var applied, raw, again, ratios []time.Duration
			for range max(pairs/n, 2) {
				first, second := timeApply(b, n)
				floor := timeRaw(b, n)
				applied, again, raw = append(applied, first), append(again, second), append(raw, floor)
				ratios = append(ratios, time.Duration(float64(first)/float64(floor)*1000))
			}
			ratio := float64(median(ratios)) / 1000
			b.ReportMetric(ratio, fmt.Sprintf("ratio-%d", n))
			figure(fmt.Sprintf("docker_apply_%d_workloads", n), median(applied), median(raw), ratio)
			figure(fmt.Sprintf("docker_apply_%d_unchanged", n), median(again), median(applied), float64(median(again))/float64(median(applied)))
		}
	}
}

func figure(name string, value, peer time.Duration, ratio float64) {
	fmt.Fprintf(os.Stdout, "figure: %s\t%.1f\tms\t%.1f\t%.2f\n", name, milliseconds(value), milliseconds(peer), ratio)
}

func timeApply(b *testing.B, n int) (first, again time.Duration) {
	b.Helper()
	s := newSite(b, docker.Options{StabilityWindow: time.Nanosecond, StopGrace: time.Second})
	var all []spec.Workload
	for i := range n {
		all = append(all, named(fmt.Sprintf("w%d", i)))
	}
	release := s.release(1, all...)
	began := time.Now()
	s.apply(release)
	first = time.Since(began)
	release.Release++
	began = time.Now()
	s.apply(release)
	again = time.Since(began)
	s.forget()
	return first, again
}

func timeRaw(b *testing.B, n int) time.Duration {
	b.Helper()
	engine, ctx := connect(b), b.Context()
	made := make([]string, n)
	defer func() {
		var group errgroup.Group
		group.SetLimit(rawParallel)
		for _, id := range made {
			group.Go(func() error {
				return engine.ContainerRemove(context.WithoutCancel(ctx), id, container.RemoveOptions{Force: true})
			})
		}
		if err := group.Wait(); err != nil {
			b.Errorf("clean up: %v", err)
		}
	}()
	prefix := "raw-t" + token()
	began := time.Now()
	var group errgroup.Group
	group.SetLimit(rawParallel)
	for i := range n {
		group.Go(func() error {
			c, err := engine.ContainerCreate(ctx, &container.Config{Image: programImage}, &container.HostConfig{}, nil, nil, fmt.Sprintf("%s-%d", prefix, i))
			if err != nil {
				return err
			}
			made[i] = c.ID
			if err := engine.ContainerStart(ctx, c.ID, container.StartOptions{}); err != nil {
				return err
			}
			_, err = engine.ContainerInspect(ctx, c.ID)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}

func median(list []time.Duration) time.Duration {
	slices.Sort(list)
	return (list[len(list)/2] + list[(len(list)-1)/2]) / 2
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
