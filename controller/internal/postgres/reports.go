package postgres

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/report"
)

// LockReporters locks agents, in the order of their ids, and returns what is
// known of them.
func (db *DB) LockReporters(ctx context.Context, agentIDs []uuid.UUID) (map[uuid.UUID]report.Reporter, error) {
	found := make(map[uuid.UUID]report.Reporter, len(agentIDs))
	err := db.queryRows(ctx, "find the reporting agents", func(rows *sql.Rows) error {
		var id uuid.UUID
		var r report.Reporter
		var sequence, fact, applied, refused int64
		err := rows.Scan(&id, &r.Epoch, &r.Revoked, &sequence, &r.SpoolID, &fact, &r.ContainersHash, &r.EngineError,
			&applied, &r.Applied.Hash, &r.Refusal, &refused)
		r.Sequence, r.Fact, r.Refused = uint64(sequence), uint64(fact), uint64(refused)
		r.Applied.Generation = toGeneration(applied)
		found[id] = r
		return err
	}, `select id, epoch, revoked_at is not null, status_sequence, spool_id, fact_sequence,
			case when containers_hash_at = containers_seen_at then containers_hash end,
			engine_error, applied_generation, applied_set_hash, refusal, refused_generation
		from agents where id = any($1::uuid[]) order by id for no key update`,
		ids(agentIDs, func(id uuid.UUID) uuid.UUID { return id }))
	return found, err
}

// AdvanceReporters writes what agents have come to; they are locked. What an
// agent accepted ends its divergence, the traces of prefixes that went out of
// its set by then, and those of what it was offered.
func (db *DB) AdvanceReporters(ctx context.Context, list []report.Advance, at time.Time) error {
	_, err := db.execRows(ctx, "note what agents reported", `update agents a set
			status_sequence = b.sequence, spool_id = b.spool, fact_sequence = b.fact,
			containers_hash = coalesce(b.hash, a.containers_hash),
			containers_hash_at = case when b.hash is null then a.containers_hash_at else $13 end,
			containers_seen_at = case when b.hash is null then a.containers_seen_at else $13 end,
			engine_error = b.engine_error,
			engine_error_at = case when b.engine_error = '' then null else coalesce(a.engine_error_at, $13) end,
			applied_generation = b.applied, applied_set_hash = b.applied_hash,
			refusal = b.refusal, refused_generation = b.refused,
			refused_at = case when b.refusal = '' then null else coalesce(a.refused_at, $13) end,
			diverged = case when b.accepted then '' else a.diverged end,
			diverged_at = case when b.accepted then null else a.diverged_at end,
			replaces_lineage = case when b.accepted then '' else a.replaces_lineage end
		from unnest($1::uuid[], $2::bigint[], $3::text[], $4::bigint[], $5::bytea[], $6::text[],
			$7::bigint[], $8::text[], $9::text[], $10::bigint[], $11::bool[], $12::bigint[])
			as b (id, sequence, spool, fact, hash, engine_error, applied, applied_hash, refusal, refused, accepted, epoch)
		where a.id = b.id and a.epoch = b.epoch`,
		ids(list, func(a report.Advance) uuid.UUID { return a.AgentID }),
		column(list, func(a report.Advance) int64 { return int64(a.Sequence) }),
		column(list, func(a report.Advance) string { return a.SpoolID }),
		column(list, func(a report.Advance) int64 { return int64(a.Fact) }),
		column(list, func(a report.Advance) []byte { return a.ContainersHash }),
		column(list, func(a report.Advance) string { return a.EngineError }),
		column(list, func(a report.Advance) int64 { return int64(a.Applied.Generation) }),
		column(list, func(a report.Advance) string { return a.Applied.Hash }),
		column(list, func(a report.Advance) string { return a.Refusal }),
		column(list, func(a report.Advance) int64 { return int64(a.Refused) }),
		column(list, func(a report.Advance) bool { return a.Accepted }),
		column(list, func(a report.Advance) int64 { return a.Epoch }),
		at,
	)
	if err != nil {
		return err
	}
	accepted := slices.DeleteFunc(slices.Clone(list), func(a report.Advance) bool { return !a.Accepted })
	if len(accepted) == 0 {
		return nil
	}
	_, err = db.execRows(ctx, "forget what agents hold no more", `with b as (
			select * from unnest($1::uuid[], $2::bigint[]) as b (node_id, generation)
		), unoffered as (
			delete from offered_sets o using b where o.node_id = b.node_id and o.generation <= b.generation)
		delete from forgotten_assignments f using b where f.node_id = b.node_id and f.generation <= b.generation`,
		ids(accepted, func(a report.Advance) uuid.UUID { return a.NodeID }),
		column(accepted, func(a report.Advance) int64 { return int64(a.Applied.Generation) }))
	return err
}

// AppendNodeEvents adds to the histories of nodes.
func (db *DB) AppendNodeEvents(ctx context.Context, list []report.NodeEvent, at time.Time) error {
	texts := make([]string, len(list))
	for i, e := range list {
		text, err := json.Marshal(e.Data)
		if err != nil {
			return fmt.Errorf("encode the node's event: %w", err)
		}
		texts[i] = string(text)
	}
	_, err := db.execRows(ctx, "write the nodes' histories", `insert into node_events (node_id, event, data, created_at)
		select node_id, event, data::jsonb, $4 from unnest($1::uuid[], $2::text[], $3::text[]) as e (node_id, event, data)`,
		ids(list, func(e report.NodeEvent) uuid.UUID { return e.NodeID }),
		column(list, func(e report.NodeEvent) string { return e.Event }), texts, at)
	return err
}
