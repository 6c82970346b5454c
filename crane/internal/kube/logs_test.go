//go:build linux

package kube_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

func TestLogsOfReplicasAreOneInTheOrderOfTime(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const prefix = "merged"
	if err := s.Apply(t.Context(), release(prefix, 1, func(c *spec.Container) { c.Replicas = new(int32(2)) }), silence()); err != nil {
		t.Fatal(err)
	}
	web := workload.ContainerID{Prefix: prefix, Name: "web"}
	eventually(t, func() error {
		lines := strings.Count(s.said(t, prefix), "\n")
		if lines != 6 {
			return fmt.Errorf("%d lines, want three of each pod", lines)
		}
		return nil
	})
	pods := map[string]int{}
	var last workload.LogLine
	var lastPod string
	err := s.Logs(t.Context(), web, workload.LogOptions{Tail: -1}, func(l workload.LogLine) error {
		pod, _, _ := strings.Cut(l.Text, " ")
		pods[pod]++
		// In the log of one pod the cluster may have the streams a little out of order.
		if pod != lastPod && l.Time.Before(last.Time) {
			t.Errorf("%q of %s comes after %q of %s", l.Text, l.Time, last.Text, last.Time)
		}
		last, lastPod = l, pod
		return nil
	})
	if err != nil || len(pods) != 2 {
		t.Fatalf("lines by pod: %v, %v, want some of two", pods, err)
	}
	for pod, lines := range pods {
		if !strings.HasPrefix(pod, "web-") || lines != 3 {
			t.Errorf("%d lines of %q, want 3 of a pod", lines, pod)
		}
	}

	// Who follows is told the tail of each first.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	seen := 0
	if err := s.Logs(ctx, web, workload.LogOptions{Tail: 1, Follow: true}, func(workload.LogLine) error {
		if seen++; seen == 2 {
			cancel()
		}
		return nil
	}); err != nil || seen != 2 {
		t.Errorf("following with a tail of 1 told %d lines, %v, want one of each pod", seen, err)
	}
}

func TestLogsOfBeforeARestartAreRead(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const prefix = "previous"
	if err := s.Apply(t.Context(), release(prefix, 1, func(*spec.Container) {}), silence()); err != nil {
		t.Fatal(err)
	}
	web := workload.ContainerID{Prefix: prefix, Name: "web"}
	// The process that ends takes the command with it.
	_, execErr := s.Exec(t.Context(), web, workload.ExecOptions{Command: []string{"/program", "end"}}, workload.ExecStreams{
		Output: func(string, []byte) error { return nil },
	})
	var seen []workload.Container
	err := wait.PollUntilContextTimeout(t.Context(), 250*time.Millisecond, 2*time.Minute, true, func(ctx context.Context) (bool, error) {
		all, err := s.List(ctx)
		seen = slices.DeleteFunc(all, func(c workload.Container) bool { return c.ID != web })
		return err == nil && len(seen) == 1 && seen[0].RestartCount > 0 && seen[0].State == spec.StateRunning && !seen[0].FinishedAt.IsZero(), err
	})
	if err != nil {
		t.Fatalf("the container was not started again: %v (exec: %v), seen %+v", err, execErr, seen)
	}
	read := func(tail int) (lines []string) {
		t.Helper()
		if err := s.Logs(t.Context(), web, workload.LogOptions{Tail: tail}, func(l workload.LogLine) error {
			lines = append(lines, l.Text)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return lines
	}
	// Its three lines may take a moment.
	err = wait.PollUntilContextTimeout(t.Context(), 250*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		return len(read(-1)) == 6, nil
	})
	if err != nil {
		t.Fatalf("the whole log is %q, want what both runs said", read(-1))
	}
	// Each run says three lines, on two outputs, whose order the cluster does not
	// keep.
	said := []string{"hello ", "ready", "warming up"}
	if lines := read(4); len(lines) != 4 || !slices.Equal(slices.Sorted(slices.Values(lines[1:])), said) || !slices.Contains(said, lines[0]) {
		t.Errorf("the last 4 lines are %q, want one of before and the 3 of now", lines)
	}
	if lines := read(2); len(lines) != 2 {
		t.Errorf("the last 2 lines are %q", lines)
	}
}

func TestAFollowedLogMovesOnToThePodsOfTheNextRelease(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const prefix = "followed"
	greet := func(number int64, name string) {
		t.Helper()
		if err := s.Apply(t.Context(), release(prefix, number, func(c *spec.Container) {
			c.Environment = []spec.KeyValue{{Key: "GREETING", Value: name}}
		}), silence()); err != nil {
			t.Fatal(err)
		}
	}
	greet(1, "one")
	web := workload.ContainerID{Prefix: prefix, Name: "web"}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	lines, ended := make(chan string, 100), make(chan error, 1)
	go func() {
		ended <- s.Logs(ctx, web, workload.LogOptions{Tail: -1, Follow: true}, func(l workload.LogLine) error {
			lines <- l.Text
			return nil
		})
	}()
	var seen []string
	await := func(count int, of string) {
		t.Helper()
		for {
			n := 0
			for _, line := range seen {
				if strings.HasSuffix(line, of) {
					n++
				}
			}
			if n == count {
				return
			}
			select {
			case line := <-lines:
				seen = append(seen, line)
			case err := <-ended:
				t.Fatalf("the log ended: %v; it said %q", err, seen)
			}
		}
	}
	await(1, "ready")
	greet(2, "two")
	await(2, "ready")
	await(1, "hello two")
	if err := s.Stop(t.Context(), web); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil || ctx.Err() != nil {
		t.Errorf("the log of a workload that was stopped ends with %v (%v)", err, ctx.Err())
	}
	for close(lines); ; {
		line, more := <-lines
		if !more {
			break
		}
		seen = append(seen, line)
	}
	if strings.Count(strings.Join(seen, "\n"), "hello") != 2 {
		t.Errorf("the log is %q, want each line once", seen)
	}
}
