package figures

import (
	"context"
	"runtime/debug"
	"time"

	"fairlead.dev/e2e/fleetsim"
	"fairlead.dev/e2e/fleetsim/rig"
)

// measureFloor takes every figure that a controller without a memory can have.
func (b *bench) measureFloor(ctx context.Context) error {
	if !b.wanted("floor") {
		return nil
	}
	floor, err := rig.NewFloor(ctx, b.Self, b.Dir, heartbeat)
	if err != nil {
		return err
	}
	defer func() { _ = floor.Stop() }()
	s := &b.floor
	*s = side{name: "floor", log: b.Log, process: func() *rig.Process { return floor.Process }, launch: floor.Launch, ready: floor.Ready}
	config := fleetsim.Config{Controller: floor.Agents, Pin: floor.Pin, Seed: b.Seed, Log: b.Log, Heartbeat: b.beat(), Gather: gather}
	b.Log.Info("measuring the floor")
	tokens := make([]fleetsim.Token, b.Agents+warmUp)
	if err := s.warmUp(ctx, config, tokens[:warmUp]); err != nil {
		return err
	}
	if err := s.enrol(ctx, config, tokens[warmUp:]); err != nil {
		return err
	}
	defer s.fleet.Close()
	steps := []func(context.Context) error{s.connectAll, s.takeRest}
	if b.wanted("beats") {
		steps = append(steps, func(ctx context.Context) error { return s.takeBeats(ctx, b.Beats) })
	}
	if b.wanted("status") {
		steps = append(steps, s.takeWarm, func(ctx context.Context) error {
			s.fleet.AckTimes.Reset()
			err := s.reports(ctx, 10, true)
			s.reportAck = s.fleet.AckTimes.At(0.99)
			return err
		}, b.takeFloorSustained)
	}
	if b.wanted("revision") {
		steps = append(steps, func(ctx context.Context) error { return s.takeRevision(ctx, floor.Revise) })
	}
	if b.wanted("storm") {
		steps = append(steps, func(ctx context.Context) error { return s.takeStorm(ctx, nil) })
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	debug.FreeOSMemory()
	return nil
}

// warmUp lets some agents come and go, and takes what the process then holds.
func (s *side) warmUp(ctx context.Context, config fleetsim.Config, tokens []fleetsim.Token) error {
	fleet, err := fleetsim.New(config)
	if err != nil {
		return err
	}
	if err := fleet.Enrol(ctx, tokens, parallel); err != nil {
		return err
	}
	fleet.Start(ctx)
	err = within(ctx, time.Minute, func(ctx context.Context) error {
		return fleet.Await(ctx, "the first agents", func(c fleetsim.Counts) bool { return c.Echoed == len(tokens) })
	})
	fleet.Close()
	if err != nil {
		return err
	}
	if err := pause(ctx, settle); err != nil {
		return err
	}
	s.base, err = s.collected(ctx)
	return err
}

// collected returns the process's memory after a collection.
func (s *side) collected(ctx context.Context) (int64, error) {
	for range 2 { // the second frees what the first finalized
		if _, err := s.process().Memory(ctx, true); err != nil {
			return 0, err
		}
	}
	now, _, err := s.process().RSS()
	return now, err
}

func (s *side) enrol(ctx context.Context, config fleetsim.Config, tokens []fleetsim.Token) (err error) {
	if s.fleet, err = fleetsim.New(config); err != nil {
		return err
	}
	began := time.Now()
	if err := s.fleet.Enrol(ctx, tokens, parallel); err != nil {
		return err
	}
	s.enrolRate = float64(len(tokens)) / time.Since(began).Seconds()
	return nil
}

// connectAll starts every agent at once.
func (s *side) connectAll(ctx context.Context) error {
	before, err := s.process().CPU()
	if err != nil {
		return err
	}
	began := time.Now()
	s.fleet.Start(ctx)
	if err := s.allBack(ctx); err != nil {
		return err
	}
	s.connect = time.Since(began).Seconds()
	s.log.Info("connected", "side", s.name, "fleet", s.fleet.Counts())
	after, err := s.process().CPU()
	s.connectCPU = (after - before).Seconds()
	return err
}

func (s *side) allBack(ctx context.Context) error {
	return within(ctx, 10*time.Minute, func(ctx context.Context) error {
		return s.fleet.Await(ctx, "every agent's echo", func(c fleetsim.Counts) bool { return c.Echoed == c.Agents })
	})
}

func (s *side) agents() float64 { return float64(s.fleet.Counts().Agents) }

// takeRest takes the memory and goroutines of an agent that says nothing.
func (s *side) takeRest(ctx context.Context) error {
	if err := pause(ctx, settle); err != nil {
		return err
	}
	now, err := s.collected(ctx)
	if err != nil {
		return err
	}
	m, err := s.process().Memory(ctx, false)
	s.rest = float64(now-s.base) / 1024 / s.agents()
	s.goroutines = float64(m.Goroutines) / s.agents()
	s.heap, s.stack = float64(m.HeapAlloc)/1024/s.agents(), float64(m.StackInUse)/1024/s.agents()
	return err
}

// takeWarm takes the memory as it is, without a collection, once every agent
// has reported its containers twice and three heartbeats have gone by.
func (s *side) takeWarm(ctx context.Context) error {
	for _, a := range s.fleet.Agents() {
		a.SetForeign(containers)
	}
	if err := s.acknowledged(ctx); err != nil {
		return err
	}
	for _, a := range s.fleet.Agents() {
		a.Report(true)
	}
	if err := s.acknowledged(ctx); err != nil {
		return err
	}
	if err := pause(ctx, 3*heartbeat); err != nil {
		return err
	}
	now, _, err := s.process().RSS()
	s.warm = float64(now-s.base) / 1024 / s.agents()
	return err
}

// takeBeats takes the processor time of heartbeats, in cores, and the
// allocations of one.
func (s *side) takeBeats(ctx context.Context, d time.Duration) error {
	m0, err := s.process().Memory(ctx, false)
	if err != nil {
		return err
	}
	before, err := s.process().CPU()
	if err != nil {
		return err
	}
	c0, began := s.fleet.Counts(), time.Now()
	s.fleet.EchoTimes.Reset()
	if err := pause(ctx, d); err != nil {
		return err
	}
	after, err := s.process().CPU()
	if err != nil {
		return err
	}
	took := time.Since(began)
	m1, err := s.process().Memory(ctx, false)
	if err != nil {
		return err
	}
	beats := float64(s.fleet.Counts().Echoes - c0.Echoes)
	s.beatCPU = (after - before).Seconds() / took.Seconds()
	s.beatAllocs = float64(m1.Mallocs-m0.Mallocs) / beats
	s.beatRate = beats / took.Seconds()
	return nil
}

// reports makes every agent report so many times, one report after the other's
// acknowledgement.
func (s *side) reports(ctx context.Context, rounds int, change bool) error {
	cpu, err := s.process().CPU()
	if err != nil {
		return err
	}
	began := time.Now()
	before := s.fleet.Counts().ReportAcks
	for range rounds {
		for _, a := range s.fleet.Agents() {
			a.Report(change)
		}
		if err := s.acknowledged(ctx); err != nil {
			return err
		}
	}
	took := time.Since(began)
	after, err := s.process().CPU()
	reports := float64(s.fleet.Counts().ReportAcks - before)
	s.reportRate = reports / took.Seconds()
	s.reportCPU = float64((after - cpu).Microseconds()) / reports
	return err
}

// acknowledged waits until every agent has nothing left to report.
func (s *side) acknowledged(ctx context.Context) error {
	return within(ctx, 10*time.Minute, func(ctx context.Context) error {
		return s.fleet.Await(ctx, "every report's acknowledgement", func(fleetsim.Counts) bool {
			for _, a := range s.fleet.Agents() {
				if !a.Told() {
					return false
				}
			}
			return true
		})
	})
}

// takeRevision takes how long it is until every agent has answered a set, and
// what that costs. No engine is done before.
func (s *side) takeRevision(ctx context.Context, revise func() error) error {
	s.fleet.SetLatency(slowEngine)
	defer s.fleet.SetLatency(0)
	cpu, err := s.process().CPU()
	if err != nil {
		return err
	}
	before, began := s.fleet.Counts(), time.Now()
	if err := revise(); err != nil {
		return err
	}
	err = within(ctx, time.Minute, func(ctx context.Context) error {
		return s.fleet.Await(ctx, "the revision everywhere", func(c fleetsim.Counts) bool { return c.Sets-before.Sets >= int64(c.Agents) })
	})
	if err != nil {
		return err
	}
	s.revision = time.Since(began).Seconds()
	if err := s.acknowledged(ctx); err != nil {
		return err
	}
	after, err := s.process().CPU()
	s.revisionCPU = float64((after - cpu).Microseconds()) / s.agents()
	return err
}

// takeStorm kills the process and starts it again at once; watch runs
// meanwhile, and is told when all are back.
func (s *side) takeStorm(ctx context.Context, watch func(over <-chan struct{})) error {
	before, _, err := s.process().RSS()
	if err != nil {
		return err
	}
	counts := s.fleet.Counts()
	s.fleet.BackTimes.Reset()
	began := time.Now()
	s.process().Kill()
	if err := s.launch(); err != nil {
		return err
	}
	over := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if watch != nil && s.ready(ctx) == nil {
			watch(over)
		}
	}()
	err = s.allBack(ctx)
	s.storm = time.Since(began).Seconds()
	s.log.Info("back", "side", s.name, "fleet", s.fleet.Counts())
	close(over)
	<-watched
	if err != nil {
		return err
	}
	_, peak, err := s.process().RSS()
	s.stormPeak = float64(peak) / float64(before)
	s.attempts = float64(s.fleet.Counts().Attempts-counts.Attempts) / s.agents()
	return err
}
