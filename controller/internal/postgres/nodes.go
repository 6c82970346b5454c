package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/node"
)

type nodeRow struct {
	ID          uuid.UUID
	TeamID      uuid.UUID
	Name        string
	Description string
	Icon        string
	Type        string
	CreatedAt   time.Time
	CreatedBy   string
	UpdatedAt   time.Time
	UpdatedBy   string
}

func (nodeRow) TableName() string { return "nodes" }

// nodeView is a node with its agent and its live installation.
type nodeView struct {
	Node nodeRow `gorm:"embedded"`

	AgentID        *uuid.UUID
	AgentVersion   string
	Address        string
	EngineName     string
	EngineVersion  string
	Architecture   string
	Capabilities   string
	Connected      bool
	ConnectedAt    *time.Time
	DisconnectedAt *time.Time
	SaidGoodbye    bool
	SilentSince    *time.Time
	ExpectedUntil  *time.Time
	Quarantine     string
	QuarantinedAt  *time.Time
	Recoveries     int64
	RecoveredAt    *time.Time
	ClonedAt       *time.Time
	ClonedAddress  string
	Refusal        string
	RefusedAt      *time.Time
	Diverged       string
	DivergedAt     *time.Time
	EngineError    string
	EngineErrorAt  *time.Time

	RefusalReason  string
	RefusalMessage string
	RefusalAddress string
	RefusalAt      *time.Time

	InUse bool

	UpdateID         *uuid.UUID
	RolloutID        *uuid.UUID
	FromVersion      string
	ToVersion        string
	UpdatePhase      string
	UpdateError      string
	UpdateStartedAt  *time.Time
	UpdateStartedBy  string
	UpdateChangedAt  *time.Time
	UpdateFinishedAt *time.Time

	InstallationID *uuid.UUID
	Script         []byte
	Command        string
	ExpiresAt      *time.Time
}

func (r nodeView) toNode() node.Node {
	n := r.Node
	return node.Node{
		ID: n.ID, TeamID: n.TeamID, Name: n.Name, Description: n.Description, Icon: n.Icon, Type: node.Type(n.Type),
		CreatedAt: n.CreatedAt, CreatedBy: n.CreatedBy, UpdatedAt: n.UpdatedAt, UpdatedBy: n.UpdatedBy,
		Agent: node.Agent{
			ID: orZero(r.AgentID), Version: r.AgentVersion, Address: r.Address,
			EngineName: r.EngineName, EngineVersion: r.EngineVersion, Architecture: r.Architecture, Capabilities: strings.Fields(r.Capabilities),
			Connected: r.Connected, ConnectedAt: orZero(r.ConnectedAt), DisconnectedAt: orZero(r.DisconnectedAt),
			SaidGoodbye: r.SaidGoodbye, Refusal: r.Refusal,
			RefusedAt: orZero(r.RefusedAt), Diverged: r.Diverged, DivergedAt: orZero(r.DivergedAt),
			EngineError: r.EngineError, EngineErrorAt: orZero(r.EngineErrorAt),
			SilentSince: orZero(r.SilentSince), ExpectedUntil: orZero(r.ExpectedUntil),
			Quarantine: r.Quarantine, QuarantineAt: orZero(r.QuarantinedAt),
			Recoveries: r.Recoveries, RecoveredAt: orZero(r.RecoveredAt),
			ClonedAt: orZero(r.ClonedAt), ClonedAddress: r.ClonedAddress,
		},
		LastRefusal: node.Refusal{Reason: r.RefusalReason, Message: r.RefusalMessage, Address: r.RefusalAddress, At: orZero(r.RefusalAt)},
		InUse:       r.InUse,
		Update: node.Update{
			ID: orZero(r.UpdateID), NodeID: n.ID, RolloutID: orZero(r.RolloutID), From: r.FromVersion, To: r.ToVersion,
			Phase: node.UpdatePhase(r.UpdatePhase), Error: r.UpdateError,
			StartedAt: orZero(r.UpdateStartedAt), StartedBy: r.UpdateStartedBy,
			ChangedAt: orZero(r.UpdateChangedAt), FinishedAt: orZero(r.UpdateFinishedAt),
		},
		Installation: node.Installation{
			ID: orZero(r.InstallationID), NodeID: n.ID, Script: r.Script, Command: r.Command, ExpiresAt: orZero(r.ExpiresAt),
		},
	}
}

// isInUse is a column of one node; for each of many it would cost a scan of all
// deployments where most are on few nodes.
const isInUse = "exists (select from deployments d where d.node_id = nodes.id)"

func (db *DB) nodeViews(ctx context.Context, teamID uuid.UUID, inUse string) *gorm.DB {
	return db.in(ctx).Table("nodes").Select(`nodes.*,
			a.id as agent_id, coalesce(a.version, '') as agent_version, coalesce(a.address, '') as address,
			coalesce(a.engine_name, '') as engine_name, coalesce(a.engine_version, '') as engine_version,
			coalesce(a.connected, false) as connected, a.connected_at, a.disconnected_at,
			coalesce(a.said_goodbye, false) as said_goodbye, coalesce(a.refusal, '') as refusal,
			a.silent_since, a.expected_until, coalesce(a.quarantine, '') as quarantine, a.quarantined_at,
			coalesce(a.recoveries, 0) as recoveries, a.recovered_at, a.cloned_at, coalesce(a.cloned_address, '') as cloned_address,
			coalesce(a.architecture, '') as architecture, coalesce(a.capabilities, '') as capabilities,
			u.id as update_id, u.rollout_id, coalesce(u.from_version, '') as from_version, coalesce(u.to_version, '') as to_version,
			coalesce(u.phase, '') as update_phase, coalesce(u.error, '') as update_error, u.started_at as update_started_at,
			coalesce(u.started_by, '') as update_started_by, u.changed_at as update_changed_at, u.finished_at as update_finished_at,
			a.refused_at, coalesce(a.diverged, '') as diverged, a.diverged_at,
			coalesce(a.engine_error, '') as engine_error, a.engine_error_at,
			coalesce(f.reason, '') as refusal_reason, coalesce(f.message, '') as refusal_message,
			coalesce(f.address, '') as refusal_address, f.at as refusal_at,
			`+inUse+` as in_use,
			i.id as installation_id, i.script, coalesce(i.command, '') as command, i.expires_at`).
		Joins("left join agents a on a.node_id = nodes.id and a.revoked_at is null").
		Joins("left join lateral (select * from node_updates where node_id = nodes.id order by started_at desc limit 1) u on true").
		Joins("left join node_refusals f on f.node_id = nodes.id").
		Joins("left join installations i on i.node_id = nodes.id and i.consumed_at is null").
		Where("nodes.team_id = ?", teamID)
}

// InsertNode adds a node.
func (db *DB) InsertNode(ctx context.Context, n node.Node) error {
	row := nodeRow{
		ID: n.ID, TeamID: n.TeamID, Name: n.Name, Description: n.Description, Icon: n.Icon, Type: string(n.Type),
		CreatedAt: n.CreatedAt, CreatedBy: n.CreatedBy, UpdatedAt: n.UpdatedAt, UpdatedBy: n.UpdatedBy,
	}
	return mapError(db.in(ctx).Create(&row).Error, "make the node")
}

// FindNode returns a node of the team.
func (db *DB) FindNode(ctx context.Context, teamID, id uuid.UUID) (node.Node, error) {
	var row nodeView
	err := db.nodeViews(ctx, teamID, isInUse).Where("nodes.id = ?", id).Take(&row).Error
	return row.toNode(), mapError(err, "find the node")
}

// HasNode reports whether a node is the team's.
func (db *DB) HasNode(ctx context.Context, teamID, id uuid.UUID) (bool, error) {
	var found []uuid.UUID
	err := db.in(ctx).Model(&nodeRow{}).Where("team_id = ? and id = ?", teamID, id).Pluck("id", &found).Error
	return len(found) > 0, mapError(err, "find the node")
}

// ListNodes returns the team's nodes by name. It does not look whether they are
// in use.
func (db *DB) ListNodes(ctx context.Context, teamID uuid.UUID) ([]node.Node, error) {
	var rows []nodeView
	err := paged(ctx, db.nodeViews(ctx, teamID, "false").Order("nodes.name")).Find(&rows).Error
	return convert(rows, nodeView.toNode), mapError(err, "list the nodes")
}

// UpdateNode changes what a person says about a node.
func (db *DB) UpdateNode(ctx context.Context, n node.Node) error {
	err := db.in(ctx).Model(&nodeRow{}).Where("id = ?", n.ID).UpdateColumns(map[string]any{
		"name": n.Name, "description": n.Description, "icon": n.Icon, "updated_at": n.UpdatedAt, "updated_by": n.UpdatedBy,
	}).Error
	return mapError(err, "change the node")
}

// SetNodeType says what kind of engine a node has.
func (db *DB) SetNodeType(ctx context.Context, id uuid.UUID, t node.Type) error {
	err := db.in(ctx).Model(&nodeRow{}).Where("id = ?", id).UpdateColumn("type", string(t)).Error
	return mapError(err, "set the node's type")
}

// DeleteNode removes a node.
func (db *DB) DeleteNode(ctx context.Context, id uuid.UUID) error {
	return mapError(db.in(ctx).Where("id = ?", id).Delete(&nodeRow{}).Error, "delete the node")
}

type installationRow struct {
	ID        uuid.UUID
	NodeID    uuid.UUID
	TokenHash []byte
	Script    []byte
	Command   string
	ExpiresAt time.Time
	CreatedAt time.Time
	CreatedBy string
}

func (installationRow) TableName() string { return "installations" }

// ReplaceInstallation puts a new installation in the place of the node's
// unused one.
func (db *DB) ReplaceInstallation(ctx context.Context, i node.Installation) error {
	if _, err := db.DeleteInstallation(ctx, i.NodeID); err != nil {
		return err
	}
	row := installationRow{
		ID: i.ID, NodeID: i.NodeID, TokenHash: i.TokenHash, Script: i.Script, Command: i.Command,
		ExpiresAt: i.ExpiresAt, CreatedAt: i.CreatedAt, CreatedBy: i.CreatedBy,
	}
	return mapError(db.in(ctx).Create(&row).Error, "store the install script")
}

// FindInstallationScript returns a node's live sealed script.
func (db *DB) FindInstallationScript(ctx context.Context, teamSlug string, nodeID uuid.UUID, now time.Time) ([]byte, error) {
	var row installationRow
	err := db.in(ctx).Table("installations").Select("installations.*").
		Joins("join nodes on nodes.id = installations.node_id").
		Joins("join teams on teams.id = nodes.team_id").
		Where("teams.slug = ? and nodes.id = ? and installations.consumed_at is null and installations.expires_at > ?", teamSlug, nodeID, now).
		Take(&row).Error
	return row.Script, mapError(err, "find the install script")
}

// DeleteInstallation removes a node's unused installation.
func (db *DB) DeleteInstallation(ctx context.Context, nodeID uuid.UUID) (bool, error) {
	result := db.in(ctx).Where("node_id = ? and consumed_at is null", nodeID).Delete(&installationRow{})
	return result.RowsAffected > 0, mapError(result.Error, "delete the install script")
}

type nodeEventRow struct {
	ID        int64 `gorm:"->"`
	NodeID    uuid.UUID
	Event     string
	Data      string
	CreatedAt time.Time
}

func (nodeEventRow) TableName() string { return "node_events" }

// AppendNodeEvent adds to a node's history, with the name of who did it when
// somebody did.
func (db *DB) AppendNodeEvent(ctx context.Context, nodeID uuid.UUID, event string, data map[string]any, at time.Time) error {
	told := map[string]any{}
	if who, err := actor.From(ctx); err == nil && data["startedBy"] == nil {
		told["user"] = who.Name
	}
	maps.Copy(told, data)
	text, err := json.Marshal(told)
	if err != nil {
		return fmt.Errorf("encode the node's event: %w", err)
	}
	row := nodeEventRow{NodeID: nodeID, Event: event, Data: string(text), CreatedAt: at}
	return mapError(db.in(ctx).Create(&row).Error, "write the node's history")
}

// ListNodeEvents returns a page of a node's history, newest first, and the
// count of all.
func (db *DB) ListNodeEvents(ctx context.Context, nodeID uuid.UUID, q node.EventQuery) ([]node.Event, int, error) {
	matching := func() *gorm.DB {
		tx := db.in(ctx).Model(&nodeEventRow{}).Where("node_id = ? and created_at >= ? and created_at <= ?", nodeID, q.From, q.To)
		if q.Event != "" {
			tx = tx.Where("event = ?", q.Event)
		}
		if q.User != "" {
			tx = tx.Where("? in (data->>'user', data->>'startedBy')", q.User)
		}
		if q.Filter != "" {
			part := "%" + escapeLike(q.Filter) + "%"
			tx = tx.Where("event ilike ? or data::text ilike ?", part, part)
		}
		return tx
	}
	var total int64
	if err := matching().Count(&total).Error; err != nil {
		return nil, 0, mapError(err, "count the node's history")
	}
	var rows []nodeEventRow
	err := matching().Order("id desc").Offset(q.Skip).Limit(q.Take).Find(&rows).Error
	return convert(rows, func(r nodeEventRow) node.Event {
		return node.Event{Event: r.Event, Data: r.Data, At: r.CreatedAt}
	}), int(total), mapError(err, "list the node's history")
}

// NodeConnected tells whether a node of the team has its agent connected, and
// not in quarantine.
func (db *DB) NodeConnected(ctx context.Context, teamID, nodeID uuid.UUID) (bool, error) {
	n, err := db.FindNode(ctx, teamID, nodeID)
	if err != nil {
		return false, err
	}
	live, _ := n.Agent.Liveness(now())
	return live == node.Connected && n.Agent.Quarantine == "", nil
}

// ListNodeAgents returns what is known of the nodes' agents; nodes that have
// none are missing.
func (db *DB) ListNodeAgents(ctx context.Context, nodeIDs []uuid.UUID) (map[uuid.UUID]node.Agent, error) {
	var rows []struct {
		NodeID         uuid.UUID
		ID             uuid.UUID
		Connected      bool
		ConnectedAt    *time.Time
		DisconnectedAt *time.Time
		SaidGoodbye    bool
		SilentSince    *time.Time
		ExpectedUntil  *time.Time
	}
	err := db.in(ctx).Table("agents").Where("node_id in ? and revoked_at is null", nodeIDs).Find(&rows).Error
	agents := make(map[uuid.UUID]node.Agent, len(rows))
	for _, r := range rows {
		agents[r.NodeID] = node.Agent{
			ID: r.ID, Connected: r.Connected, ConnectedAt: orZero(r.ConnectedAt),
			DisconnectedAt: orZero(r.DisconnectedAt), SaidGoodbye: r.SaidGoodbye,
			SilentSince: orZero(r.SilentSince), ExpectedUntil: orZero(r.ExpectedUntil),
		}
	}
	return agents, mapError(err, "list the nodes' agents")
}
