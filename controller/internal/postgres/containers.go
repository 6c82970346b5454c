package postgres

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/report"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

type containerRow struct {
	NodeID       uuid.UUID
	EngineID     string
	Prefix       string
	Name         string
	Managed      bool
	DeploymentID *uuid.UUID
	InstanceID   *uuid.UUID
	Release      int64
	ImageName    string
	ImageTag     string
	ImageDigest  string
	Command      string
	CreatedAt    time.Time
	State        string
	Reason       string
	ExitCode     int
	Health       string
	Ports        string
	Leftover     bool
	OOMKilled    bool
	RestartCount int32
	StartedAt    *time.Time
	FinishedAt   *time.Time
}

// portJSON is a port in the column ports.
type portJSON struct {
	Internal int32  `json:"internal"`
	External int32  `json:"external"`
	Protocol string `json:"protocol"`
}

// noPorts is an empty list of them.
const noPorts = "[]"

func (r *containerRow) fields() []any {
	return []any{
		&r.NodeID, &r.EngineID, &r.Prefix, &r.Name, &r.Managed, &r.DeploymentID, &r.InstanceID, &r.Release,
		&r.ImageName, &r.ImageTag, &r.ImageDigest, &r.Command, &r.CreatedAt, &r.State, &r.Reason, &r.ExitCode, &r.Health, &r.Ports,
		&r.Leftover, &r.OOMKilled, &r.RestartCount, &r.StartedAt, &r.FinishedAt,
	}
}

const containerColumns = `c.node_id, c.engine_id, c.prefix, c.name, c.managed, c.deployment_id, c.instance_id, c.release,
		c.image_name, c.image_tag, c.image_digest, c.command, c.created_at, c.state, c.reason, c.exit_code, c.health, c.ports,
		c.leftover, c.oom_killed, c.restart_count, c.started_at, c.finished_at`

func (r *containerRow) toContainer() workload.Container {
	var ports []portJSON
	if r.Ports != noPorts {
		_ = json.Unmarshal([]byte(r.Ports), &ports) // written by toContainerRow
	}
	c := workload.Container{
		ID: workload.ContainerID{Prefix: r.Prefix, Name: r.Name}, EngineID: r.EngineID, Managed: r.Managed,
		DeploymentID: textOf(r.DeploymentID), InstanceID: textOf(r.InstanceID), Release: r.Release, ImageName: r.ImageName, ImageTag: r.ImageTag, ImageDigest: r.ImageDigest, Command: r.Command,
		CreatedAt: r.CreatedAt, State: spec.ContainerState(r.State), Reason: r.Reason, ExitCode: r.ExitCode, Health: r.Health,
		Ports:    convert(ports, func(p portJSON) workload.Port { return workload.Port(p) }),
		Leftover: r.Leftover, OOMKilled: r.OOMKilled, RestartCount: int(r.RestartCount),
		StartedAt: orZero(r.StartedAt), FinishedAt: orZero(r.FinishedAt),
	}
	return c
}

// maxStatementRows bounds one statement, so that none takes long.
const maxStatementRows = 2500

// PutContainers writes what has changed on nodes.
func (db *DB) PutContainers(ctx context.Context, list []report.NodeContainers) error {
	var gone, keepNodes [][16]byte
	var keep []string
	count := 0
	for _, n := range list {
		count += len(n.Changed)
		if n.Keep == nil {
			continue
		}
		gone = append(gone, n.NodeID)
		for _, id := range n.Keep {
			keepNodes, keep = append(keepNodes, n.NodeID), append(keep, id)
		}
	}
	if len(gone) > 0 {
		_, err := db.execRows(ctx, "forget containers that are gone", `delete from containers c
			where c.node_id = any($1::uuid[]) and not exists (
				select from unnest($2::uuid[], $3::text[]) as k (node_id, engine_id)
				where k.node_id = c.node_id and k.engine_id = c.engine_id)`, gone, keepNodes, keep)
		if err != nil {
			return err
		}
	}
	rows := newReportedContainers(min(count, maxStatementRows))
	for _, compared := range [...]bool{true, false} {
		for _, n := range list {
			if n.Compared != compared {
				continue
			}
			for i := range n.Changed {
				if err := rows.add(n.NodeID, &n.Changed[i]); err != nil {
					return err
				}
				if rows.count < maxStatementRows {
					continue
				}
				if err := db.upsertContainers(ctx, rows, compared); err != nil {
					return err
				}
			}
		}
		if err := db.upsertContainers(ctx, rows, compared); err != nil {
			return err
		}
	}
	return nil
}

// unlessSame leaves rows alone that are so already. Looking costs a sixth of
// what writing one does.
const unlessSame = " where c.* is distinct from excluded.*"

// upsertContainers writes rows, if there are any, and makes room for others.
// Compared tells that they are not so already.
func (db *DB) upsertContainers(ctx context.Context, rows *reportedContainers, compared bool) error {
	if rows.count == 0 {
		return nil
	}
	statement := storeContainers
	if !compared {
		statement += unlessSame
	}
	_, err := db.execRows(ctx, "store the nodes' containers", statement, rows)
	rows.reset()
	return err
}

// TurnedHealth compares with what is stored, and where that differs with the
// last turn in the node's history.
func (db *DB) TurnedHealth(ctx context.Context, list []report.ContainerHealth) ([]int, error) {
	var turned []int
	err := db.queryRows(ctx, "look which containers turned unhealthy or healthy", func(rows *sql.Rows) error {
		var place int
		err := rows.Scan(&place)
		turned = append(turned, place)
		return err
	}, `select (n.place - 1)::int
		from unnest($1::uuid[], $2::text[], $3::text[]) with ordinality as n (node_id, engine_id, health, place)
		left join containers c on c.node_id = n.node_id and c.engine_id = n.engine_id
		left join lateral (
			select e.data ->> 'health' as health from node_events e
			where c.health is distinct from n.health
				and e.node_id = n.node_id and e.event = $4 and e.data ->> 'engineId' = n.engine_id
			order by e.created_at desc, e.id desc limit 1
		) last on true
		where c.health is distinct from n.health and case n.health when $5 then last.health is distinct from n.health else last.health = $5 end
		order by n.place`,
		ids(list, func(h report.ContainerHealth) uuid.UUID { return h.NodeID }),
		column(list, func(h report.ContainerHealth) string { return h.Container.EngineID }),
		column(list, func(h report.ContainerHealth) string { return h.Container.Health }),
		report.EventHealth, report.Unhealthy)
	return turned, err
}

const storeContainers = `insert into containers as c (node_id, engine_id, prefix, name, managed,
			deployment_id, instance_id, release, image_name, image_tag, image_digest, command, created_at, state, reason, exit_code,
			health, ports, leftover, oom_killed, restart_count, started_at, finished_at)
		select node_id, engine_id, prefix, name, managed, deployment_id, instance_id, release, image_name, image_tag, image_digest,
			command, created_at, state, reason, exit_code, health, ports, leftover, oom_killed, restart_count, started_at, finished_at
		from unnest($1::reported_container[])
		on conflict (node_id, engine_id) do update set
			prefix = excluded.prefix, name = excluded.name, managed = excluded.managed, deployment_id = excluded.deployment_id,
			instance_id = excluded.instance_id, release = excluded.release, image_name = excluded.image_name, image_tag = excluded.image_tag,
			image_digest = excluded.image_digest, command = excluded.command, created_at = excluded.created_at, state = excluded.state,
			reason = excluded.reason, exit_code = excluded.exit_code, health = excluded.health, ports = excluded.ports,
			leftover = excluded.leftover, oom_killed = excluded.oom_killed, restart_count = excluded.restart_count,
			started_at = excluded.started_at, finished_at = excluded.finished_at`

// MarkOfContainers returns a text that changes when a node's containers do.
func (db *DB) MarkOfContainers(ctx context.Context, teamID, nodeID uuid.UUID) (string, error) {
	var row struct{ Mark string }
	err := db.in(ctx).Raw(`select coalesce(string_agg(concat_ws(' ', a.id, a.containers_seen_at, encode(a.containers_hash, 'hex')), ' '), '') as mark
		from agents a join nodes n on n.id = a.node_id where n.team_id = ? and n.id = ? and a.revoked_at is null`, teamID, nodeID).Take(&row).Error
	return row.Mark, mapError(err, "look for changes of the node's containers")
}

// idOrNull reads an id that an agent sent; what is none becomes null.
func idOrNull(text string) *uuid.UUID {
	id, err := uuid.Parse(text)
	if err != nil {
		return nil
	}
	return &id
}
