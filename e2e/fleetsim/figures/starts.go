package figures

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/e2e/client"
	"fairlead.dev/e2e/fleetsim"
	"fairlead.dev/e2e/fleetsim/rig"
)

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

const (
	// samples is how many single starts are timed.
	samples = 1000
	// slowEngine is the longest an engine takes for a revision.
	slowEngine = 2 * time.Minute
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
	return b.singleStarts(ctx, "commit_to_agent", w.teams)
}

// singleStarts starts one deployment after the other through the teams' client,
// and prints how long each took from its commit to the agent.
func (b *bench) singleStarts(ctx context.Context, name string, teams []*client.Team) error {
	if err := b.vacuum(ctx); err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(b.Seed, 1)) //nolint:gosec // repeatable, not secret
	chosen := random.Perm(b.Agents)[:min(b.Agents, samples)]
	// Open loop: whatever became of those before.
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var group errgroup.Group
	for _, i := range chosen {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		group.Go(func() error { return teams[i/teamNodes].Start(ctx, b.world.deployments[i]) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := b.allHold(ctx); err != nil {
		return err
	}
	return b.printWays(ctx, name, chosen)
}

// replicas starts deployments through another controller on the same database
// than the one that holds the sessions.
func (b *bench) replicas(ctx context.Context) (err error) {
	if err := b.deploy(ctx); err != nil {
		return err
	}
	dir := filepath.Join(b.Dir, "replica")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make a replica's folder: %w", err)
	}
	other, err := rig.NewController(ctx, rig.ControllerConfig{
		Program: b.Controller, Artifacts: b.Artifacts, Dir: dir, DatabaseURL: b.postgres.URL(), Keys: b.controller.Keys, LogLevel: "warn",
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, other.Stop()) }()
	var teams []*client.Team
	for _, t := range b.world.teams {
		teams = append(teams, &client.Team{Client: other.Client, Slug: t.Slug})
	}
	return b.singleStarts(ctx, "across_replicas_commit_to_agent", teams)
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
				return fmt.Errorf("wait for acknowledged sets, %d are not: %w\n%s", left, err, b.behind(context.WithoutCancel(ctx)))
			}
		}
	})
}

// behind says how agents stand whose newest set the database does not know as
// held: what it knows, and what the agent itself holds.
func (b *bench) behind(ctx context.Context) string {
	text := ""
	err := b.postgres.Do(ctx, func(c *pgx.Conn) error {
		rows, err := c.Query(ctx, `select n.id::text, n.generation, a.applied_generation, a.epoch from agents a join nodes n on n.id = a.node_id
			where a.revoked_at is null and a.connected and a.applied_generation <> n.generation limit 20`)
		if err != nil {
			return err
		}
		var node string
		var wanted, applied, epoch int64
		_, err = pgx.ForEachRow(rows, []any{&node, &wanted, &applied, &epoch}, func() error {
			text += fmt.Sprintf("node %s wants %d, known as held %d, epoch %d", node, wanted, applied, epoch)
			for _, a := range b.product.fleet.Agents() {
				if a.NodeID() == node {
					s := a.State()
					text += fmt.Sprintf("; its agent holds %d, epoch %d, connected %t, %d sessions, last end: %v", s.Generation, s.Epoch, s.Connected, s.Sessions, s.Last)
				}
			}
			text += "\n"
			return nil
		})
		return err
	})
	if err != nil {
		text += err.Error()
	}
	return text
}
