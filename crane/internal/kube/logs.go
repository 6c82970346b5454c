package kube

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/shared/workload"
)

// maxLine is as much of a line as is kept together; longer ones come in parts.
const maxLine = 64 << 10

// Logs reads the logs of every pod of a workload. Lines of one pod keep their
// order; with several pods each line begins with its pod's name. A cluster does
// not tell standard output and error apart: every line is of the first.
func (d *Driver) Logs(ctx context.Context, id workload.ContainerID, opts workload.LogOptions, line func(workload.LogLine) error) error {
	t, err := d.find(ctx, id)
	if err != nil {
		return err
	}
	if opts.Tail == 0 && !opts.Follow {
		return nil
	}
	pods := t.pods()
	var mu sync.Mutex
	group, within := errgroup.WithContext(ctx)
	for _, pod := range pods {
		group.Go(func() error {
			return d.readLog(within, pod, opts, func(l workload.LogLine) error {
				if len(pods) > 1 {
					l.Text = pod.Name + " " + l.Text
				}
				mu.Lock()
				defer mu.Unlock()
				return line(l)
			})
		})
	}
	if err := group.Wait(); err != nil && ctx.Err() == nil {
		return err //nolint:wrapcheck // the caller's own, or wrapped below
	}
	return nil
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

func (d *Driver) readLog(ctx context.Context, pod *corev1.Pod, opts workload.LogOptions, line func(workload.LogLine) error) error {
	asked := &corev1.PodLogOptions{Timestamps: true, Follow: opts.Follow, Container: pod.Spec.Containers[0].Name}
	if opts.Tail >= 0 {
		tail := int64(opts.Tail)
		asked.TailLines = &tail
	}
	if !opts.Since.IsZero() {
		since := metav1.NewTime(opts.Since)
		asked.SinceTime = &since
	}
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
			if l.Time.Before(opts.Since) { // the server knows whole seconds only
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
