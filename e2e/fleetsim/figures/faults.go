package figures

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"fairlead.dev/e2e/fleetsim"
	"fairlead.dev/e2e/fleetsim/faultnet"
)

const (
	lossRate   = 0.05
	lossJitter = 200 * time.Millisecond
	// victims are how many agents are killed and frozen.
	victims = 100
)

// lost kills some agents and freezes others, and waits for the API to say that
// they are lost.
func (b *bench) lost(ctx context.Context) error {
	random := rand.New(rand.NewPCG(b.Seed, 2)) //nolint:gosec // repeatable, not secret
	agents := b.product.fleet.Agents()
	for _, c := range []struct {
		name      string
		end, mend func(a *fleetsim.Agent)
	}{
		{"killed", (*fleetsim.Agent).Kill, func(a *fleetsim.Agent) { a.Start(ctx) }},
		{"frozen", func(a *fleetsim.Agent) { a.Freeze(true) }, func(a *fleetsim.Agent) { a.Freeze(false) }},
	} {
		chosen := random.Perm(len(agents))[:min(victims, len(agents)/10)]
		began := time.Now()
		waiting := map[string]bool{}
		for _, i := range chosen {
			c.end(agents[i])
			waiting[agents[i].NodeID()] = true
		}
		var unseen, seen fleetsim.Times
		unseen.Reset()
		seen.Reset()
		noticed, gone, wrong := map[string]bool{}, map[string]bool{}, map[string]bool{}
		err := within(ctx, 3*time.Minute, func(ctx context.Context) error {
			for len(gone) < len(waiting) {
				_, words, err := b.world.liveness(ctx)
				if err != nil {
					return err
				}
				for node, word := range words {
					if !waiting[node] {
						wrong[node] = wrong[node] || word == "lost"
						continue
					}
					if word != "connected" && !noticed[node] {
						noticed[node] = true
						unseen.Add(time.Since(began))
					}
					if word == "lost" && !gone[node] {
						gone[node] = true
						seen.Add(time.Since(began))
					}
				}
				if err := pause(ctx, 250*time.Millisecond); err != nil {
					return fmt.Errorf("%d of %d are lost: %w", len(gone), len(waiting), err)
				}
			}
			return nil
		})
		for _, i := range chosen {
			c.mend(agents[i])
		}
		if err != nil {
			return err
		}
		b.print(c.name+"_agent_unreachable", unseen.At(1).Seconds(), "s", 0)
		b.print(c.name+"_agent_lost", seen.At(1).Seconds(), "s", 0)
		b.print(c.name+"_others_lost", count(wrong), "agents", 0)
		if err := b.product.allBack(ctx); err != nil {
			return err
		}
	}
	return nil
}

// storm kills the controller under the fleet.
func (b *bench) storm(ctx context.Context) error {
	s, most := &b.product, 0
	if err := pause(ctx, settle); err != nil {
		return err
	}
	err := s.takeStorm(ctx, func(over <-chan struct{}) {
		for {
			counts, _, err := b.world.liveness(ctx)
			if err == nil {
				most = max(most, counts["lost"])
			}
			b.Log.Info("storm", "liveness", counts, "fleet", s.fleet.Counts(), "error", err)
			select {
			case <-over:
				return
			case <-time.After(2 * time.Second):
			}
		}
	})
	if err != nil {
		return err
	}
	b.print("controller_killed_all_back", s.storm, "s", b.floor.storm)
	b.print("controller_killed_back_p50", s.fleet.BackTimes.At(0.5).Seconds(), "s", 0)
	b.print("controller_killed_peak_rss", s.stormPeak, "x before", b.floor.stormPeak)
	b.print("controller_killed_attempts", s.attempts, "1/agent", b.floor.attempts)
	b.print("controller_killed_marked_lost", float64(most), "agents", 0)
	return nil
}

// loss puts every agent behind a network that loses and delays, and counts who
// is thought to be away though nobody is.
func (b *bench) loss(ctx context.Context) error {
	s := &b.product
	agents := s.fleet.Agents()
	for i, a := range agents {
		line := faultnet.NewLine(b.Seed + uint64(i))
		line.Set(faultnet.Lossy(lossRate, lossJitter))
		a.SetLine(line)
	}
	// Through the line from the next connection on: a part at a time.
	for i := 0; i < len(agents); i += 500 {
		for _, a := range agents[i:min(len(agents), i+500)] {
			a.Kill()
			a.Start(ctx)
		}
		if err := s.allBack(ctx); err != nil {
			return err
		}
	}
	if err := pause(ctx, 2*heartbeat); err != nil {
		return err
	}
	before := s.fleet.Counts()
	s.fleet.EchoTimes.Reset()
	away, lost := map[string]bool{}, map[string]bool{}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	longest := standstill(watching)
	began := time.Now()
	for time.Since(began) < b.Loss {
		_, words, err := b.world.liveness(ctx)
		if err != nil {
			return err
		}
		for node, word := range words {
			if word != "connected" && word != "left" {
				if !away[node] {
					b.Log.Warn("thought away", "node", node, "word", word, "after", time.Since(began), "longest own pause", longest())
				}
				away[node] = true
			}
			if word == "lost" {
				lost[node] = true
			}
		}
		if err := pause(ctx, 2*time.Second); err != nil {
			return err
		}
	}
	after := s.fleet.Counts()
	b.print("lossy_network_minutes", b.Loss.Minutes(), "min", 0)
	b.print("lossy_network_thought_away", float64(len(away)), "agents", 0)
	b.print("lossy_network_marked_lost", float64(len(lost)), "agents", 0)
	b.print("lossy_network_reconnects", float64(after.Attempts-before.Attempts), "sessions", 0)
	b.print("lossy_network_echo_p99", ms(s.fleet.EchoTimes.At(0.99)), "ms", 0)
	b.print("lossy_network_longest_pause_of_this_process", ms(longest()), "ms", 0)
	for _, a := range agents {
		a.Line().Heal()
	}
	return nil
}

// standstill watches, until ctx ends, for how long this process was not let run,
// and returns what tells the longest. The fleet is in this process: what it does
// not send for that reason is no fault of the network or the controller.
func standstill(ctx context.Context) (longest func() time.Duration) {
	const step = 50 * time.Millisecond
	var most atomic.Int64
	go func() {
		tick := time.NewTicker(step)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				now := time.Now()
				most.Store(max(most.Load(), int64(now.Sub(last)-step)))
				last = now
			}
		}
	}()
	return func() time.Duration { return time.Duration(most.Load()) }
}

func count(set map[string]bool) (n float64) {
	for _, in := range set {
		if in {
			n++
		}
	}
	return n
}
