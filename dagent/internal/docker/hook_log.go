package docker

import (
	"context"
	"time"

	"github.com/docker/docker/api/types/container"

	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

const (
	// hookLogPause is how long lines are gathered for one event.
	hookLogPause = 500 * time.Millisecond
	// hookLogBatch is the most lines of one event, hookLogLines of one hook;
	// what it writes beyond that is in the container's log alone.
	hookLogBatch = 100
	hookLogLines = 2000
	// hookLogPatience is how long the end of the log is waited for once the hook
	// has ended.
	hookLogPatience = 5 * time.Second
)

// followHook tells what a hook writes while it runs. Of one that began before
// the last lines are told, which may have been already. The function it returns
// waits for what was written to be told.
func (a *applying) followHook(ctx context.Context, w spec.Workload, kind spec.HookKind, seen container.InspectResponse) (wait func()) {
	ctx, cancel := context.WithCancel(ctx)
	lines, done := make(chan string), make(chan struct{})
	go func() {
		defer close(lines)
		err := a.readLog(ctx, seen, workload.LogOptions{Tail: initLogLines, Follow: true}, func(l workload.LogLine) error {
			select {
			case lines <- l.Text:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		if err != nil && ctx.Err() == nil {
			a.story.Warn(w.InstanceID, "what the %s hook of %s writes cannot be told here: %v", kind, w.Name(), err)
		}
	}()
	go func() {
		defer close(done)
		a.tellLines(w, kind, lines)
	}()
	return func() {
		late := time.AfterFunc(hookLogPatience, cancel)
		<-done
		late.Stop()
		cancel()
	}
}

// tellLines gathers lines into events, until there are no more.
func (a *applying) tellLines(w spec.Workload, kind spec.HookKind, lines <-chan string) {
	var batch []string
	told := 0
	tell := func() {
		if len(batch) > 0 {
			a.story.Tell(workload.Event{Level: workload.LevelInfo, InstanceID: w.InstanceID, Lines: batch})
		}
		batch = nil
	}
	tick := time.NewTicker(hookLogPause)
	defer tick.Stop()
	for {
		select {
		case line, more := <-lines:
			if !more {
				tell()
				return
			}
			switch told++; {
			case told < hookLogLines:
				batch = append(batch, string(kind)+": "+line)
			case told == hookLogLines:
				batch = append(batch, string(kind)+": more is written than is told here; it is in the log of the hook's container")
			}
			if len(batch) >= hookLogBatch {
				tell()
			}
		case <-tick.C:
			tell()
		}
	}
}
