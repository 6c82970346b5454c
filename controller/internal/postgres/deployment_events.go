package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/page"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

type deploymentEventRow struct {
	ID           int64 `gorm:"->"`
	DeploymentID uuid.UUID
	Release      int64
	Type         string
	Level        string
	Status       string
	InstanceID   *uuid.UUID
	State        string
	Reason       string
	Lines        string
	CreatedAt    time.Time
}

func (deploymentEventRow) TableName() string { return "deployment_events" }

func (r deploymentEventRow) toEntry() (deployment.LogEntry, error) {
	e := deployment.LogEntry{
		Number: r.ID, DeploymentID: r.DeploymentID, Release: r.Release, Type: deployment.EntryType(r.Type), Level: workload.Level(r.Level),
		State: deployment.State(r.Status), InstanceID: orZero(r.InstanceID),
		Container: spec.ContainerState(r.State), Reason: r.Reason, At: r.CreatedAt,
	}
	if err := json.Unmarshal([]byte(r.Lines), &e.Lines); err != nil {
		return e, fmt.Errorf("read entry %d of the log: %w", r.ID, err)
	}
	return e, nil
}

// AppendLog adds entries to the logs of deployments and wakes who watches them.
func (db *DB) AppendLog(ctx context.Context, entries []deployment.LogEntry) error {
	rows := make([]deploymentEventRow, len(entries))
	for i, e := range entries {
		lines, err := json.Marshal(append([]string{}, e.Lines...))
		if err != nil {
			return fmt.Errorf("encode log lines: %w", err)
		}
		rows[i] = deploymentEventRow{
			DeploymentID: e.DeploymentID, Release: e.Release, Type: string(e.Type), Level: string(e.Level),
			Status: string(e.State), InstanceID: orNull(e.InstanceID), State: string(e.Container), Reason: e.Reason,
			Lines: string(lines), CreatedAt: e.At,
		}
	}
	for part := range slices.Chunk(rows, maxStatementRows) {
		if err := db.insertDeploymentEvents(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// insertDeploymentEvents keeps the order of the rows: the numbers they get tell
// it.
func (db *DB) insertDeploymentEvents(ctx context.Context, rows []deploymentEventRow) error {
	type row = deploymentEventRow
	_, err := db.execRows(ctx, "write the deployment's log", `with written as (
			insert into deployment_events (deployment_id, release, type, level, status, instance_id, state, reason, lines, created_at)
			select deployment_id, release, type, level, status, instance_id, state, reason, lines::jsonb, created_at
			from unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::text[], $8::text[], $9::text[], $10::timestamptz[])
				with ordinality as e (deployment_id, release, type, level, status, instance_id, state, reason, lines, created_at, place)
			order by place
			returning deployment_id)
		select pg_notify($11, deployment_id::text) from (select distinct deployment_id from written) as touched`,
		ids(rows, func(r row) uuid.UUID { return r.DeploymentID }),
		column(rows, func(r row) int64 { return r.Release }),
		column(rows, func(r row) string { return r.Type }),
		column(rows, func(r row) string { return r.Level }),
		column(rows, func(r row) string { return r.Status }),
		optionalIDs(rows, func(r row) *uuid.UUID { return r.InstanceID }),
		column(rows, func(r row) string { return r.State }),
		column(rows, func(r row) string { return r.Reason }),
		column(rows, func(r row) string { return r.Lines }),
		column(rows, func(r row) time.Time { return r.CreatedAt }),
		ChannelDeployment)
	return err
}

// TrimLogs keeps each deployment's newest entries.
func (db *DB) TrimLogs(ctx context.Context, deploymentIDs []uuid.UUID, keep int) error {
	_, err := db.execRows(ctx, "trim the deployments' logs", `delete from deployment_events e
		using unnest($1::uuid[]) as d (id),
			lateral (select id from deployment_events where deployment_id = d.id order by id desc offset $2 limit 1) as last
		where e.deployment_id = d.id and e.id <= last.id`,
		ids(deploymentIDs, func(id uuid.UUID) uuid.UUID { return id }), keep)
	return err
}

// ListLog returns a page of a deployment's log, counted from the newest entry
// and in ascending order, and how many entries there are in all, see
// page.Counted.
func (db *DB) ListLog(ctx context.Context, deploymentID uuid.UUID, q deployment.LogQuery) ([]deployment.LogEntry, int, error) {
	matching := func() *gorm.DB {
		tx := db.in(ctx).Model(&deploymentEventRow{}).Where("deployment_id = ?", deploymentID)
		if q.Try > 0 {
			tx = tx.Where("release = ?", q.Try)
		}
		return tx
	}
	total, err := db.countSome(ctx, matching(), page.Page{Skip: q.Skip, Take: q.Take})
	if err != nil {
		return nil, 0, mapError(err, "count the log's entries")
	}
	var rows []deploymentEventRow
	if err := matching().Order("id desc").Offset(q.Skip).Limit(q.Take).Find(&rows).Error; err != nil {
		return nil, 0, mapError(err, "read the log")
	}
	slices.Reverse(rows)
	entries, err := decodeRows(rows, deploymentEventRow.toEntry)
	return entries, total, err
}

// ListLogAfter returns the entries after a number, in ascending order. Whoever
// appends has locked the deployment, so that numbers come to light in order.
func (db *DB) ListLogAfter(ctx context.Context, deploymentID uuid.UUID, number int64, limit int) ([]deployment.LogEntry, error) {
	var rows []deploymentEventRow
	err := db.in(ctx).Where("deployment_id = ? and id > ?", deploymentID, number).Order("id").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, mapError(err, "read the log")
	}
	return decodeRows(rows, deploymentEventRow.toEntry)
}

// FirstOfRelease returns the number before a release's first entry.
func (db *DB) FirstOfRelease(ctx context.Context, deploymentID uuid.UUID, release int64) (int64, error) {
	var first struct{ ID int64 }
	err := db.in(ctx).Raw("select coalesce(min(id) - 1, 0) as id from deployment_events where deployment_id = ? and release = ?",
		deploymentID, release).Scan(&first).Error
	return first.ID, mapError(err, "find the release's log")
}
