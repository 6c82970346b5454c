package postgres

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm/clause"

	"fairlead.dev/controller/internal/command"
	"fairlead.dev/controller/internal/node"
	"fairlead.dev/shared/apperr"
)

// updateJSON is the order of an update in a command's payload.
type updateJSON struct {
	Version   string               `json:"version"`
	Digest    string               `json:"digest"`
	Size      int64                `json:"size"`
	Path      string               `json:"path"`
	Signature []byte               `json:"signature"`
	Downgrade bool                 `json:"downgrade,omitempty"`
	Keys      []command.ReleaseKey `json:"keys,omitempty"`
}

// orderIn returns the order in a payload; nil when there is none. One that can't
// be read is none either: the agent says that it does not understand.
func orderIn(payload *string) *command.Update {
	var order updateJSON
	if payload == nil || json.Unmarshal([]byte(*payload), &order) != nil {
		return nil
	}
	return new(command.Update(order))
}

type updateRow struct {
	ID          uuid.UUID
	NodeID      uuid.UUID
	RolloutID   *uuid.UUID
	FromVersion string
	ToVersion   string
	Phase       string
	Error       string
	StartedAt   time.Time
	StartedBy   string
	ChangedAt   time.Time
	FinishedAt  *time.Time
}

func (updateRow) TableName() string { return "node_updates" }

func updateRowOf(u node.Update) updateRow {
	row := updateRow{
		ID: u.ID, NodeID: u.NodeID, FromVersion: u.From, ToVersion: u.To, Phase: string(u.Phase), Error: u.Error,
		StartedAt: u.StartedAt, StartedBy: u.StartedBy, ChangedAt: u.ChangedAt, FinishedAt: orNull(u.FinishedAt),
	}
	if u.RolloutID != uuid.Nil {
		row.RolloutID = &u.RolloutID
	}
	return row
}

func (r updateRow) toUpdate() node.Update {
	return node.Update{
		ID: r.ID, NodeID: r.NodeID, RolloutID: orZero(r.RolloutID), From: r.FromVersion, To: r.ToVersion,
		Phase: node.UpdatePhase(r.Phase), Error: r.Error, StartedAt: r.StartedAt, StartedBy: r.StartedBy,
		ChangedAt: r.ChangedAt, FinishedAt: orZero(r.FinishedAt),
	}
}

// NodeBusy tells whether a deployment is in progress on the node.
func (db *DB) NodeBusy(ctx context.Context, nodeID uuid.UUID) (busy bool, err error) {
	err = db.in(ctx).Raw("select exists (select from deployments where node_id = ? and status = 'in-progress')", nodeID).Scan(&busy).Error
	return busy, mapError(err, "look for deployments of the node")
}

// InsertUpdate enters an update of a node's agent.
func (db *DB) InsertUpdate(ctx context.Context, u node.Update) error {
	row := updateRowOf(u)
	err := db.in(ctx).Create(&row).Error
	if violates(err, "node_updates_running_uq") {
		return apperr.New(apperr.Precondition, "the node's agent is being updated already").WithField("nodeId", u.NodeID)
	}
	return mapError(err, "enter the update")
}

// LockUpdate returns an update of the node and locks it.
func (db *DB) LockUpdate(ctx context.Context, nodeID, id uuid.UUID) (node.Update, error) {
	var row updateRow
	err := db.in(ctx).Clauses(clause.Locking{Strength: "UPDATE"}).Where("id = ? and node_id = ?", id, nodeID).Take(&row).Error
	return row.toUpdate(), mapError(err, "find the update")
}

// LockRunningUpdate returns the node's update that is not finished, locked.
func (db *DB) LockRunningUpdate(ctx context.Context, nodeID uuid.UUID) (node.Update, error) {
	var row updateRow
	err := db.in(ctx).Clauses(clause.Locking{Strength: "UPDATE"}).Where("node_id = ? and finished_at is null", nodeID).Take(&row).Error
	return row.toUpdate(), mapError(err, "find the node's update")
}

// SaveUpdate changes where an update stands. At the end of one that is part of
// a rollout it wakes who takes that on.
func (db *DB) SaveUpdate(ctx context.Context, u node.Update) error {
	err := db.in(ctx).Model(&updateRow{}).Where("id = ?", u.ID).UpdateColumns(map[string]any{
		"phase": string(u.Phase), "error": u.Error, "changed_at": u.ChangedAt, "finished_at": orNull(u.FinishedAt),
	}).Error
	if err != nil || u.FinishedAt.IsZero() || u.RolloutID == uuid.Nil {
		return mapError(err, "note where the update stands")
	}
	return db.notify(ctx, ChannelRollout, "")
}
