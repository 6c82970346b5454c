package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/controller/internal/root"
)

// RecordTrust notes which roots agents trust, each unless a newer session of
// the agent took over. What is known already is not written again.
func (db *DB) RecordTrust(ctx context.Context, list []agent.Trust) error {
	type row struct {
		ID    uuid.UUID `json:"id"`
		Epoch int64     `json:"epoch"`
		Roots []string  `json:"roots"`
	}
	rows := make([]row, 0, len(list))
	for _, t := range list {
		rows = append(rows, row{t.AgentID, t.Epoch, append([]string{}, t.Roots...)})
	}
	encoded, err := json.Marshal(rows)
	if err != nil {
		return fmt.Errorf("encode the trusted roots: %w", err)
	}
	err = db.in(ctx).Exec(`update agents set trusted_roots = said.roots
		from jsonb_to_recordset(cast(@rows as jsonb)) as said (id uuid, epoch bigint, roots jsonb)
		where agents.id = said.id and agents.epoch = said.epoch and agents.trusted_roots <> said.roots`,
		map[string]any{"rows": string(encoded)}).Error
	return mapError(err, "note which roots agents trust")
}

// livingAgents are those that count in a rotation. An agent that is connected
// was seen now, whenever that began.
const livingAgents = `agents.revoked_at is null and agents.connected_at is not null
	and (agents.connected or coalesce(agents.disconnected_at, agents.connected_at) >= @since)`

// CountTrust counts the agents that were seen since the time, and those of them
// that trust the root.
func (db *DB) CountTrust(ctx context.Context, sha256 string, seenSince time.Time) (root.Count, error) {
	var row struct{ Agents, Trusted int }
	err := db.in(ctx).Raw(`select count(*) as agents,
			count(*) filter (where trusted_roots @> jsonb_build_array(cast(@pin as text))) as trusted
		from agents where `+livingAgents,
		map[string]any{"pin": sha256, "since": seenSince}).Take(&row).Error
	return root.Count{Agents: row.Agents, Trusted: row.Trusted}, mapError(err, "count who trusts a root")
}

// ListDoubters returns agents that were seen since the time and do not trust
// the root, those seen last first.
func (db *DB) ListDoubters(ctx context.Context, sha256 string, seenSince time.Time, limit int) ([]root.Doubter, error) {
	var list []root.Doubter
	err := db.in(ctx).Raw(`select teams.slug as team, nodes.name as node,
			case when agents.connected then now() else coalesce(agents.disconnected_at, agents.connected_at) end as seen_at,
			agents.trusted_roots = '[]' as silent
		from agents join nodes on nodes.id = agents.node_id join teams on teams.id = nodes.team_id
		where `+livingAgents+` and not agents.trusted_roots @> jsonb_build_array(cast(@pin as text))
		order by seen_at desc, team, node limit @limit`,
		map[string]any{"pin": sha256, "since": seenSince, "limit": limit}).Scan(&list).Error
	return list, mapError(err, "list who does not trust a root")
}
