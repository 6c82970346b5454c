package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/node"
	"fairlead.dev/controller/internal/page"
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

// InsertNode adds a node.
func (db *DB) InsertNode(ctx context.Context, n node.Node) error {
	row := nodeRow{
		ID: n.ID, TeamID: n.TeamID, Name: n.Name, Description: n.Description, Icon: n.Icon, Type: string(n.Type),
		CreatedAt: n.CreatedAt, CreatedBy: n.CreatedBy, UpdatedAt: n.UpdatedAt, UpdatedBy: n.UpdatedBy,
	}
	return mapError(db.in(ctx).Create(&row).Error, "make the node")
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

// ListNodeEvents returns a page of a node's history, newest first, and how many
// events fit, see page.Counted.
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
	total, err := db.countSome(ctx, matching(), page.Page{Skip: q.Skip, Take: q.Take})
	if err != nil {
		return nil, 0, mapError(err, "count the node's history")
	}
	var rows []nodeEventRow
	err = matching().Order("created_at desc, id desc").Offset(q.Skip).Limit(q.Take).Find(&rows).Error
	return convert(rows, func(r nodeEventRow) node.Event {
		return node.Event{Event: r.Event, Data: r.Data, At: r.CreatedAt}
	}), total, mapError(err, "list the node's history")
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
