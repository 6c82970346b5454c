package postgres

import (
	"context"

	"github.com/google/uuid"
)

// NodeSealingKey returns the sealing key of a node's agent, also of one that is
// away.
func (db *DB) NodeSealingKey(ctx context.Context, nodeID uuid.UUID) (string, error) {
	var key string
	err := db.read(ctx, "find the node's sealing key", func(row scanner) error { return row.Scan(&key) },
		"select sealing_key from agents where node_id = $1 and revoked_at is null order by enrolled_at desc limit 1", [16]byte(nodeID))
	return key, err
}

// KeepSealingKey notes what secrets for an agent's node are sealed to; it
// reports false when the epoch is not the agent's any more.
func (db *DB) KeepSealingKey(ctx context.Context, agentID uuid.UUID, epoch int64, key string) (bool, error) {
	result := db.in(ctx).Table("agents").Where("id = ? and epoch = ? and revoked_at is null", agentID, epoch).
		Update("sealing_key", key)
	return result.RowsAffected > 0, mapError(result.Error, "note the agent's sealing key")
}
