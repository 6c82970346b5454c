package figures

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/specpb"

	"fairlead.dev/e2e/fleetsim"
)

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
	var committed, held time.Time
	if err := b.vacuum(ctx); err != nil {
		return err
	}
	cpu, err := b.product.process().CPU()
	if err != nil {
		return err
	}
	var postgres, spent time.Duration
	err = b.during(ctx, "revision", func() error {
		before := b.product.fleet.Counts().Sets
		err := b.postgres.Do(ctx, func(c *pgx.Conn) error { return newRevision(ctx, c) })
		if err != nil {
			return err
		}
		committed = time.Now()
		if postgres, err = b.postgres.CPU(); err != nil {
			return err
		}
		// Looking for the last acknowledgement costs; so only once they are sent.
		err = within(ctx, 5*time.Minute, func(ctx context.Context) error {
			return b.product.fleet.Await(ctx, "the revision everywhere", func(c fleetsim.Counts) bool {
				return c.Sets-before >= int64(b.Agents)
			})
		})
		if err != nil {
			return err
		}
		err = b.allHold(ctx)
		held = time.Now()
		if err == nil {
			spent, err = b.postgres.CPU()
		}
		return err
	})
	if err != nil {
		return err
	}
	b.print("revision_to_all_durable_and_acknowledged", held.Sub(committed).Seconds(), "s", b.floor.revision)
	after, err := b.product.process().CPU()
	if err != nil {
		return err
	}
	b.print("revision_cpu", float64((after-cpu).Microseconds())/float64(b.Agents), "us/agent", b.floor.revisionCPU)
	b.print("revision_postgresql_cpu", float64((spent-postgres).Microseconds())/float64(b.Agents), "us/agent", 0)
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
	if err := deriveReleases(ctx, tx); err != nil {
		return fmt.Errorf("make a revision: %w", err)
	}
	return tx.Commit(ctx)
}

// deriveReleases puts what the controller derives of a release beside the new
// ones, from what it derived of the old.
func deriveReleases(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, "select v.id, v.number, o.wire from revision v join releases o on o.id = v.old")
	if err != nil {
		return err
	}
	var ids [][16]byte
	var wires [][]byte
	var parts []string
	var id [16]byte
	var number int64
	var wire []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &number, &wire}, func() error {
		d := &agentv1.Deployment{}
		if err := proto.Unmarshal(wire, d); err != nil {
			return err
		}
		d.Release = number
		next, err := proto.Marshal(d)
		ids, wires, parts = append(ids, id), append(wires, next), append(parts, specpb.DeploymentPart(d))
		return err
	})
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `update releases r set wire = d.wire, set_part = d.part
		from unnest($1::uuid[], $2::bytea[], $3::text[]) as d (id, wire, part) where r.id = d.id`, ids, wires, parts)
	return err
}
