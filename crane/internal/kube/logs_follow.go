package kube

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

// lookForPods is how often who follows a log looks for pods that have come, which
// costs the API server nothing while the cluster is watched.
const lookForPods = time.Second

// following is a log of a workload that somebody reads as it is written. It moves
// on to pods that come: of the next release, of more replicas, in place of those
// of a node that was drained.
type following struct {
	*Driver
	id    workload.ContainerID
	opts  workload.LogOptions
	group *errgroup.Group

	// mu is held while a line is handed over.
	mu   sync.Mutex
	line func(workload.LogLine) error
	// logs are by the pod's id; taken are the containers that are or were read.
	logs  map[string]*podLog
	taken map[string]bool
	// open is how many are being read.
	open int
}

// followOn reads on where each log was read to, until ctx ends, or the workload
// is gone or has stopped.
func (d *Driver) followOn(ctx context.Context, id workload.ContainerID, logs []*podLog, opts workload.LogOptions, line func(workload.LogLine) error) error {
	group, within := errgroup.WithContext(ctx)
	f := &following{Driver: d, id: id, opts: opts, group: group, line: line, logs: map[string]*podLog{}, taken: map[string]bool{}}
	for _, l := range logs {
		f.take(within, l, opts.Tail != 0)
	}
	group.Go(func() error { return f.moveOn(within) })
	if err := group.Wait(); err != nil && ctx.Err() == nil {
		return err //nolint:wrapcheck // the caller's own, or wrapped below
	}
	return nil
}

// take reads a log: from where it was read to, or what comes from now on.
func (f *following) take(ctx context.Context, l *podLog, on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.logs[string(l.pod.UID)] = l
	f.taken[containerOf(l.pod)] = true
	f.open++
	pod, from, last, seen := l.pod, f.opts, l.last, l.count
	from.Tail = 0
	if on {
		from.Tail = -1
	}
	if seen > 0 {
		from.Since = last
	}
	f.group.Go(func() error {
		err := f.readLog(ctx, pod, options(from), from.Since, func(read workload.LogLine) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			if seen > 0 && read.Time.Equal(last) {
				seen--
				return nil
			}
			return l.hand(read, f.line)
		})
		f.mu.Lock()
		defer f.mu.Unlock()
		f.open--
		if apperr.Is(err, apperr.NotFound) || apperr.Is(err, apperr.Invalid) {
			return nil // it has gone, or is not there yet, and moveOn looks again
		}
		return err
	})
}

// moveOn looks for containers that nobody reads yet, as long as any may come.
func (f *following) moveOn(ctx context.Context) error {
	tick := time.NewTicker(lookForPods)
	defer tick.Stop()
	for {
		t, err := f.glance(ctx, f.id)
		switch {
		case apperr.Is(err, apperr.NotFound):
			return nil // what is still read ends with its pods
		case err != nil:
			return err
		}
		pods := t.pods()
		for _, l := range f.fresh(pods) {
			f.take(ctx, l, true)
		}
		if f.idle() && t.over(pods) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fresh are the logs of containers that are not read yet.
func (f *following) fresh(pods []*corev1.Pod) (found []*podLog) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, pod := range pods {
		if !started(pod) || f.taken[containerOf(pod)] {
			continue
		}
		l := f.logs[string(pod.UID)] // of a container that was started again
		if l == nil {
			l = &podLog{}
		}
		l.pod = pod
		found = append(found, l)
		if f.open == 0 && len(pods) == 1 {
			continue
		}
		l.prefix = pod.Name + " "
		for _, other := range f.logs {
			other.prefix = other.pod.Name + " "
		}
	}
	return found
}

func (f *following) idle() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open == 0
}

// containerOf is the id of the container that a pod's log is of.
func containerOf(pod *corev1.Pod) string {
	return pod.Status.ContainerStatuses[0].ContainerID
}

// over reports whether nothing more of a target will be written.
func (t target) over(pods []*corev1.Pod) bool {
	switch t.kind {
	case "Deployment":
		return ptr.Deref(t.world.deployment(t.namespace, t.name).Spec.Replicas, 1) == 0
	case "Job":
		for _, job := range t.world.jobs {
			if job.Namespace == t.namespace && job.Name == t.name {
				return hasEnded(job)
			}
		}
		return true
	default:
		return len(pods) == 0 || pods[0].Status.Phase == corev1.PodSucceeded || pods[0].Status.Phase == corev1.PodFailed
	}
}
