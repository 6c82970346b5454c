package workload

import (
	"context"
	"time"

	"fairlead.dev/shared/spec"
)

const (
	// FailureLogLines is how many last lines of a log a failure card has.
	FailureLogLines = 50
	// MaxHookLogLines is the most lines that are told of one hook; what it writes
	// beyond that is in its own log alone.
	MaxHookLogLines = 2000

	// hookLogBatch is the most lines of one event, hookLogPause how long lines are
	// gathered for it.
	hookLogBatch = 100
	hookLogPause = 500 * time.Millisecond
	// hookLogPatience is how long the end of the log is waited for once the hook
	// has ended.
	hookLogPatience = 5 * time.Second
)

// HookLog is the log of a hook that is told as part of a story. The nil HookLog
// is of a hook that has written nothing.
type HookLog struct {
	cancel context.CancelFunc
	done   chan struct{}
	// last are the last lines; to be read when done is closed.
	last []string
}

// FollowHook tells what a workload's hook writes while it runs. Read hands the
// lines over, with those of before, until the log or its context ends; when it
// fails otherwise that is told.
func (s *Story) FollowHook(ctx context.Context, w spec.Workload, kind spec.HookKind, read func(ctx context.Context, line func(LogLine) error) error) *HookLog {
	ctx, cancel := context.WithCancel(ctx)
	l := &HookLog{cancel: cancel, done: make(chan struct{})}
	lines := make(chan string)
	go func() {
		defer close(lines)
		err := read(ctx, func(line LogLine) error {
			select {
			case lines <- line.Text:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		if err != nil && ctx.Err() == nil {
			s.Warn(w.InstanceID, "what the %s hook of %s writes cannot be told here: %v", kind, w.Name(), err)
		}
	}()
	go func() {
		defer close(l.done)
		l.tell(lines, string(kind)+": ", func(batch []string) {
			s.Tell(Event{Level: LevelInfo, InstanceID: w.InstanceID, Lines: batch})
		})
	}()
	return l
}

// End waits a while for what was written to be told, and returns its last lines,
// FailureLogLines at most. It may be called again.
func (l *HookLog) End() []string {
	if l == nil {
		return nil
	}
	late := time.AfterFunc(hookLogPatience, l.cancel)
	defer late.Stop()
	<-l.done
	l.cancel()
	return l.last
}

// tell gathers lines into batches, until there are no more.
func (l *HookLog) tell(lines <-chan string, prefix string, tell func(batch []string)) {
	var batch []string
	flush := func() {
		if len(batch) > 0 {
			tell(batch)
		}
		batch = nil
	}
	tick := time.NewTicker(hookLogPause)
	defer tick.Stop()
	for n := 0; ; {
		select {
		case line, more := <-lines:
			if !more {
				flush()
				return
			}
			l.last = append(l.last, line)
			l.last = l.last[max(0, len(l.last)-FailureLogLines):]
			switch n++; {
			case n < MaxHookLogLines:
				batch = append(batch, prefix+line)
			case n == MaxHookLogLines:
				batch = append(batch, prefix+"more is written than is told here; it is in the hook's own log")
			}
			if len(batch) >= hookLogBatch {
				flush()
			}
		case <-tick.C:
			flush()
		}
	}
}
