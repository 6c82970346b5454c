package postgres

import (
	"context"

	"github.com/google/uuid"
)

// NodeSealingKey returns the sealing key of a node's agent, also of one that is
// away.
func (db *DB) NodeSealingKey(ctx context.Context, nodeID uuid.UUID) (string, error) {
	var keys []string
	err := db.in(ctx).Table("agents").Where("node_id = ? and revoked_at is null", nodeID).
		Order("enrolled_at desc").Limit(1).Pluck("sealing_key", &keys).Error
	if err != nil || len(keys) == 0 {
		return "", mapError(err, "find the node's sealing key")
	}
	return keys[0], nil
}

// KeepSealingKey notes what secrets for an agent's node are sealed to; it
// reports false when the epoch is not the agent's any more.
func (db *DB) KeepSealingKey(ctx context.Context, agentID uuid.UUID, epoch int64, key string) (bool, error) {
	result := db.in(ctx).Table("agents").Where("id = ? and epoch = ? and revoked_at is null", agentID, epoch).
		Update("sealing_key", key)
	return result.RowsAffected > 0, mapError(result.Error, "note the agent's sealing key")
}
