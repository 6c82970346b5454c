package postgres

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/node"
)

// nodeView is a node with its agent and the last update of that.
type nodeView struct {
	nodeRow

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
}

const (
	nodeColumns = `n.id, n.team_id, n.name, n.description, n.icon, n.type, n.created_at, n.created_by, n.updated_at, n.updated_by,
		a.id, coalesce(a.version, ''), coalesce(a.address, ''), coalesce(a.engine_name, ''), coalesce(a.engine_version, ''),
		coalesce(a.architecture, ''), coalesce(a.capabilities, ''),
		coalesce(a.connected, false), a.connected_at, a.disconnected_at, coalesce(a.said_goodbye, false), a.silent_since, a.expected_until,
		coalesce(a.quarantine, ''), a.quarantined_at, coalesce(a.recoveries, 0), a.recovered_at, a.cloned_at, coalesce(a.cloned_address, ''),
		coalesce(a.refusal, ''), a.refused_at, coalesce(a.diverged, ''), a.diverged_at, coalesce(a.engine_error, ''), a.engine_error_at,
		u.id, u.rollout_id, coalesce(u.from_version, ''), coalesce(u.to_version, ''), coalesce(u.phase, ''), coalesce(u.error, ''),
		u.started_at, coalesce(u.started_by, ''), u.changed_at, u.finished_at`
	nodeTables = ` from nodes n
		left join agents a on a.node_id = n.id and a.revoked_at is null
		left join lateral (select * from node_updates where node_id = n.id order by started_at desc limit 1) u on true`
	selectNodes = "select " + nodeColumns + nodeTables
)

func (r *nodeView) fields() []any {
	return []any{
		&r.ID, &r.TeamID, &r.Name, &r.Description, &r.Icon, &r.Type, &r.CreatedAt, &r.CreatedBy, &r.UpdatedAt, &r.UpdatedBy,
		&r.AgentID, &r.AgentVersion, &r.Address, &r.EngineName, &r.EngineVersion,
		&r.Architecture, &r.Capabilities,
		&r.Connected, &r.ConnectedAt, &r.DisconnectedAt, &r.SaidGoodbye, &r.SilentSince, &r.ExpectedUntil,
		&r.Quarantine, &r.QuarantinedAt, &r.Recoveries, &r.RecoveredAt, &r.ClonedAt, &r.ClonedAddress,
		&r.Refusal, &r.RefusedAt, &r.Diverged, &r.DivergedAt, &r.EngineError, &r.EngineErrorAt,
		&r.UpdateID, &r.RolloutID, &r.FromVersion, &r.ToVersion, &r.UpdatePhase, &r.UpdateError,
		&r.UpdateStartedAt, &r.UpdateStartedBy, &r.UpdateChangedAt, &r.UpdateFinishedAt,
	}
}

func (r *nodeView) toNode() node.Node {
	return node.Node{
		ID: r.ID, TeamID: r.TeamID, Name: r.Name, Description: r.Description, Icon: r.Icon, Type: node.Type(r.Type),
		CreatedAt: r.CreatedAt, CreatedBy: r.CreatedBy, UpdatedAt: r.UpdatedAt, UpdatedBy: r.UpdatedBy,
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
		Update: node.Update{
			ID: orZero(r.UpdateID), NodeID: r.ID, RolloutID: orZero(r.RolloutID), From: r.FromVersion, To: r.ToVersion,
			Phase: node.UpdatePhase(r.UpdatePhase), Error: r.UpdateError,
			StartedAt: orZero(r.UpdateStartedAt), StartedBy: r.UpdateStartedBy,
			ChangedAt: orZero(r.UpdateChangedAt), FinishedAt: orZero(r.UpdateFinishedAt),
		},
	}
}

func readNode(r *nodeView) (node.Node, error) { return r.toNode(), nil }

// nodeDetailRow is a node with what only its own page shows.
type nodeDetailRow struct {
	nodeView

	RefusalReason  string
	RefusalMessage string
	RefusalAddress string
	RefusalAt      *time.Time

	InUse bool

	InstallationID *uuid.UUID
	Script         []byte
	Command        string
	ExpiresAt      *time.Time
}

func (r *nodeDetailRow) fields() []any {
	return append(r.nodeView.fields(), &r.RefusalReason, &r.RefusalMessage, &r.RefusalAddress, &r.RefusalAt,
		&r.InUse, &r.InstallationID, &r.Script, &r.Command, &r.ExpiresAt)
}

func (r *nodeDetailRow) toNode() (node.Node, error) {
	n := r.nodeView.toNode()
	n.LastRefusal = node.Refusal{Reason: r.RefusalReason, Message: r.RefusalMessage, Address: r.RefusalAddress, At: orZero(r.RefusalAt)}
	n.InUse = r.InUse
	n.Installation = node.Installation{
		ID: orZero(r.InstallationID), NodeID: n.ID, Script: r.Script, Command: r.Command, ExpiresAt: orZero(r.ExpiresAt),
	}
	return n, nil
}

// Whether a node is in use is asked of one node only: of each of many it would
// cost a scan of all deployments where most are on few nodes.
const selectNodeDetail = "select " + nodeColumns + `,
		coalesce(f.reason, ''), coalesce(f.message, ''), coalesce(f.address, ''), f.at,
		exists (select from deployments d where d.node_id = n.id),
		i.id, i.script, coalesce(i.command, ''), i.expires_at` + nodeTables + `
	left join node_refusals f on f.node_id = n.id
	left join installations i on i.node_id = n.id and i.consumed_at is null
	where n.team_id = $1 and n.id = $2`

// FindNode returns a node of the team.
func (db *DB) FindNode(ctx context.Context, teamID, id uuid.UUID) (node.Node, error) {
	return readRow(ctx, db, "find the node", (*nodeDetailRow).toNode, selectNodeDetail, teamID, id)
}

// ListNodes returns the team's nodes by name, without what only a node's own
// page shows: whether it is in use, its installation and its last refusal.
func (db *DB) ListNodes(ctx context.Context, teamID uuid.UUID) ([]node.Node, error) {
	query, args := paging(ctx, selectNodes+" where n.team_id = $1 order by n.name", teamID)
	return readRows(ctx, db, "list the nodes", readNode, query, args...)
}
