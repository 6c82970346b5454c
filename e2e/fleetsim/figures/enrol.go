package figures

import (
	"context"
	"fmt"
	"time"

	"fairlead.dev/e2e/fleetsim"
)

// race lets a thousand agents use one token at once.
func (b *bench) race(ctx context.Context) error {
	team, err := b.controller.Client.CreateTeam(ctx, "race")
	if err != nil {
		return err
	}
	tokens, address, pin, err := fleetsim.Tokens(ctx, team, "race-", 1, 1)
	if err != nil {
		return err
	}
	fleet, err := fleetsim.New(fleetsim.Config{Controller: address, Pin: pin, Seed: b.Seed})
	if err != nil {
		return err
	}
	began := time.Now()
	winners, refused := fleet.Race(ctx, tokens[0].Token, 1000)
	b.Log.Info("a thousand used one token", "winners", winners, "refused", refused)
	b.print("enrol_race_winners_of_1000", float64(winners), "agents", 0)
	b.print("enrol_race_answered", time.Since(began).Seconds(), "s", 0)
	return nil
}

func (b *bench) enrolAndConnect(ctx context.Context) error {
	tokens, err := b.newWorld(ctx, b.Agents+warmUp)
	if err != nil {
		return err
	}
	b.world.arrivals.when = map[string]map[uint64]time.Time{}
	s := &b.product
	config := fleetsim.Config{
		Controller: b.controller.Agents, Pin: b.world.pin, Seed: b.Seed, Log: b.Log, OnSet: b.world.arrivals.set,
		Heartbeat: b.beat(), Gather: gather,
	}
	// The first nodes are the teams' own; those that warm up are the last.
	if err := s.warmUp(ctx, config, tokens[b.Agents:]); err != nil {
		return err
	}
	b.world.nodes, b.world.fleet = b.world.nodes[:b.Agents], map[string]bool{}
	for _, id := range b.world.nodes {
		b.world.fleet[id] = true
	}
	if err := b.during(ctx, "enrol", func() error { return s.enrol(ctx, config, tokens[:b.Agents]) }); err != nil {
		return err
	}
	b.print("enrolments", s.enrolRate, "1/s", b.floor.enrolRate)
	if err := b.during(ctx, "connect", func() error { return s.connectAll(ctx) }); err != nil {
		return err
	}
	if period := s.fleet.Agent(0).State().Period; period != heartbeat {
		return fmt.Errorf("the controller asks for heartbeats every %s, the floor was measured with %s: make the constant the same", period, heartbeat)
	}
	b.print("connect_all", s.connect, "s", b.floor.connect)
	b.print("connect_all_cpu", s.connectCPU, "s", b.floor.connectCPU)
	return nil
}
