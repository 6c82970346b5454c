package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm/clause"

	"fairlead.dev/controller/internal/agent"
)

type agentRow struct {
	ID                  uuid.UUID
	NodeID              uuid.UUID
	KeyHash             []byte
	CertificateNotAfter time.Time
	EnrolledAt          time.Time
	RevokedAt           *time.Time
	Epoch               int64
	BootID              string
	StatusSequence      int64
	Version             string
	EngineName          string
	EngineVersion       string
	OS                  string
	Architecture        string
	Hostname            string
	Address             string
	SealingKey          string
}

func (agentRow) TableName() string { return "agents" }

func (r agentRow) toAgent() agent.Agent {
	return agent.Agent{
		ID: r.ID, NodeID: r.NodeID, KeyHash: r.KeyHash, RevokedAt: orZero(r.RevokedAt),
		Epoch: r.Epoch, BootID: r.BootID, StatusSequence: uint64(r.StatusSequence), SealingKey: r.SealingKey,
	}
}

// InsertAgent adds an agent.
func (db *DB) InsertAgent(ctx context.Context, a agent.Agent, info agent.Info, certificateNotAfter, at time.Time) error {
	row := agentRow{
		ID: a.ID, NodeID: a.NodeID, KeyHash: a.KeyHash, CertificateNotAfter: certificateNotAfter, EnrolledAt: at,
		Version: info.Version, EngineName: info.EngineName, EngineVersion: info.EngineVersion,
		OS: info.OS, Architecture: info.Architecture, Hostname: info.Hostname, Address: info.Address,
	}
	return mapError(db.in(ctx).Create(&row).Error, "store the agent")
}

// FindAgent returns an agent, revoked or not.
func (db *DB) FindAgent(ctx context.Context, id uuid.UUID) (agent.Agent, error) {
	var row agentRow
	err := db.in(ctx).Where("id = ?", id).Take(&row).Error
	return row.toAgent(), mapError(err, "find the agent")
}

// NodeGeneration returns the generation of what a node should run.
func (db *DB) NodeGeneration(ctx context.Context, nodeID uuid.UUID) (uint64, error) {
	var row struct{ Generation int64 }
	err := db.in(ctx).Table("nodes").Select("generation").Where("id = ?", nodeID).Take(&row).Error
	return toGeneration(row.Generation), mapError(err, "look for the node's generation")
}

// RevokeAgent revokes a node's agent and tells its open sessions.
func (db *DB) RevokeAgent(ctx context.Context, nodeID uuid.UUID, at time.Time) (bool, error) {
	var revoked []agentRow
	err := db.in(ctx).Model(&revoked).Clauses(clause.Returning{Columns: []clause.Column{{Name: "id"}}}).
		Where("node_id = ? and revoked_at is null", nodeID).
		UpdateColumns(map[string]any{"revoked_at": at, "connected": false, "disconnected_at": at}).Error
	if err != nil {
		return false, mapError(err, "revoke the agent")
	}
	for _, a := range revoked {
		if err := db.notify(ctx, ChannelAgent, a.ID.String()); err != nil {
			return false, err
		}
	}
	return len(revoked) > 0, nil
}

// RenewAgent notes how long an agent's newest certificate lasts.
func (db *DB) RenewAgent(ctx context.Context, id uuid.UUID, notAfter time.Time) error {
	err := db.in(ctx).Model(&agentRow{}).Where("id = ?", id).UpdateColumn("certificate_not_after", notAfter).Error
	return mapError(err, "renew the agent's certificate")
}

// OpenSession binds an agent to the key it came with and raises its epoch; a
// new boot starts its reports anew.
func (db *DB) OpenSession(ctx context.Context, id uuid.UUID, keyHash []byte, bootID string, info agent.Info, at time.Time) (agent.Agent, error) {
	var row agentRow
	result := db.in(ctx).Raw(`update agents set
			epoch = epoch + 1, key_hash = @key,
			status_sequence = case when boot_id = @boot then status_sequence else 0 end,
			boot_id = @boot, version = @version, engine_name = @engine, engine_version = @engine_version,
			os = @os, architecture = @architecture, hostname = @hostname, address = @address,
			connected = true, connected_at = @at, said_goodbye = false
		where id = @id and revoked_at is null
		returning *`,
		map[string]any{
			"id": id, "key": keyHash, "boot": bootID, "at": at, "version": info.Version, "engine": info.EngineName,
			"engine_version": info.EngineVersion, "os": info.OS, "architecture": info.Architecture,
			"hostname": info.Hostname, "address": info.Address,
		}).Take(&row)
	if result.Error != nil {
		return agent.Agent{}, mapError(result.Error, "open the agent's session")
	}
	return row.toAgent(), db.notify(ctx, ChannelAgent, id.String())
}

// CloseSession marks an agent disconnected, unless a newer session took over.
func (db *DB) CloseSession(ctx context.Context, id uuid.UUID, epoch int64, goodbye bool, at time.Time) (bool, error) {
	result := db.in(ctx).Model(&agentRow{}).Where("id = ? and epoch = ? and connected", id, epoch).
		UpdateColumns(map[string]any{"connected": false, "disconnected_at": at, "said_goodbye": goodbye})
	return result.RowsAffected > 0, mapError(result.Error, "close the agent's session")
}

// CloseAllSessions marks every agent disconnected.
func (db *DB) CloseAllSessions(ctx context.Context, at time.Time) error {
	err := db.in(ctx).Model(&agentRow{}).Where("connected").
		UpdateColumns(map[string]any{"connected": false, "disconnected_at": at}).Error
	return mapError(err, "close the sessions of before")
}

// AcknowledgeSet notes which set an agent holds or why it refused one.
func (db *DB) AcknowledgeSet(ctx context.Context, id uuid.UUID, epoch int64, generation uint64, setHash, refusal string) (bool, error) {
	values := map[string]any{"refusal": refusal}
	if refusal == "" {
		values["applied_generation"], values["applied_set_hash"] = int64(generation), setHash
	}
	result := db.in(ctx).Model(&agentRow{}).Where("id = ? and epoch = ?", id, epoch).UpdateColumns(values)
	return result.RowsAffected > 0, mapError(result.Error, "note the agent's assignments")
}

// AdvanceStatus moves an agent's status sequence on.
func (db *DB) AdvanceStatus(ctx context.Context, id uuid.UUID, epoch int64, sequence uint64) (bool, error) {
	result := db.in(ctx).Model(&agentRow{}).
		Where("id = ? and epoch = ? and revoked_at is null and status_sequence < ?", id, epoch, int64(sequence)).
		UpdateColumn("status_sequence", int64(sequence))
	return result.RowsAffected > 0, mapError(result.Error, "note the agent's report")
}

// FindInstallation finds an enrolment token by its hash and locks it.
func (db *DB) FindInstallation(ctx context.Context, tokenHash []byte) (agent.Installation, error) {
	var row struct {
		ID         uuid.UUID
		NodeID     uuid.UUID
		ExpiresAt  time.Time
		ConsumedAt *time.Time
		AgentID    *uuid.UUID
		NodeName   string
		NodeType   string
		TeamID     uuid.UUID
	}
	err := db.in(ctx).Raw(`select i.id, i.node_id, i.expires_at, i.consumed_at, i.agent_id,
			n.name as node_name, n.type as node_type, n.team_id
		from installations i join nodes n on n.id = i.node_id
		where i.token_hash = ? for update of i, n`, tokenHash).Take(&row).Error
	return agent.Installation{
		ID: row.ID, NodeID: row.NodeID, NodeName: row.NodeName, NodeType: row.NodeType, TeamID: row.TeamID,
		ExpiresAt: row.ExpiresAt, Consumed: row.ConsumedAt != nil, AgentID: orZero(row.AgentID),
	}, mapError(err, "find the enrolment token")
}

// ConsumeInstallation uses a token up: the one conditional update that only one
// of any number of callers can make.
func (db *DB) ConsumeInstallation(ctx context.Context, id, agentID uuid.UUID, now time.Time) (bool, error) {
	result := db.in(ctx).Exec(`update installations set consumed_at = ?, agent_id = ?, script = '', command = ''
		where id = ? and consumed_at is null and expires_at > ?`, now, agentID, id, now)
	return result.RowsAffected == 1, mapError(result.Error, "use the enrolment token")
}
