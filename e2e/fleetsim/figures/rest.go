package figures

import (
	"context"
	"errors"
)

func (b *bench) atRest(ctx context.Context) error {
	s := &b.product
	if err := s.takeRest(ctx); err != nil {
		return err
	}
	b.print("rss_per_agent_at_rest", s.rest, "KiB", b.floor.rest)
	b.print("stack_per_agent", s.stack, "KiB", b.floor.stack)
	b.print("heap_per_agent", s.heap, "KiB", b.floor.heap)
	b.print("goroutines_per_agent", s.goroutines, "goroutines", b.floor.goroutines)
	b.profile(ctx, "heap", "rest-heap")
	b.profile(ctx, "goroutine", "rest-goroutine")
	return nil
}

func (b *bench) beats(ctx context.Context) error {
	s := &b.product
	if err := b.postgres.Forget(ctx); err != nil {
		return err
	}
	before, err := b.postgres.Statements(ctx)
	if err != nil {
		return err
	}
	if err := s.takeBeats(ctx, b.Beats); err != nil {
		return err
	}
	after, err := b.postgres.Statements(ctx)
	if err != nil {
		return err
	}
	b.print("heartbeat_cpu_of_10000", s.beatCPU, "cores", b.floor.beatCPU)
	b.print("heartbeat_sql", float64(after-before)/b.Beats.Seconds(), "statements/s", 0)
	b.print("heartbeat_allocations", s.beatAllocs, "1/message", b.floor.beatAllocs)
	b.print("heartbeats", s.beatRate, "1/s", b.floor.beatRate)
	b.print("heartbeat_echo_p99", ms(s.fleet.EchoTimes.At(0.99)), "ms", 0)
	top, err := b.postgres.Top(ctx, 8)
	for _, line := range top {
		b.Log.Info("sql", "during", "heartbeats", "statement", line)
	}
	// The profile costs, so it comes after the figures.
	return errors.Join(err, b.during(ctx, "beats", func() error { return nil }))
}
