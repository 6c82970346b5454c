package figures

import (
	"context"
)

func (b *bench) status(ctx context.Context) error {
	s := &b.product
	s.fleet.AckTimes.Reset()
	err := b.during(ctx, "resync", func() error {
		for _, a := range s.fleet.Agents() {
			a.SetForeign(containers)
		}
		return s.acknowledged(ctx)
	})
	if err != nil {
		return err
	}
	// As in an installation that has been up for a while: statements are planned
	// with what the tables hold, and not with what they held when empty.
	if err := b.analyze(ctx); err != nil {
		return err
	}
	n := s.agents()
	b.print("status_resync_workloads", n*containers, "containers", 0)
	b.print("status_resync", s.fleet.AckTimes.At(1).Seconds(), "s", 0)
	b.print("status_resync_ack_p99", ms(s.fleet.AckTimes.At(0.99)), "ms", 0)
	if err := s.takeWarm(ctx); err != nil {
		return err
	}
	b.print("rss_per_agent_warm", s.warm, "KiB", b.floor.warm)
	now, _, err := s.process().RSS()
	if err != nil {
		return err
	}
	b.print("rss_all_warm", float64(now)/(1<<20), "MiB", 0)
	for _, kind := range []struct {
		name   string
		change bool
		rounds int
	}{{"changed", true, 5}, {"unchanged", false, 10}} {
		if err := b.postgres.Forget(ctx); err != nil {
			return err
		}
		s.fleet.AckTimes.Reset()
		postgres, err := b.postgres.CPU()
		if err != nil {
			return err
		}
		err = b.during(ctx, "status-"+kind.name, func() error { return s.reports(ctx, kind.rounds, kind.change) })
		if err != nil {
			return err
		}
		statements, err := b.postgres.Statements(ctx)
		if err != nil {
			return err
		}
		spent, err := b.postgres.CPU()
		if err != nil {
			return err
		}
		reports := n * float64(kind.rounds)
		b.print("status_"+kind.name+"_reports", s.reportRate, "1/s", b.floor.reportRate)
		b.print("status_"+kind.name+"_cpu", s.reportCPU, "us/report", b.floor.reportCPU)
		b.print("status_"+kind.name+"_postgresql_cpu", float64((spent-postgres).Microseconds())/reports, "us/report", 0)
		b.print("status_"+kind.name+"_containers", s.reportRate*containers, "1/s", 0)
		b.print("status_"+kind.name+"_sql", float64(statements)/reports, "statements/report", 0)
		b.print("status_"+kind.name+"_ack_p99", ms(s.fleet.AckTimes.At(0.99)), "ms", 0)
	}
	now, _, err = s.process().RSS()
	b.print("rss_per_agent_after_bursts", float64(now-s.base)/1024/n, "KiB", 0)
	b.profile(ctx, "heap", "warm-heap")
	return err
}
