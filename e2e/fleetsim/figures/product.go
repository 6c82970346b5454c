package figures

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

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

// arrivals notes when sets came, by node and generation.
type arrivals struct {
	mu   sync.Mutex
	when map[string]map[uint64]time.Time
}

func (a *arrivals) set(agent *fleetsim.Agent, set *agentv1.AssignmentSet, at time.Time) {
	node := agent.NodeID()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.when[node] == nil {
		a.when[node] = map[uint64]time.Time{}
	}
	a.when[node][set.GetGeneration()] = at
}

func (a *arrivals) at(node string, generation uint64) (time.Time, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, ok := a.when[node][generation]
	return at, ok
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
	b.print("connect_all", s.connect, "s", b.floor.connect)
	b.print("connect_all_cpu", s.connectCPU, "s", b.floor.connectCPU)
	return nil
}

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
	for _, kind := range []struct {
		name   string
		change bool
		rounds int
	}{{"changed", true, 5}, {"unchanged", false, 10}} {
		if err := b.postgres.Forget(ctx); err != nil {
			return err
		}
		s.fleet.AckTimes.Reset()
		err := b.during(ctx, "status-"+kind.name, func() error { return s.reports(ctx, kind.rounds, kind.change) })
		if err != nil {
			return err
		}
		statements, err := b.postgres.Statements(ctx)
		if err != nil {
			return err
		}
		reports := n * float64(kind.rounds)
		b.print("status_"+kind.name+"_reports", s.reportRate, "1/s", b.floor.reportRate)
		b.print("status_"+kind.name+"_containers", s.reportRate*containers, "1/s", 0)
		b.print("status_"+kind.name+"_sql", float64(statements)/reports, "statements/report", 0)
		b.print("status_"+kind.name+"_ack_p99", ms(s.fleet.AckTimes.At(0.99)), "ms", 0)
	}
	if err := s.takeWarm(ctx); err != nil {
		return err
	}
	b.print("rss_per_agent_warm", s.warm, "KiB", b.floor.warm)
	now, _, err := s.process().RSS()
	b.print("rss_all_warm", float64(now)/(1<<20), "MiB", 0)
	b.profile(ctx, "heap", "warm-heap")
	return err
}

const (
	// samples is how many single starts are timed.
	samples = 1000
	// slowEngine is the longest an engine takes for a revision.
	slowEngine = 30 * time.Second
)

// starts measures the way of one deployment, from its commit to the agent.
func (b *bench) starts(ctx context.Context) error {
	if err := b.deploy(ctx); err != nil {
		return err
	}
	w, n := b.world, b.Agents
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	began := time.Now()
	err := b.during(ctx, "starts", func() error { return w.startAll(ctx, all, 16) })
	if err != nil {
		return err
	}
	b.print("deployment_starts_through_the_api", float64(n)/time.Since(began).Seconds(), "1/s", 0)
	if err := b.allHold(ctx); err != nil {
		return err
	}
	if err := b.product.acknowledged(ctx); err != nil {
		return err
	}
	// Open loop: a start every 20 ms, whatever became of those before.
	random := rand.New(rand.NewPCG(b.Seed, 1)) //nolint:gosec // repeatable, not secret
	chosen := random.Perm(n)[:min(n, samples)]
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var wait sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for _, i := range chosen {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		wait.Go(func() {
			if err := w.team(i).Start(ctx, w.deployments[i]); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = err
			}
		})
	}
	wait.Wait()
	if failed != nil {
		return failed
	}
	if err := b.allHold(ctx); err != nil {
		return err
	}
	return b.printWays(ctx, "commit_to_agent", chosen)
}

// printWays prints how long the newest sets of nodes took from their commit to
// the agents.
func (b *bench) printWays(ctx context.Context, name string, indexes []int) error {
	var ways fleetsim.Times
	ways.Reset()
	ids := make([]string, len(indexes))
	for k, i := range indexes {
		ids[k] = b.world.nodes[i]
	}
	missing := 0
	err := b.postgres.Do(ctx, func(c *pgx.Conn) error {
		rows, err := c.Query(ctx, `select node_id::text, generation, pg_xact_commit_timestamp(xmin) from assignments where node_id = any($1::uuid[])`, ids)
		if err != nil {
			return err
		}
		var node string
		var generation int64
		var committed time.Time
		_, err = pgx.ForEachRow(rows, []any{&node, &generation, &committed}, func() error {
			at, ok := b.world.arrivals.at(node, uint64(generation))
			if !ok {
				missing++
				return nil
			}
			ways.Add(at.Sub(committed))
			return nil
		})
		return err
	})
	if err != nil {
		return err
	}
	if missing > 0 {
		b.Log.Warn("sets were overtaken by newer ones", "sets", missing)
	}
	b.print(name+"_p50", ms(ways.At(0.5)), "ms", 0)
	b.print(name+"_p99", ms(ways.At(0.99)), "ms", 0)
	b.print(name+"_max", ms(ways.At(1)), "ms", 0)
	return nil
}

// allHold waits until every agent's newest set is noted as held, in the
// database.
func (b *bench) allHold(ctx context.Context) error {
	return within(ctx, 5*time.Minute, func(ctx context.Context) error {
		for {
			var left int
			err := b.postgres.Do(ctx, func(c *pgx.Conn) error {
				return c.QueryRow(ctx, `select count(*) from agents a join nodes n on n.id = a.node_id
					where a.revoked_at is null and a.connected and a.applied_generation <> n.generation`).Scan(&left)
			})
			if err != nil {
				return fmt.Errorf("wait for acknowledged sets: %w", err)
			}
			if left == 0 {
				return nil
			}
			if err := pause(ctx, 50*time.Millisecond); err != nil {
				return fmt.Errorf("wait for acknowledged sets, %d are not: %w", left, err)
			}
		}
	})
}

// revision gives every node a new release in one transaction, as a bulk
// operation would, and waits until every agent's acknowledgement is committed.
func (b *bench) revision(ctx context.Context) error {
	if !b.world.deployed {
		if err := b.starts(ctx); err != nil {
			return err
		}
	}
	// No engine is done before the sets are acknowledged.
	b.product.fleet.SetLatency(slowEngine)
	defer b.product.fleet.SetLatency(0)
	var committed time.Time
	err := b.during(ctx, "revision", func() error {
		err := b.postgres.Do(ctx, func(c *pgx.Conn) error { return newRevision(ctx, c) })
		if err != nil {
			return err
		}
		committed = time.Now()
		return b.allHold(ctx)
	})
	if err != nil {
		return err
	}
	took := time.Since(committed)
	if b.Profiles != "" { // the profile takes longer
		took = 0
	}
	b.print("revision_to_all_durable_and_acknowledged", took.Seconds(), "s", 0)
	all := make([]int, b.Agents)
	for i := range all {
		all[i] = i
	}
	if err := b.printWays(ctx, "revision_commit_to_agent", all); err != nil {
		return err
	}
	return b.product.acknowledged(ctx)
}

// newRevision copies every assigned release as the deployment's next one.
func newRevision(ctx context.Context, c *pgx.Conn) error {
	tx, err := c.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }() // nothing to undo once it is committed
	for _, statement := range []string{
		`create temporary table revision on commit drop as
			select gen_random_uuid() as id, a.node_id, a.prefix, a.deployment_id, a.release_id as old, d.tries + 1 as number
			from assignments a join deployments d on d.id = a.deployment_id where a.release_id is not null`,
		`update deployments d set tries = r.number, status = 'in-progress' from revision r where r.deployment_id = d.id`,
		`insert into releases select n.* from revision v join releases o on o.id = v.old,
			lateral jsonb_populate_record(o, jsonb_build_object('id', v.id, 'number', v.number, 'outcome', 'pending', 'set_part', null,
				'finished_at', null, 'created_at', now(), 'spec', jsonb_set(o.spec, '{release}', to_jsonb(v.number::text)))) n`,
		`update nodes n set generation = generation + 1 from (select distinct node_id from revision) r where r.node_id = n.id`,
		`update assignments a set generation = n.generation, release_id = r.id, updated_at = now()
			from revision r join nodes n on n.id = r.node_id where a.node_id = r.node_id and a.prefix = r.prefix`,
		`select pg_notify('fairlead_node', node_id::text) from (select distinct node_id from revision) r`,
	} {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return fmt.Errorf("make a revision: %w", err)
		}
	}
	return tx.Commit(ctx)
}
