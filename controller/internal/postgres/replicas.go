package postgres

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/agent"
)

// Leases are by the database's clock, which is one for all replicas.

// PutReplica enters a replica in the place of any other of its name.
func (db *DB) PutReplica(ctx context.Context, r agent.Replica, lease time.Duration) error {
	return db.InTx(ctx, func(ctx context.Context) error {
		err := db.in(ctx).Exec("delete from replicas where name = ? and id <> ?", r.Name, r.ID).Error
		if err == nil {
			err = db.in(ctx).Exec(`insert into replicas (id, name, address, started_at, lease_until)
				values (@id, @name, @address, @at, clock_timestamp() + @lease * interval '1 second')
				on conflict (id) do update set lease_until = excluded.lease_until, address = excluded.address`,
				map[string]any{"id": r.ID, "name": r.Name, "address": r.Address, "at": r.StartedAt, "lease": lease.Seconds()}).Error
		}
		return mapError(err, "enter this controller")
	})
}

// renewReplica prolongs a lease that has not run out, and takes out replicas
// whose lease has, and what was kept of agents that are gone for longer than
// any session looks back.
const renewReplica = `, renewed as (
	update replicas set lease_until = clock_timestamp() + @lease * interval '1 second'
	where id = @replica and lease_until > clock_timestamp() returning 1
), dropped as (
	delete from replicas where lease_until <= clock_timestamp() returning 1
), forgotten as (
	delete from gone_agents where gone_at < now() - interval '1 day'
)`

// DeleteReplica takes a replica out.
func (db *DB) DeleteReplica(ctx context.Context, id uuid.UUID) error {
	return mapError(db.in(ctx).Exec("delete from replicas where id = ?", id).Error, "take out this controller")
}

// CloseOrphans closes the sessions whose replica is not there.
func (db *DB) CloseOrphans(ctx context.Context, at, expectedUntil time.Time) (int, error) {
	var closed []uuid.UUID
	err := db.InTx(ctx, func(ctx context.Context) error {
		closed = closed[:0]
		return db.in(ctx).Raw(`with orphans as materialized (
			select a.id from agents a
			where a.connected and not exists (select from replicas p where p.id = a.replica_id and p.lease_until > clock_timestamp())
			order by a.id for no key update of a
		), closed as (
			update agents a set connected = false, disconnected_at = coalesce(a.silent_since, @at), said_goodbye = false,
				expected_until = @until, replica_id = null, silent_since = null
			from orphans where a.id = orphans.id returning a.id, a.node_id
		), noted as (
			insert into node_events (node_id, event, data, created_at)
			select node_id, 'left', jsonb_build_object('goodbye', false, 'reason', 'its controller went away'), @at from closed
		)
		select id from closed`, map[string]any{"at": at, "until": expectedUntil}).Scan(&closed).Error
	})
	return len(closed), mapError(err, "close the sessions of controllers that are gone")
}

// standingRow is where an agent stands; its node's fields are null when it is
// gone.
type standingRow struct {
	ID          *uuid.UUID
	NodeID      *uuid.UUID
	Gone        bool
	Epoch       int64
	Quarantined bool
	Generation  int64
	Commands    bool
}

func (r standingRow) toStanding() agent.Standing {
	return agent.Standing{
		AgentID: orZero(r.ID), NodeID: orZero(r.NodeID), Gone: r.Gone || r.NodeID == nil, Epoch: r.Epoch,
		Quarantined: r.Quarantined, Generation: toGeneration(r.Generation), Commands: r.Commands,
	}
}

// standing are the columns of standingRow of an agent a and its node n, which
// may both be missing.
const standing = `a.node_id, a.revoked_at is not null as gone, coalesce(a.epoch, 0) as epoch,
	coalesce(a.quarantine, '') <> '' as quarantined, coalesce(n.generation, 0) as generation,
	exists (select from commands c where c.node_id = n.id and c.finished_at is null and c.deadline > now()) as commands`

// ListStandings returns where agents stand.
func (db *DB) ListStandings(ctx context.Context, ids []uuid.UUID) ([]agent.Standing, error) {
	texts := convert(ids, uuid.UUID.String)
	var rows []standingRow
	err := db.in(ctx).Raw(`select a.id, `+standing+`
		from agents a join nodes n on n.id = a.node_id where a.id = any (?::uuid[])`, "{"+strings.Join(texts, ",")+"}").Scan(&rows).Error
	return convert(rows, standingRow.toStanding), mapError(err, "look where the agents stand")
}

// ListChanges returns where agents stand for whom a row changed in a
// transaction that was not visible at an earlier look. A transaction that had
// not ended then has a number of at least that look's oldest running one, so
// none is missed, in whatever order they are committed
// (https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT).
//
// Rows of a transaction that is still to come are from another server, whose
// database was restored here: they are not new at every look until this server
// has counted that far.
//
// With a lease the same statement renews that.
func (db *DB) ListChanges(ctx context.Context, since uint64, lease *agent.Lease) (agent.Changes, error) {
	var rows []struct {
		Oldest        string
		Kept, Dropped bool
		Standing      standingRow `gorm:"embedded"`
	}
	args := map[string]any{"since": strconv.FormatUint(since, 10)}
	renew, leases := "", "false as kept, false as dropped"
	if lease != nil {
		renew, leases = renewReplica, "exists (select from renewed) as kept, exists (select from dropped) as dropped"
		args["replica"], args["lease"] = lease.ReplicaID, lease.For.Seconds()
	}
	err := db.in(ctx).Raw(`with changed as (
			select id from agents where changed >= cast(cast(@since as text) as xid8) and changed < pg_snapshot_xmax(pg_current_snapshot())
			union select a.id from nodes n join agents a on a.node_id = n.id and a.revoked_at is null
				where n.changed >= cast(cast(@since as text) as xid8) and n.changed < pg_snapshot_xmax(pg_current_snapshot())
			union select a.id from commands c join agents a on a.node_id = c.node_id and a.revoked_at is null
				where c.finished_at is null and c.issued >= cast(cast(@since as text) as xid8) and c.issued < pg_snapshot_xmax(pg_current_snapshot())
			union select id from gone_agents where changed >= cast(cast(@since as text) as xid8) and changed < pg_snapshot_xmax(pg_current_snapshot())
		)`+renew+`
		select s.oldest, `+leases+`, c.id, `+standing+`
		from (select pg_snapshot_xmin(pg_current_snapshot())::text as oldest) s
		left join changed c on @since <> '0'
		left join agents a on a.id = c.id
		left join nodes n on n.id = a.node_id`, args).Scan(&rows).Error
	if err != nil {
		return agent.Changes{}, mapError(err, "look what changed for the agents")
	}
	var changes agent.Changes
	for _, r := range rows {
		if changes.Since, err = strconv.ParseUint(r.Oldest, 10, 64); err != nil {
			return agent.Changes{}, mapError(err, "read the snapshot")
		}
		changes.Kept, changes.Dropped = r.Kept, r.Dropped
		if r.Standing.ID != nil {
			changes.Standings = append(changes.Standings, r.Standing.toStanding())
		}
	}
	return changes, nil
}
