package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"fairlead.dev/controller/internal/deployment"
)

type assignmentRow struct {
	NodeID       uuid.UUID `gorm:"primaryKey"`
	Prefix       string    `gorm:"primaryKey"`
	Generation   int64
	DeploymentID uuid.UUID
	ReleaseID    *uuid.UUID
	Tombstone    *string
	// RemovalConfirmed: who wanted this knew how much it removes.
	RemovalConfirmed bool
	UpdatedAt        time.Time
}

func (assignmentRow) TableName() string { return "assignments" }

// assignmentView is an assignment with the spec of its release.
type assignmentView struct {
	Assignment assignmentRow `gorm:"embedded"`
	Spec       *string
}

func (r *assignmentView) toAssignment() (deployment.Assignment, error) {
	a := deployment.Assignment{
		Prefix: r.Assignment.Prefix, Generation: toGeneration(r.Assignment.Generation),
		DeploymentID: r.Assignment.DeploymentID, ReleaseID: orZero(r.Assignment.ReleaseID), Tombstone: orZero(r.Assignment.Tombstone),
		RemovalConfirmed: r.Assignment.RemovalConfirmed,
	}
	if r.Spec != nil {
		content, err := decodeSpec(*r.Spec)
		if err != nil {
			return a, fmt.Errorf("read assignment of prefix %s: %w", a.Prefix, err)
		}
		a.Deployment = &content
	}
	return a, nil
}

// RaiseGeneration returns the node's next generation, and wakes whoever feeds
// its agent once the transaction is committed.
func (db *DB) RaiseGeneration(ctx context.Context, nodeID uuid.UUID) (uint64, error) {
	const doing = "raise the node's generation"
	var generation int64
	err := db.queryRows(ctx, doing, func(rows *sql.Rows) error { return rows.Scan(&generation, new(string)) },
		`with raised as (update nodes set generation = generation + 1 where id = $1 returning generation)
		select generation, pg_notify($2, $3)::text from raised`, [16]byte(nodeID), ChannelNode, nodeID.String())
	if err == nil && generation == 0 {
		err = notFound(doing)
	}
	return toGeneration(generation), err
}

// PutAssignment says what a prefix of a node should run from now on.
func (db *DB) PutAssignment(ctx context.Context, nodeID uuid.UUID, a deployment.Assignment, at time.Time) error {
	_, err := db.execRows(ctx, "assign the prefix", `with remembered as (delete from forgotten_assignments where node_id = $1 and prefix = $2)
		insert into assignments (node_id, prefix, generation, deployment_id, release_id, tombstone, removal_confirmed, updated_at)
		values ($1, $2, $3, $4, $5, $6, $7, $8)
		on conflict (node_id, prefix) do update set generation = excluded.generation, deployment_id = excluded.deployment_id,
			release_id = excluded.release_id, tombstone = excluded.tombstone, removal_confirmed = excluded.removal_confirmed,
			updated_at = excluded.updated_at`,
		[16]byte(nodeID), a.Prefix, int64(a.Generation), [16]byte(a.DeploymentID), (*[16]byte)(orNull(a.ReleaseID)), orNull(a.Tombstone), a.RemovalConfirmed, at)
	return err
}

// ForgetAssignment takes a prefix out of a node's set and keeps a trace of it.
func (db *DB) ForgetAssignment(ctx context.Context, nodeID uuid.UUID, prefix string, generation uint64) error {
	return db.forget(ctx, nodeID, prefix, generation, false)
}

// LeaveAssignment is ForgetAssignment of a prefix whose containers stay.
func (db *DB) LeaveAssignment(ctx context.Context, nodeID uuid.UUID, prefix string, generation uint64) error {
	return db.forget(ctx, nodeID, prefix, generation, true)
}

func (db *DB) forget(ctx context.Context, nodeID uuid.UUID, prefix string, generation uint64, kept bool) error {
	_, err := db.execRows(ctx, "forget the assignment", `with gone as (
			delete from assignments where node_id = $1 and prefix = $2 returning node_id, prefix)
		insert into forgotten_assignments (node_id, prefix, generation, kept) select node_id, prefix, $3, $4 from gone
		on conflict (node_id, prefix) do update set generation = excluded.generation, kept = excluded.kept`,
		nodeID, prefix, int64(generation), kept)
	return err
}

func (r *assignmentView) fields() []any {
	a := &r.Assignment
	return []any{&a.NodeID, &a.Prefix, &a.Generation, &a.DeploymentID, &a.ReleaseID, &a.Tombstone, &a.RemovalConfirmed, &a.UpdatedAt, &r.Spec}
}

// FindAssignment returns what a prefix of a node should run.
func (db *DB) FindAssignment(ctx context.Context, nodeID uuid.UUID, prefix string) (deployment.Assignment, error) {
	return readRow(ctx, db, "find the assignment", (*assignmentView).toAssignment,
		`select a.node_id, a.prefix, a.generation, a.deployment_id, a.release_id, a.tombstone, a.removal_confirmed, a.updated_at, r.spec
		from assignments a left join releases r on r.id = a.release_id where a.node_id = $1 and a.prefix = $2`, nodeID, prefix)
}

// FindAssignmentOf returns the assignment of a deployment on a node, without
// what is to run.
func (db *DB) FindAssignmentOf(ctx context.Context, nodeID, deploymentID uuid.UUID) (deployment.Assignment, error) {
	var row assignmentView
	err := db.in(ctx).Table("assignments").Where("node_id = ? and deployment_id = ?", nodeID, deploymentID).Take(&row.Assignment).Error
	if err != nil {
		return deployment.Assignment{}, mapError(err, "find the assignment")
	}
	return row.toAssignment()
}

// ReadSet returns a node's assignments by prefix. It is one statement and so
// sees one moment: generation and assignments belong together.
func (db *DB) ReadSet(ctx context.Context, nodeID uuid.UUID) (deployment.Set, error) {
	var rows []struct {
		Lineage        string
		NodeGeneration int64
		Assigned       bool
		View           assignmentView `gorm:"embedded"`
	}
	err := db.in(ctx).Raw(`select s.value as lineage, n.generation as node_generation,
			a.node_id is not null as assigned, a.*, r.spec
		from nodes n
		join settings s on s.key = 'lineage'
		left join assignments a on a.node_id = n.id
		left join releases r on r.id = a.release_id
		where n.id = ?
		order by a.prefix`, nodeID).Scan(&rows).Error
	if err == nil && len(rows) == 0 {
		err = gorm.ErrRecordNotFound
	}
	if err != nil {
		return deployment.Set{}, mapError(err, "read the node's assignments")
	}
	set := deployment.Set{Lineage: rows[0].Lineage, Generation: toGeneration(rows[0].NodeGeneration)}
	for _, row := range rows {
		if !row.Assigned {
			continue
		}
		a, err := row.View.toAssignment()
		if err != nil {
			return deployment.Set{}, err
		}
		set.Assignments = append(set.Assignments, a)
	}
	return set, nil
}

// MeasureSet returns how many assignments a node has and how long their specs
// are as JSON, which is longer than they are on the wire.
func (db *DB) MeasureSet(ctx context.Context, nodeID uuid.UUID) (count, bytes int64, err error) {
	var row struct{ Count, Bytes int64 }
	err = db.in(ctx).Raw(`select count(*) as count, coalesce(sum(length(r.spec::text)), 0) as bytes
		from assignments a left join releases r on r.id = a.release_id where a.node_id = ?`, nodeID).Scan(&row).Error
	return row.Count, row.Bytes, mapError(err, "measure the node's assignments")
}

func toGeneration(n int64) uint64 { return uint64(n) }
