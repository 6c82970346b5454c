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
	Quarantine          string
	Connected           bool
	DisconnectedAt      *time.Time
}

func (agentRow) TableName() string { return "agents" }

func (r agentRow) toAgent() agent.Agent {
	seen := r.EnrolledAt
	switch {
	case r.Connected:
		seen = now()
	case r.DisconnectedAt != nil:
		seen = *r.DisconnectedAt
	}
	return agent.Agent{
		ID: r.ID, NodeID: r.NodeID, KeyHash: r.KeyHash, RevokedAt: orZero(r.RevokedAt),
		Epoch: r.Epoch, BootID: r.BootID, StatusSequence: uint64(r.StatusSequence),
		SealingKey: r.SealingKey, Quarantine: r.Quarantine, LastSeen: seen,
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

// RevokeAgent revokes a node's agent and tells its open sessions.
func (db *DB) RevokeAgent(ctx context.Context, nodeID uuid.UUID, at time.Time) (bool, error) {
	var revoked []agentRow
	err := db.in(ctx).Model(&revoked).Clauses(clause.Returning{Columns: []clause.Column{{Name: "id"}}}).
		Where("node_id = ? and revoked_at is null", nodeID).
		UpdateColumns(map[string]any{"revoked_at": at, "connected": false, "disconnected_at": at, "replica_id": nil, "silent_since": nil}).Error
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

// RecoverAgent counts that an agent came back after its certificate had
// expired, and puts it in quarantine for a reason.
func (db *DB) RecoverAgent(ctx context.Context, id uuid.UUID, quarantine string, at time.Time) error {
	err := db.in(ctx).Exec(`update agents set recoveries = recoveries + 1, recovered_at = @at, quarantine = @quarantine,
			quarantined_at = case when @quarantine = '' then null else coalesce(quarantined_at, @at) end
		where id = @id`, map[string]any{"id": id, "at": at, "quarantine": quarantine}).Error
	return mapError(err, "note the agent's recovery")
}

// ReadmitAgent ends the quarantine of a node's agent and tells its open
// session.
func (db *DB) ReadmitAgent(ctx context.Context, nodeID uuid.UUID) (bool, error) {
	var readmitted []agentRow
	err := db.in(ctx).Model(&readmitted).Clauses(clause.Returning{Columns: []clause.Column{{Name: "id"}}}).
		Where("node_id = ? and revoked_at is null and quarantine <> ''", nodeID).
		UpdateColumns(map[string]any{"quarantine": "", "quarantined_at": nil}).Error
	if err != nil {
		return false, mapError(err, "readmit the agent")
	}
	for _, a := range readmitted {
		if err := db.notify(ctx, ChannelAgent, a.ID.String()); err != nil {
			return false, err
		}
	}
	return len(readmitted) > 0, nil
}

// FlagClone keeps that a second process used an agent's identity, unless that
// was kept since a moment.
func (db *DB) FlagClone(ctx context.Context, id uuid.UUID, address string, at, since time.Time) (agent.Cloned, bool, error) {
	var row struct {
		NodeID uuid.UUID
		Name   string
		TeamID uuid.UUID
	}
	result := db.in(ctx).Raw(`update agents a set cloned_at = @at, cloned_address = @address
		from nodes n
		where a.id = @id and n.id = a.node_id and (a.cloned_at is null or a.cloned_at < @since)
		returning a.node_id, n.name, n.team_id`,
		map[string]any{"id": id, "address": address, "at": at, "since": since}).Scan(&row)
	return agent.Cloned{NodeID: row.NodeID, NodeName: row.Name, TeamID: row.TeamID},
		result.RowsAffected > 0, mapError(result.Error, "note the second process of the agent")
}

// PutRefusal keeps why an agent was turned away.
func (db *DB) PutRefusal(ctx context.Context, r agent.Refusal, since time.Time) error {
	err := db.in(ctx).Exec(`insert into node_refusals as r (node_id, reason, message, address, at)
		select node_id, @reason, @message, @address, @at from agents where id = @id
		on conflict (node_id) do update set reason = excluded.reason, message = excluded.message,
			address = excluded.address, at = excluded.at
		where r.at < @since`,
		map[string]any{"id": r.AgentID, "reason": r.Reason, "message": r.Message, "address": r.Address, "at": r.At, "since": since}).Error
	return mapError(err, "keep the agent's refusal")
}

// RenewAgent notes how long an agent's newest certificate lasts.
func (db *DB) RenewAgent(ctx context.Context, id uuid.UUID, notAfter time.Time) error {
	err := db.in(ctx).Model(&agentRow{}).Where("id = ?", id).UpdateColumn("certificate_not_after", notAfter).Error
	return mapError(err, "renew the agent's certificate")
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
