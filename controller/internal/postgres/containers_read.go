package postgres

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/shared/workload"
)

// ListContainers returns what was last seen on a node, by prefix and name.
func (db *DB) ListContainers(ctx context.Context, nodeID uuid.UUID, prefix *string) ([]workload.Container, error) {
	return readRows(ctx, db, "list the node's containers", readContainer, "select "+containerColumns+` from containers c
		where c.node_id = $1 and ($2::text is null or c.prefix = $2) order by c.prefix, c.name, c.engine_id`, nodeID, prefix)
}

func readContainer(r *containerRow) (workload.Container, error) { return r.toContainer(), nil }

// seenRow tells that a node is there, and what a container of it is.
type seenRow struct {
	containerRow
	// Seen is false in the one row of a node without containers.
	Seen bool
}

func (r *seenRow) fields() []any { return append(r.containerRow.fields(), &r.Seen) }

// seenHead and seenTail, with a part of a node's containers between them, have
// at least one row for a node that is there.
const (
	seenHead = `select n.id, coalesce(c.engine_id, ''), coalesce(c.prefix, ''), coalesce(c.name, ''), coalesce(c.managed, false),
		c.deployment_id, c.instance_id, coalesce(c.release, 0),
		coalesce(c.image_name, ''), coalesce(c.image_tag, ''), coalesce(c.image_digest, ''), coalesce(c.command, ''),
		coalesce(c.created_at, n.created_at), coalesce(c.state, ''), coalesce(c.reason, ''), coalesce(c.exit_code, 0),
		coalesce(c.health, ''), coalesce(c.ports, '[]'), coalesce(c.leftover, false), coalesce(c.oom_killed, false),
		coalesce(c.restart_count, 0), c.started_at, c.finished_at, c.node_id is not null
	from nodes n left join lateral (
		select * from containers c where c.node_id = n.id and ($3::text is null or c.prefix = $3)
		order by c.prefix, c.name, c.engine_id`
	seenTail = `) c on true
	where n.team_id = $1 and n.id = $2 order by c.prefix, c.name, c.engine_id`
)

// ReadContainers returns what was last seen on a node of the team, by prefix
// and name; NotFound when the team has no such node.
func (db *DB) ReadContainers(ctx context.Context, teamID, nodeID uuid.UUID, prefix *string) ([]workload.Container, error) {
	query, args := paging(ctx, seenHead, teamID, nodeID, prefix)
	var row seenRow
	fields := row.fields()
	list := []workload.Container{}
	found := false
	err := db.read(ctx, "list the node's containers", func(rows scanner) error {
		found = true
		if err := rows.Scan(fields...); err != nil {
			return err
		}
		if row.Seen {
			list = append(list, row.toContainer())
		}
		return nil
	}, query+seenTail, args...)
	if err == nil && !found {
		err = notFound("list the node's containers")
	}
	return list, err
}
