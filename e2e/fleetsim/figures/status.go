package figures

import (
	"context"
	"time"
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
		b.print("status_"+kind.name+"_ack_p99", ms(s.fleet.AckTimes.At(0.99)), "ms", ms(b.floor.reportAck))
	}
	if err := b.sustained(ctx); err != nil {
		return err
	}
	now, _, err = s.process().RSS()
	b.print("rss_per_agent_after_bursts", float64(now-s.base)/1024/n, "KiB", 0)
	b.profile(ctx, "heap", "warm-heap")
	return err
}

// rates are what agents report at a lasting rate, in reports a second.
func rates() []struct {
	name   string
	change bool
	rate   int
} {
	return []struct {
		name   string
		change bool
		rate   int
	}{{"changed", true, 2000}, {"unchanged", false, 7500}}
}

// sustained prints how long acknowledgements take while agents report at a rate
// that lasts, evenly spread. In the bursts above all agents report at the same
// moment, and the last of them waits for all others: there the time is the
// size of the fleet divided by the rate. The floor is given the same rates, and
// tells, with the longest time in which this process was not let run, what of
// it is the machine's.
func (b *bench) sustained(ctx context.Context) error {
	for _, kind := range rates() {
		took, err := b.product.takeSustained(ctx, min(kind.rate, b.Agents), kind.change)
		if err != nil {
			return err
		}
		floor := b.floor.sustained[kind.name]
		b.print("status_"+kind.name+"_sustained_reports", took.rate, "1/s", floor.rate)
		b.print("status_"+kind.name+"_sustained_cpu", took.cpu, "us/report", floor.cpu)
		b.print("status_"+kind.name+"_sustained_ack_p50", ms(took.p50), "ms", ms(floor.p50))
		b.print("status_"+kind.name+"_sustained_ack_p99", ms(took.p99), "ms", ms(floor.p99))
		b.print("status_"+kind.name+"_sustained_longest_pause_of_this_process", ms(took.pause), "ms", ms(floor.pause))
	}
	return nil
}

// lasting is how reports fare at a rate that lasts.
type lasting struct {
	rate, cpu       float64
	p50, p99, pause time.Duration
}

// takeFloorSustained takes the floor of all rates.
func (b *bench) takeFloorSustained(ctx context.Context) error {
	b.floor.sustained = map[string]lasting{}
	for _, kind := range rates() {
		took, err := b.floor.takeSustained(ctx, min(kind.rate, b.Agents), kind.change)
		if err != nil {
			return err
		}
		b.floor.sustained[kind.name] = took
	}
	return nil
}

// takeSustained has agents report at a rate and waits for the last answer.
func (s *side) takeSustained(ctx context.Context, rate int, change bool) (took lasting, err error) {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	longest := standstill(watching)
	s.fleet.AckTimes.Reset()
	cpu, err := s.process().CPU()
	if err != nil {
		return took, err
	}
	began := time.Now()
	before := s.fleet.Counts().ReportAcks
	if err := s.reportAt(ctx, rate, change, sustainFor); err != nil {
		return took, err
	}
	if err := s.acknowledged(ctx); err != nil {
		return took, err
	}
	acks := float64(s.fleet.Counts().ReportAcks - before)
	took.rate = acks / time.Since(began).Seconds()
	took.p50, took.p99, took.pause = s.fleet.AckTimes.At(0.5), s.fleet.AckTimes.At(0.99), longest()
	after, err := s.process().CPU()
	took.cpu = float64((after - cpu).Microseconds()) / acks
	return took, err
}

// sustainFor is how long a lasting rate of reports is kept up.
const sustainFor = 10 * time.Second

// reportAt makes agents report in turn, so many a second.
func (s *side) reportAt(ctx context.Context, rate int, change bool, d time.Duration) error {
	const step = 5 * time.Millisecond
	agents := s.fleet.Agents()
	tick := time.NewTicker(step)
	defer tick.Stop()
	began, next := time.Now(), 0
	for time.Since(began) < d {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		for due := int(time.Since(began).Seconds() * float64(rate)); next < due; next++ {
			agents[next%len(agents)].Report(change)
		}
	}
	return nil
}
