package kube

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

// maxLine is as much of a line as is kept together; longer ones come in parts.
const maxLine = 64 << 10

// Logs reads the logs of every pod of a workload: what is past in the order of
// time, as far as the cluster has each pod's own log in it, what follows as it
// comes, also of pods that come later. While there are several pods, and from
// then on, each line begins with its pod's name; the tail is that of each. Of a
// container that was started again its log before that is read too, as far back
// as the cluster keeps it. A cluster does not tell standard output and error
// apart: every line is of the first.
func (d *Driver) Logs(ctx context.Context, id workload.ContainerID, opts workload.LogOptions, line func(workload.LogLine) error) error {
	t, err := d.find(ctx, id)
	if err != nil {
		return err
	}
	if opts.Tail == 0 && !opts.Follow {
		return nil
	}
	pods := t.pods()
	if len(pods) == 1 && !restarted(pods[0]) && !opts.Follow {
		return d.readAll(ctx, podLog{pod: pods[0]}, opts, line)
	}
	logs := make([]*podLog, 0, len(pods))
	for _, pod := range pods {
		if !started(pod) {
			continue // one that has not begun yet keeps nobody from reading the others
		}
		l := &podLog{pod: pod}
		if len(pods) > 1 {
			l.prefix = pod.Name + " "
		}
		logs = append(logs, l)
	}
	if opts.Tail != 0 {
		if err := d.readPast(ctx, logs, opts, line); err != nil {
			return err
		}
	}
	if !opts.Follow {
		return nil
	}
	return d.followOn(ctx, id, logs, opts, line)
}

// podLog is the log of a pod and how far it was read.
type podLog struct {
	pod    *corev1.Pod
	prefix string
	// last is the time of the last line that was read, and count how many lines
	// are of that moment.
	last  time.Time
	count int
}

// readAll reads one log; that the reader is told to stop is no error.
func (d *Driver) readAll(ctx context.Context, l podLog, opts workload.LogOptions, line func(workload.LogLine) error) error {
	if err := d.readLog(ctx, l.pod, options(opts), opts.Since, line); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// started reports whether a pod's first container has ever run.
func started(pod *corev1.Pod) bool {
	if len(pod.Status.ContainerStatuses) == 0 {
		return false
	}
	s := pod.Status.ContainerStatuses[0]
	return s.State.Running != nil || endedBadly(s) != nil
}

// restarted reports whether there is a log of before a pod's first container was
// started again. While it waits to be, that is the one that is read anyway.
func restarted(pod *corev1.Pod) bool {
	if len(pod.Status.ContainerStatuses) == 0 {
		return false
	}
	s := pod.Status.ContainerStatuses[0]
	return s.LastTerminationState.Terminated != nil && s.State.Waiting == nil
}

// readPast reads what was written so far, the lines of all pods in the order of
// time. It holds a few lines of each pod.
func (d *Driver) readPast(ctx context.Context, logs []*podLog, opts workload.LogOptions, line func(workload.LogLine) error) error {
	group, within := errgroup.WithContext(ctx)
	lines := make([]chan workload.LogLine, len(logs))
	for i, l := range logs {
		lines[i] = make(chan workload.LogLine, 4)
		group.Go(func() error {
			defer close(lines[i])
			return d.readPastOf(within, l.pod, opts, func(read workload.LogLine) error {
				select {
				case lines[i] <- read:
					return nil
				case <-within.Done():
					return within.Err()
				}
			})
		})
	}
	group.Go(func() error { return merge(logs, lines, line) })
	if err := group.Wait(); err != nil && ctx.Err() == nil {
		return err //nolint:wrapcheck // the caller's own, or wrapped below
	}
	return nil
}

// merge hands lines over in the order of time, until all logs have ended.
func merge(logs []*podLog, lines []chan workload.LogLine, line func(workload.LogLine) error) error {
	heads := make([]workload.LogLine, len(logs))
	open := make([]bool, len(logs))
	for i := range logs {
		heads[i], open[i] = <-lines[i]
	}
	for {
		next := -1
		for i := range logs {
			if open[i] && (next < 0 || heads[i].Time.Before(heads[next].Time)) {
				next = i
			}
		}
		if next < 0 {
			return nil
		}
		if err := logs[next].hand(heads[next], line); err != nil {
			return err
		}
		heads[next], open[next] = <-lines[next]
	}
}

// hand hands a line over and notes how far the log was read.
func (l *podLog) hand(read workload.LogLine, line func(workload.LogLine) error) error {
	if !read.Time.Equal(l.last) {
		l.last, l.count = read.Time, 0
	}
	l.count++
	read.Text = l.prefix + read.Text
	return line(read)
}

// readPastOf reads the log of a pod: first that of before its container was
// started again, as much of it as the tail has room for.
func (d *Driver) readPastOf(ctx context.Context, pod *corev1.Pod, opts workload.LogOptions, line func(workload.LogLine) error) error {
	opts.Follow = false
	if restarted(pod) {
		before := opts
		if opts.Tail > 0 {
			err := d.readLog(ctx, pod, options(opts), opts.Since, func(workload.LogLine) error {
				before.Tail--
				return nil
			})
			if err != nil {
				return err
			}
		}
		if before.Tail != 0 {
			asked := options(before)
			asked.Previous = true
			// The cluster may have dropped it by now.
			if err := d.readLog(ctx, pod, asked, opts.Since, line); err != nil && !apperr.Is(err, apperr.NotFound) && !apperr.Is(err, apperr.Invalid) {
				return err
			}
		}
	}
	return d.readLog(ctx, pod, options(opts), opts.Since, line)
}

// pods are those of what a command acts on.
func (t target) pods() []*corev1.Pod {
	switch t.kind {
	case "Deployment":
		if set := t.world.current(t.world.deployment(t.namespace, t.name)); set != nil {
			return t.world.podsOf(set)
		}
	case "Job":
		for _, job := range t.world.jobs {
			if job.Name == t.name && job.Namespace == t.namespace {
				return t.world.podsOf(job)
			}
		}
	default:
		for _, pod := range t.world.pods {
			if pod.Name == t.name && pod.Namespace == t.namespace {
				return []*corev1.Pod{pod}
			}
		}
	}
	return nil
}

// options ask for a part of a log.
func options(opts workload.LogOptions) *corev1.PodLogOptions {
	asked := &corev1.PodLogOptions{Timestamps: true, Follow: opts.Follow}
	if opts.Tail >= 0 {
		tail := int64(opts.Tail)
		asked.TailLines = &tail
	}
	if !opts.Since.IsZero() {
		since := metav1.NewTime(opts.Since)
		asked.SinceTime = &since
	}
	return asked
}

func (d *Driver) readLog(ctx context.Context, pod *corev1.Pod, asked *corev1.PodLogOptions, since time.Time, line func(workload.LogLine) error) error {
	asked.Container = pod.Spec.Containers[0].Name
	stream, err := d.client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, asked).Stream(ctx)
	if err != nil {
		return clusterError(err, "read the log of pod %s", pod.Name)
	}
	defer func() { _ = stream.Close() }()
	reader := bufio.NewReaderSize(stream, maxLine)
	for {
		text, err := reader.ReadSlice('\n')
		if len(text) > 0 {
			l := parseLine(string(text))
			if l.Time.Before(since) { // the server knows whole seconds only
				continue
			}
			if err := line(l); err != nil {
				return err
			}
		}
		switch {
		case err == nil, errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return nil
		default:
			return fmt.Errorf("read the log of pod %s: %w", pod.Name, err)
		}
	}
}

// parseLine takes the time off the beginning of a line.
func parseLine(text string) workload.LogLine {
	l := workload.LogLine{Stream: workload.StreamStdout, Text: strings.TrimRight(text, "\r\n")}
	stamp, rest, found := strings.Cut(l.Text, " ")
	if at, err := time.Parse(time.RFC3339Nano, stamp); err == nil && found {
		l.Time, l.Text = at, rest
	}
	return l
}
