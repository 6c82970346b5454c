package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/bulk"
	"fairlead.dev/shared/apperr"
)

// FindOwner finds which controller has the session of a team's node.
func (db *DB) FindOwner(ctx context.Context, teamID, nodeID uuid.UUID) (bulk.Owner, error) {
	var row struct {
		NodeID    uuid.UUID
		AgentID   *uuid.UUID
		Epoch     *int64
		Connected *bool
		ReplicaID *uuid.UUID
		Address   *string
	}
	err := db.in(ctx).Raw(`select n.id as node_id, a.id as agent_id, a.epoch, a.connected, r.id as replica_id, r.address
		from nodes n
		left join agents a on a.node_id = n.id and a.revoked_at is null
		left join replicas r on r.id = a.replica_id
		where n.team_id = ? and n.id = ?
		order by a.connected desc nulls last limit 1`, teamID, nodeID).Take(&row).Error
	if err != nil {
		return bulk.Owner{}, mapError(err, "find the node's connection")
	}
	o := bulk.Owner{NodeID: row.NodeID, AgentID: orZero(row.AgentID), Epoch: orZero(row.Epoch), Connected: orZero(row.Connected)}
	if row.ReplicaID != nil {
		o.Replica, o.Address = row.ReplicaID.String(), orZero(row.Address)
	}
	return o, nil
}

// FindAgentPlace returns the node and the team that an agent serves or served.
func (db *DB) FindAgentPlace(ctx context.Context, agentID uuid.UUID) (nodeID, teamID uuid.UUID, err error) {
	var row struct{ NodeID, TeamID uuid.UUID }
	err = db.in(ctx).Raw("select n.id as node_id, n.team_id from agents a join nodes n on n.id = a.node_id where a.id = ?", agentID).
		Take(&row).Error
	return row.NodeID, row.TeamID, mapError(err, "find the agent's node")
}

// FindReplicaAddress returns what the peers of a live replica dial.
func (db *DB) FindReplicaAddress(ctx context.Context, id string) (string, error) {
	parsed, err := uuid.Parse(id)
	if err != nil {
		return "", apperr.New(apperr.NotFound, "no such controller")
	}
	var address string
	err = db.in(ctx).Raw("select address from replicas where id = ? and lease_until > now()", parsed).Take(&address).Error
	return address, mapError(err, "find the controller")
}

// Neighbour is another controller on this database.
type Neighbour struct {
	ID         uuid.UUID
	Name       string
	Address    string
	LeaseUntil time.Time
}

// ListNeighbours returns the live replicas but for one, oldest first.
func (db *DB) ListNeighbours(ctx context.Context, but uuid.UUID) ([]Neighbour, error) {
	var rows []Neighbour
	err := db.in(ctx).Raw(`select id, name, address, lease_until from replicas
		where id <> ? and lease_until > now() order by started_at, id`, but).Scan(&rows).Error
	return rows, mapError(err, "list the controllers")
}
