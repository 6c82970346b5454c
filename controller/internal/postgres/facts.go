package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"fairlead.dev/controller/internal/page"
	"fairlead.dev/controller/internal/report"
	"fairlead.dev/shared/workload"
)

// Types of container events.
const (
	factExit = "exit"
	factLost = "lost"
)

type containerEventRow struct {
	NodeID       uuid.UUID
	AgentID      uuid.UUID
	SpoolID      string
	Sequence     int64
	Type         string
	Prefix       string
	Name         string
	EngineID     string
	DeploymentID *uuid.UUID
	InstanceID   *uuid.UUID
	Release      int64
	ExitCode     int32
	OOMKilled    bool
	RestartCount int32
	Unseen       bool
	Reason       string
	Lost         int64
	Lines        string
	HappenedAt   time.Time
}

func (containerEventRow) TableName() string { return "container_events" }

func toContainerEventRow(f report.NodeFact) (containerEventRow, error) {
	row := containerEventRow{
		NodeID: f.NodeID, AgentID: f.AgentID, SpoolID: f.SpoolID, Sequence: int64(f.Sequence), Type: factLost,
		Prefix: f.Container.Prefix, Name: f.Container.Name, EngineID: f.EngineID,
		DeploymentID: idOrNull(f.DeploymentID), InstanceID: idOrNull(f.InstanceID), Release: f.Release,
		Lost: int64(f.Lost), Lines: "[]", HappenedAt: f.At,
	}
	if f.Exit == nil {
		return row, nil
	}
	lines, err := json.Marshal(append([]string{}, f.Exit.LogTail...))
	if err != nil {
		return row, fmt.Errorf("encode log lines: %w", err)
	}
	row.Type, row.Lines = factExit, string(lines)
	row.ExitCode, row.OOMKilled = int32(f.Exit.Code), f.Exit.OOMKilled
	row.RestartCount, row.Unseen, row.Reason = int32(f.Exit.Restarts), f.Exit.Unseen, f.Exit.Reason
	return row, nil
}

func (r containerEventRow) toFact() (report.Fact, error) {
	f := report.Fact{
		Sequence: uint64(r.Sequence), At: r.HappenedAt, Container: workload.ContainerID{Prefix: r.Prefix, Name: r.Name},
		EngineID: r.EngineID, DeploymentID: textOf(r.DeploymentID), InstanceID: textOf(r.InstanceID), Release: r.Release,
		Lost: uint64(r.Lost),
	}
	if r.Type == factExit {
		f.Exit = &report.Exit{Code: int(r.ExitCode), OOMKilled: r.OOMKilled, Restarts: int(r.RestartCount), Unseen: r.Unseen, Reason: r.Reason}
		if err := json.Unmarshal([]byte(r.Lines), &f.Exit.LogTail); err != nil {
			return f, fmt.Errorf("read the container's log: %w", err)
		}
	}
	return f, nil
}

// AppendFacts adds facts that are not there yet, and keeps the newest of each
// node.
func (db *DB) AppendFacts(ctx context.Context, list []report.NodeFact, keep int) error {
	rows := make([]containerEventRow, len(list))
	nodes := map[uuid.UUID]bool{}
	for i, f := range list {
		var err error
		if rows[i], err = toContainerEventRow(f); err != nil {
			return err
		}
		nodes[f.NodeID] = true
	}
	for part := range slices.Chunk(rows, maxStatementRows) {
		if err := db.insertContainerEvents(ctx, part); err != nil {
			return err
		}
	}
	_, err := db.execRows(ctx, "drop old container events", `delete from container_events e
		using unnest($1::uuid[]) as n (id),
			lateral (select id from container_events where node_id = n.id order by id desc offset $2 limit 1) as last
		where e.node_id = n.id and e.id <= last.id`,
		ids(slices.Collect(maps.Keys(nodes)), func(id uuid.UUID) uuid.UUID { return id }), keep)
	return err
}

func (db *DB) insertContainerEvents(ctx context.Context, rows []containerEventRow) error {
	_, err := db.execRows(ctx, "store container events", `insert into container_events (node_id, agent_id, spool_id, sequence, type,
			prefix, name, engine_id, deployment_id, instance_id, release, exit_code, oom_killed, restart_count, unseen, reason, lost, lines, happened_at)
		select node_id, agent_id, spool_id, sequence, type, prefix, name, engine_id, deployment_id, instance_id, release,
			exit_code, oom_killed, restart_count, unseen, reason, lost, lines::jsonb, happened_at
		from unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::uuid[], $10::uuid[],
			$11::bigint[], $12::int[], $13::bool[], $14::int[], $15::bool[], $16::text[], $17::bigint[], $18::text[], $19::timestamptz[])
			as f (node_id, agent_id, spool_id, sequence, type, prefix, name, engine_id, deployment_id, instance_id, release,
				exit_code, oom_killed, restart_count, unseen, reason, lost, lines, happened_at)
		on conflict (agent_id, spool_id, sequence) do nothing`,
		ids(rows, func(r containerEventRow) uuid.UUID { return r.NodeID }),
		ids(rows, func(r containerEventRow) uuid.UUID { return r.AgentID }),
		column(rows, func(r containerEventRow) string { return r.SpoolID }),
		column(rows, func(r containerEventRow) int64 { return r.Sequence }),
		column(rows, func(r containerEventRow) string { return r.Type }),
		column(rows, func(r containerEventRow) string { return r.Prefix }),
		column(rows, func(r containerEventRow) string { return r.Name }),
		column(rows, func(r containerEventRow) string { return r.EngineID }),
		optionalIDs(rows, func(r containerEventRow) *uuid.UUID { return r.DeploymentID }),
		optionalIDs(rows, func(r containerEventRow) *uuid.UUID { return r.InstanceID }),
		column(rows, func(r containerEventRow) int64 { return r.Release }),
		column(rows, func(r containerEventRow) int32 { return r.ExitCode }),
		column(rows, func(r containerEventRow) bool { return r.OOMKilled }),
		column(rows, func(r containerEventRow) int32 { return r.RestartCount }),
		column(rows, func(r containerEventRow) bool { return r.Unseen }),
		column(rows, func(r containerEventRow) string { return r.Reason }),
		column(rows, func(r containerEventRow) int64 { return r.Lost }),
		column(rows, func(r containerEventRow) string { return r.Lines }),
		column(rows, func(r containerEventRow) time.Time { return r.HappenedAt }),
	)
	return err
}

// ListFacts returns a page of a node's facts, newest first, and how many fit,
// see page.Counted.
func (db *DB) ListFacts(ctx context.Context, nodeID uuid.UUID, q report.FactQuery) ([]report.Fact, int, error) {
	matching := func() *gorm.DB {
		tx := db.in(ctx).Model(&containerEventRow{}).Where("node_id = ?", nodeID)
		if q.Prefix != nil {
			tx = tx.Where("prefix = ?", *q.Prefix)
		}
		if q.Name != nil {
			tx = tx.Where("name = ?", *q.Name)
		}
		return tx
	}
	total, err := db.countSome(ctx, matching(), page.Page{Skip: q.Skip, Take: q.Take})
	if err != nil {
		return nil, 0, mapError(err, "count the node's container events")
	}
	var rows []containerEventRow
	if err := matching().Order("id desc").Offset(q.Skip).Limit(q.Take).Find(&rows).Error; err != nil {
		return nil, 0, mapError(err, "list the node's container events")
	}
	facts, err := decodeRows(rows, containerEventRow.toFact)
	return facts, total, err
}

func textOf(id *uuid.UUID) string {
	if id == nil {
		return ""
	}
	return id.String()
}
