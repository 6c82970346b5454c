package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm/clause"

	"fairlead.dev/controller/internal/node"
	"fairlead.dev/controller/internal/page"
	"fairlead.dev/controller/internal/update"
	"fairlead.dev/shared/apperr"
)

type rolloutRow struct {
	ID             uuid.UUID
	TeamID         uuid.UUID
	ToVersion      string
	AllowDowngrade bool
	State          string
	Wave           int
	Waves          int
	Error          string
	CreatedAt      time.Time
	CreatedBy      string
	FinishedAt     *time.Time
}

func (rolloutRow) TableName() string { return "rollouts" }

func (r rolloutRow) toRollout() update.Rollout {
	return update.Rollout{
		ID: r.ID, TeamID: r.TeamID, To: r.ToVersion, AllowDowngrade: r.AllowDowngrade, State: update.RolloutState(r.State),
		Wave: r.Wave, Waves: r.Waves, Error: r.Error, CreatedAt: r.CreatedAt, CreatedBy: r.CreatedBy, FinishedAt: orZero(r.FinishedAt),
	}
}

type rolloutNodeRow struct {
	RolloutID uuid.UUID
	NodeID    uuid.UUID
	Wave      int
	Skipped   string
}

func (rolloutNodeRow) TableName() string { return "rollout_nodes" }

// InsertRollout enters a rollout with its nodes, and wakes who takes it on.
func (db *DB) InsertRollout(ctx context.Context, r update.Rollout) error {
	row := rolloutRow{
		ID: r.ID, TeamID: r.TeamID, ToVersion: r.To, AllowDowngrade: r.AllowDowngrade, State: string(r.State),
		Wave: r.Wave, Waves: r.Waves, CreatedAt: r.CreatedAt, CreatedBy: r.CreatedBy,
	}
	err := db.in(ctx).Create(&row).Error
	if violates(err, "rollouts_running_uq") {
		return apperr.New(apperr.Conflict, "a rollout of the team is under way already; cancel it or wait for its end")
	}
	if err != nil {
		return mapError(err, "enter the rollout")
	}
	nodes := convert(r.Nodes, func(n update.RolloutNode) rolloutNodeRow {
		return rolloutNodeRow{RolloutID: r.ID, NodeID: n.NodeID, Wave: n.Wave}
	})
	if err := db.in(ctx).CreateInBatches(&nodes, rolloutBatch).Error; err != nil {
		return mapError(err, "enter the rollout's nodes")
	}
	return db.notify(ctx, ChannelRollout, "")
}

// rolloutBatch is how many nodes are entered at once.
const rolloutBatch = 500

// FindRollout returns a rollout with its nodes.
func (db *DB) FindRollout(ctx context.Context, teamID, id uuid.UUID) (update.Rollout, error) {
	var row rolloutRow
	if err := db.in(ctx).Where("id = ? and team_id = ?", id, teamID).Take(&row).Error; err != nil {
		return update.Rollout{}, mapError(err, "find the rollout")
	}
	return db.withNodes(ctx, row)
}

// LockRollout returns a rollout with its nodes, locked.
func (db *DB) LockRollout(ctx context.Context, id uuid.UUID) (update.Rollout, error) {
	var row rolloutRow
	if err := db.in(ctx).Clauses(clause.Locking{Strength: "UPDATE"}).Where("id = ?", id).Take(&row).Error; err != nil {
		return update.Rollout{}, mapError(err, "find the rollout")
	}
	return db.withNodes(ctx, row)
}

func (db *DB) withNodes(ctx context.Context, row rolloutRow) (update.Rollout, error) {
	r := row.toRollout()
	var rows []struct {
		NodeID      uuid.UUID
		NodeName    string
		View        nodeView `gorm:"embedded"`
		Wave        int
		Skipped     string
		OwnUpdateID *uuid.UUID
		OwnPhase    string
		OwnError    string
		OwnStarted  *time.Time
		OwnChanged  *time.Time
		OwnFinished *time.Time
	}
	err := db.in(ctx).Raw(`select n.id as node_id, n.name as node_name, r.wave, r.skipped,
			coalesce(a.version, '') as agent_version, coalesce(a.connected, false) as connected, a.connected_at, a.disconnected_at,
			coalesce(a.said_goodbye, false) as said_goodbye, a.silent_since, a.expected_until,
			u.id as own_update_id, coalesce(u.phase, '') as own_phase, coalesce(u.error, '') as own_error,
			u.started_at as own_started, u.changed_at as own_changed, u.finished_at as own_finished
		from rollout_nodes r join nodes n on n.id = r.node_id
		left join agents a on a.node_id = n.id and a.revoked_at is null
		left join node_updates u on u.rollout_id = r.rollout_id and u.node_id = r.node_id
		where r.rollout_id = ? order by r.wave, n.name`, row.ID).Scan(&rows).Error
	if err != nil {
		return r, mapError(err, "list the rollout's nodes")
	}
	for _, n := range rows {
		seen := n.View.toNode().Agent
		live, _ := seen.Liveness(now())
		r.Nodes = append(r.Nodes, update.RolloutNode{
			NodeID: n.NodeID, Name: n.NodeName, Wave: n.Wave, Skipped: n.Skipped, Live: live, Version: seen.Version,
			Update: node.Update{
				ID: orZero(n.OwnUpdateID), NodeID: n.NodeID, RolloutID: row.ID, To: row.ToVersion,
				Phase: node.UpdatePhase(n.OwnPhase), Error: n.OwnError,
				StartedAt: orZero(n.OwnStarted), ChangedAt: orZero(n.OwnChanged), FinishedAt: orZero(n.OwnFinished),
			},
		})
	}
	return r, nil
}

// ListRollouts returns a page of the team's rollouts, newest first, without
// their nodes, and how many there are, see page.Counted.
func (db *DB) ListRollouts(ctx context.Context, teamID uuid.UUID, skip, take int) ([]update.Rollout, int, error) {
	total, err := db.countSome(ctx, db.in(ctx).Model(&rolloutRow{}).Where("team_id = ?", teamID), page.Page{Skip: skip, Take: take})
	if err != nil {
		return nil, 0, mapError(err, "count the rollouts")
	}
	var rows []rolloutRow
	err = db.in(ctx).Where("team_id = ?", teamID).Order("created_at desc, id desc").Offset(skip).Limit(take).Find(&rows).Error
	return convert(rows, rolloutRow.toRollout), total, mapError(err, "list the rollouts")
}

// SaveRollout changes where a rollout stands, and wakes who takes it on.
func (db *DB) SaveRollout(ctx context.Context, r update.Rollout) error {
	err := db.in(ctx).Model(&rolloutRow{}).Where("id = ?", r.ID).UpdateColumns(map[string]any{
		"state": string(r.State), "wave": r.Wave, "error": r.Error, "finished_at": orNull(r.FinishedAt),
	}).Error
	if err != nil {
		return mapError(err, "note where the rollout stands")
	}
	return db.notify(ctx, ChannelRollout, "")
}

// SkipNode leaves a node out of a rollout, and wakes who takes it on.
func (db *DB) SkipNode(ctx context.Context, rolloutID, nodeID uuid.UUID, why string) error {
	err := db.in(ctx).Model(&rolloutNodeRow{}).Where("rollout_id = ? and node_id = ?", rolloutID, nodeID).UpdateColumn("skipped", why).Error
	if err != nil {
		return mapError(err, "leave the node out of the rollout")
	}
	return db.notify(ctx, ChannelRollout, "")
}

// ListRunningRollouts returns the rollouts that are not finished.
func (db *DB) ListRunningRollouts(ctx context.Context) (ids []uuid.UUID, err error) {
	err = db.in(ctx).Model(&rolloutRow{}).Where("finished_at is null").Order("created_at").Pluck("id", &ids).Error
	return ids, mapError(err, "list the rollouts")
}
