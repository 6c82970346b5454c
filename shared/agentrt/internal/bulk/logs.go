package bulk

import (
	"context"
	"sync"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/backoff"
	"fairlead.dev/shared/workload"
)

const (
	// maxTail is how many lines of the past a stream begins with.
	maxTail = 10_000
	// maxBatchBytes and maxBatchLines end a batch of lines. Messages beyond
	// 32 KiB take 1 MiB each on their way through gRPC.
	maxBatchBytes = 24 << 10
	maxBatchLines = 512
	// After dropAllowance bytes were dropped the log is left alone for
	// dropPause, and for twice as long each time until something is read, up
	// to maxDropPause: dropping as fast as an engine can read would take a
	// processor for nothing.
	dropAllowance = 1 << 20
	dropPause     = 10 * time.Millisecond
	maxDropPause  = 500 * time.Millisecond
	// historyPatience is how long a line of the past waits for a reader that
	// does not read. Lines of the present do not wait.
	historyPatience = 5 * time.Second
)

// logs sends a container's log until it ends or nobody reads. Lines that come
// faster than they are read are dropped and counted: the engine is not held up.
func (c *Client) logs(ctx context.Context, ask *agentv1.FollowLogs, s *carry) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	waiting := newBuffer(c.lines)
	defer waiting.discard()
	id := workload.ContainerID{Prefix: ask.GetPrefix(), Name: ask.GetName()}
	opts := workload.LogOptions{Tail: int(min(max(ask.GetTail(), 0), maxTail)), Follow: ask.GetFollow()}
	if ask.GetSince() != nil {
		opts.Since = ask.GetSince().AsTime()
	}
	began := c.config.Now()

	var ended sync.WaitGroup
	defer ended.Wait()
	defer cancel()
	ended.Go(func() {
		patient, dropped, pause := true, 0, dropPause
		err := c.config.Driver.Logs(ctx, id, opts, func(l workload.LogLine) error {
			past := !ask.GetFollow() || l.Time.Before(began)
			if past && patient && !waiting.room(l) {
				patient = waiting.await(ctx, l, historyPatience)
			}
			if waiting.put(l) {
				pause = dropPause
			} else {
				dropped += sizeOf(l)
			}
			if dropped > dropAllowance {
				backoff.Sleep(ctx, pause)
				dropped, pause = 0, min(2*pause, maxDropPause)
			}
			return ctx.Err()
		})
		waiting.close(err)
	})
	for {
		batch, err := waiting.take(ctx)
		if batch == nil {
			return err
		}
		err = s.send(&agentv1.BulkUp{Body: &agentv1.BulkUp_Logs{Logs: batch}})
		waiting.sent()
		if err != nil {
			return err
		}
	}
}
