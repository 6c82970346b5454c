package kube

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

const (
	// hookLogPause is how long lines are gathered for one event.
	hookLogPause = 500 * time.Millisecond
	// hookLogBatch is the most lines of one event, hookLogLines of one hook;
	// what it writes beyond that is in its pod's log alone.
	hookLogBatch = 100
	hookLogLines = 2000
	// hookLogPatience is how long the end of the log is waited for once the hook
	// has ended.
	hookLogPatience = 5 * time.Second
)

// told tells what a hook writes while it runs.
type told struct {
	*applying
	workload spec.Workload
	kind     spec.HookKind
	cancel   context.CancelFunc
	done     chan struct{}
	// last are the last lines; to be read after end.
	last []string
}

// follow begins with the log of a pod as soon as there can be one.
func (t *told) follow(ctx context.Context, pod *corev1.Pod) {
	if t.done != nil || !runs(pod) && exitCode(pod) == nil {
		return
	}
	ctx, t.cancel = context.WithCancel(ctx)
	t.done = make(chan struct{})
	lines := make(chan string)
	go func() {
		defer close(lines)
		asked := options(workload.LogOptions{Tail: hookLogLines, Follow: true})
		err := t.readLog(ctx, pod, asked, time.Time{}, func(l workload.LogLine) error {
			select {
			case lines <- l.Text:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		if err != nil && ctx.Err() == nil {
			t.story.Warn(t.workload.InstanceID, "what the %s hook of %s writes cannot be told here: %v", t.kind, t.workload.Name(), err)
		}
	}()
	go func() {
		defer close(t.done)
		t.tell(lines)
	}()
}

// end waits for what was written to be told.
func (t *told) end() {
	if t.done == nil {
		return
	}
	late := time.AfterFunc(hookLogPatience, t.cancel)
	<-t.done
	late.Stop()
	t.cancel()
}

// tell gathers lines into events, until there are no more.
func (t *told) tell(lines <-chan string) {
	var batch []string
	n := 0
	flush := func() {
		if len(batch) > 0 {
			t.story.Tell(workload.Event{Level: workload.LevelInfo, InstanceID: t.workload.InstanceID, Lines: batch})
		}
		batch = nil
	}
	tick := time.NewTicker(hookLogPause)
	defer tick.Stop()
	for {
		select {
		case line, more := <-lines:
			if !more {
				flush()
				return
			}
			t.last = append(t.last, line)
			t.last = t.last[max(0, len(t.last)-failureLogLines):]
			switch n++; {
			case n < hookLogLines:
				batch = append(batch, string(t.kind)+": "+line)
			case n == hookLogLines:
				batch = append(batch, string(t.kind)+": more is written than is told here; it is in the log of the hook's pod")
			}
			if len(batch) >= hookLogBatch {
				flush()
			}
		case <-tick.C:
			flush()
		}
	}
}
