package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/agent"
)

// Many sessions in one statement: the list travels as one JSON parameter and
// is a relation there.

// openingJSON is one row of OpenSessions' parameter.
type openingJSON struct {
	ID            uuid.UUID `json:"id"`
	Replica       uuid.UUID `json:"replica"`
	Key           string    `json:"key"` // hex
	Boot          string    `json:"boot"`
	Capabilities  string    `json:"capabilities"`
	Version       string    `json:"version"`
	Engine        string    `json:"engine"`
	EngineVersion string    `json:"engine_version"`
	OS            string    `json:"os"`
	Architecture  string    `json:"architecture"`
	Hostname      string    `json:"hostname"`
	Address       string    `json:"address"`
	At            time.Time `json:"at"`
	Over          int64     `json:"over"`
}

// openedRow is one answer of OpenSessions: what was there, and what is now.
type openedRow struct {
	ID             uuid.UUID
	NodeID         uuid.UUID
	Epoch          int64
	BootID         string
	Address        string
	Capabilities   string
	ReplicaID      *uuid.UUID
	ReplicaAddress *string
	Revoked        bool
	Held           bool

	NewEpoch       *int64
	StatusSequence *int64
	SpoolID        *string
	FactSequence   *int64
	Quarantine     *string
	SealingKey     *string
}

// OpenSessions opens any number of sessions, of different agents, in one
// statement; see agent.Store. Rows are locked in one order, so that two
// controllers that open at the same moment do not block each other. The notice
// goes only to replicas that may hold an older session.
func (db *DB) OpenSessions(ctx context.Context, list []agent.Opening) ([]agent.Opened, error) {
	rows := make([]openingJSON, len(list))
	for i, o := range list {
		rows[i] = openingJSON{
			ID: o.AgentID, Replica: o.ReplicaID, Key: fmt.Sprintf("%x", o.KeyHash), Boot: o.BootID,
			Capabilities: strings.Join(o.Capabilities, " "), Version: o.Info.Version, Engine: o.Info.EngineName,
			EngineVersion: o.Info.EngineVersion, OS: o.Info.OS, Architecture: o.Info.Architecture,
			Hostname: o.Info.Hostname, Address: o.Info.Address, At: o.At, Over: o.Over,
		}
	}
	text, err := json.Marshal(rows)
	if err != nil {
		return nil, fmt.Errorf("encode the sessions to open: %w", err)
	}
	var answers []openedRow
	err = db.InTx(ctx, func(ctx context.Context) error {
		answers = answers[:0]
		return db.in(ctx).Raw(openSessions, map[string]any{"list": string(text), "notice": ChannelAgent}).Scan(&answers).Error
	})
	if err != nil {
		return nil, mapError(err, "open the agents' sessions")
	}
	found := make(map[uuid.UUID]openedRow, len(answers))
	for _, a := range answers {
		found[a.ID] = a
	}
	opened := make([]agent.Opened, len(list))
	for i, o := range list {
		row, ok := found[o.AgentID]
		switch {
		case !ok || row.Revoked:
			opened[i].Gone = true
		case row.NewEpoch == nil:
			opened[i].Holder = &agent.Holder{
				AgentID: row.ID, NodeID: row.NodeID, Epoch: row.Epoch, BootID: row.BootID, AgentAddress: row.Address,
				ReplicaID: orZero(row.ReplicaID), ReplicaAddress: orZero(row.ReplicaAddress),
				Capabilities: strings.Fields(row.Capabilities),
			}
		default:
			opened[i].Agent = agent.Agent{
				ID: row.ID, NodeID: row.NodeID, KeyHash: o.KeyHash, Epoch: *row.NewEpoch, BootID: o.BootID,
				StatusSequence: uint64(orZero(row.StatusSequence)), Quarantine: orZero(row.Quarantine),
				SealingKey: orZero(row.SealingKey), SpoolID: orZero(row.SpoolID), FactSequence: uint64(orZero(row.FactSequence)),
			}
		}
	}
	return opened, nil
}

const openSessions = `with r as (
	select * from jsonb_to_recordset(cast(@list as jsonb)) as x(id uuid, replica uuid, key text, boot text, capabilities text,
		version text, engine text, engine_version text, os text, architecture text, hostname text, address text,
		at timestamptz, over bigint)
), was as materialized (
	select a.id, a.node_id, a.epoch, a.boot_id, a.address, a.capabilities, a.connected, a.replica_id, a.revoked_at
	from agents a join r on r.id = a.id
	order by a.id for no key update of a
), judged as materialized (
	select was.*, p.address as replica_address,
		was.connected and was.boot_id <> r.boot and was.epoch <> r.over and p.id is not null as held
	from was join r on r.id = was.id
	left join replicas p on p.id = was.replica_id and p.lease_until > clock_timestamp()
), opened as (
	update agents a set
		epoch = a.epoch + 1, key_hash = decode(r.key, 'hex'),
		status_sequence = case when a.boot_id = r.boot then a.status_sequence else 0 end,
		boot_id = r.boot, capabilities = r.capabilities, version = r.version, engine_name = r.engine,
		engine_version = r.engine_version, os = r.os, architecture = r.architecture, hostname = r.hostname, address = r.address,
		connected = true, connected_at = r.at, said_goodbye = false, replica_id = r.replica,
		silent_since = null, expected_until = null
	from r join judged on judged.id = r.id
	where a.id = r.id and judged.revoked_at is null and not judged.held
	returning a.id, a.node_id, a.epoch, a.status_sequence, a.spool_id, a.fact_sequence, a.quarantine, a.sealing_key
), noted as (
	insert into node_events (node_id, event, data, created_at)
	select o.node_id, 'connected', jsonb_build_object('version', r.version, 'address', r.address, 'engine', r.engine || ' ' || r.engine_version), r.at
	from opened o join r on r.id = o.id
)
select j.id, j.node_id, j.epoch, j.boot_id, j.address, j.capabilities, j.replica_id, j.replica_address,
	j.revoked_at is not null as revoked, j.held,
	o.epoch as new_epoch, o.status_sequence, o.spool_id, o.fact_sequence, o.quarantine, o.sealing_key,
	case when o.id is not null and j.connected and j.replica_id is distinct from r.replica
		then pg_notify(@notice, j.id::text) end::text as told
from judged j join r on r.id = j.id left join opened o on o.id = j.id`

// closingJSON is one row of CloseSessions' parameter.
type closingJSON struct {
	ID       uuid.UUID `json:"id"`
	Epoch    int64     `json:"epoch"`
	At       time.Time `json:"at"`
	Goodbye  bool      `json:"goodbye"`
	Expected time.Time `json:"expected"`
	Reason   string    `json:"reason"`
}

// CloseSessions closes any number of sessions, of different agents, in one
// statement.
func (db *DB) CloseSessions(ctx context.Context, list []agent.Closing) ([]bool, error) {
	rows := make([]closingJSON, len(list))
	for i, c := range list {
		rows[i] = closingJSON{ID: c.AgentID, Epoch: c.Epoch, At: c.At, Goodbye: c.Goodbye, Expected: c.ExpectedUntil, Reason: c.Reason}
	}
	text, err := json.Marshal(rows)
	if err != nil {
		return nil, fmt.Errorf("encode the sessions to close: %w", err)
	}
	var ids []uuid.UUID
	err = db.InTx(ctx, func(ctx context.Context) error {
		ids = ids[:0]
		return db.in(ctx).Raw(`with r as (
			select * from jsonb_to_recordset(cast(@list as jsonb))
				as x(id uuid, epoch bigint, at timestamptz, goodbye boolean, expected timestamptz, reason text)
		), held as materialized (
			select a.id from agents a join r on r.id = a.id and r.epoch = a.epoch where a.connected order by a.id for no key update of a
		), closed as (
			update agents a set connected = false, disconnected_at = r.at, said_goodbye = r.goodbye,
				expected_until = r.expected, replica_id = null, silent_since = null
			from r join held on held.id = r.id
			where a.id = r.id and a.epoch = r.epoch and a.connected
			returning a.id, a.node_id
		), noted as (
			insert into node_events (node_id, event, data, created_at)
			select c.node_id, 'left', jsonb_build_object('goodbye', r.goodbye, 'reason', r.reason), r.at
			from closed c join r on r.id = c.id
		)
		select id from closed`, map[string]any{"list": string(text)}).Scan(&ids).Error
	})
	if err != nil {
		return nil, mapError(err, "close the agents' sessions")
	}
	closed := make(map[uuid.UUID]bool, len(ids))
	for _, id := range ids {
		closed[id] = true
	}
	return convert(list, func(c agent.Closing) bool { return closed[c.AgentID] }), nil
}

// epochJSON names one session in a parameter.
type epochJSON struct {
	ID    uuid.UUID  `json:"id"`
	Epoch int64      `json:"epoch"`
	Since *time.Time `json:"since"`
}

// ClaimSessions marks sessions open on a replica, those that hold.
func (db *DB) ClaimSessions(ctx context.Context, replicaID uuid.UUID, list []agent.Session) error {
	return db.eachSession(ctx, "claim the sessions", `update agents a set connected = true, replica_id = @replica, expected_until = null
		from r where a.id = r.id and a.epoch = r.epoch and a.revoked_at is null
			and (not a.connected or a.replica_id is distinct from @replica)`,
		convert(list, func(s agent.Session) epochJSON { return epochJSON{ID: s.AgentID, Epoch: s.Epoch} }),
		map[string]any{"replica": replicaID})
}

// NoteSilence keeps since when agents were not heard of.
func (db *DB) NoteSilence(ctx context.Context, list []agent.Silence) error {
	return db.eachSession(ctx, "note the agents' silence", `update agents a set silent_since = r.since
		from r where a.id = r.id and a.epoch = r.epoch and a.connected`,
		convert(list, func(s agent.Silence) epochJSON {
			return epochJSON{ID: s.AgentID, Epoch: s.Epoch, Since: orNull(s.Since)}
		}),
		map[string]any{})
}

// eachSession runs an update of agents a over sessions, the relation r.
func (db *DB) eachSession(ctx context.Context, what, update string, rows []epochJSON, args map[string]any) error {
	text, err := json.Marshal(rows)
	if err != nil {
		return fmt.Errorf("encode sessions: %w", err)
	}
	args["list"] = string(text)
	return db.InTx(ctx, func(ctx context.Context) error {
		return mapError(db.in(ctx).Exec(`with r as (
			select * from jsonb_to_recordset(cast(@list as jsonb)) as x(id uuid, epoch bigint, since timestamptz)
		), held as materialized (
			select a.id from agents a join r on r.id = a.id and r.epoch = a.epoch order by a.id for no key update of a
		) `+update, args).Error, what)
	})
}

// LockEpoch keeps an agent's epoch until the transaction ends.
func (db *DB) LockEpoch(ctx context.Context, id uuid.UUID, epoch int64) (bool, error) {
	var found []int
	err := db.in(ctx).Raw("select 1 from agents where id = ? and epoch = ? and revoked_at is null for share", id, epoch).Scan(&found).Error
	return len(found) > 0, mapError(err, "look for the agent's session")
}

// FindHolder returns the open session of a node's agent.
func (db *DB) FindHolder(ctx context.Context, nodeID uuid.UUID) (agent.Holder, error) {
	var row openedRow
	err := db.in(ctx).Raw(`select a.id, a.node_id, a.epoch, a.boot_id, a.address, a.capabilities, a.replica_id, p.address as replica_address
		from agents a join replicas p on p.id = a.replica_id and p.lease_until > clock_timestamp()
		where a.node_id = ? and a.revoked_at is null and a.connected`, nodeID).Take(&row).Error
	return agent.Holder{
		AgentID: row.ID, NodeID: row.NodeID, Epoch: row.Epoch, BootID: row.BootID, AgentAddress: row.Address,
		ReplicaID: orZero(row.ReplicaID), ReplicaAddress: orZero(row.ReplicaAddress), Capabilities: strings.Fields(row.Capabilities),
	}, mapError(err, "find the node's session")
}
