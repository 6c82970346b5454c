package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/agent"
)

// DismissAgent revokes the agent of a node that is about to be deleted, and keeps
// that on record. Agents that the node had before it were revoked for another
// reason and are none of this.
func (db *DB) DismissAgent(ctx context.Context, nodeID uuid.UUID, removeContainers bool, at time.Time) error {
	err := db.in(ctx).Exec(`insert into deleted_agents (id, node_id, key_hash, remove_containers, deleted_at)
		select id, node_id, key_hash, @remove, @at from agents where node_id = @node and revoked_at is null`,
		map[string]any{"node": nodeID, "remove": removeContainers, "at": at}).Error
	if err != nil {
		return mapError(err, "keep the deletion of the node")
	}
	_, err = db.RevokeAgent(ctx, nodeID, at)
	return err
}

// FindDeletion returns how the node of an agent was deleted.
func (db *DB) FindDeletion(ctx context.Context, agentID uuid.UUID) (agent.Deletion, error) {
	var row struct {
		NodeID           uuid.UUID
		KeyHash          []byte
		RemoveContainers bool
	}
	err := db.in(ctx).Table("deleted_agents").Where("id = ?", agentID).Take(&row).Error
	return agent.Deletion(row), mapError(err, "find the deletion of the agent's node")
}
