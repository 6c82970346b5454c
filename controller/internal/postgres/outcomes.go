package postgres

import (
	"context"
	"database/sql"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/deployment"
)

// Columns of a deployment d, its version v, project p and node n that decide
// what becomes of it, and name it.
const (
	outcomeColumns = "d.id, d.team_id, d.prefix, d.status, d.tries, v.id, v.name, p.id, p.name, n.id, n.name"
	outcomeJoins   = "join versions v on v.id = d.version_id join projects p on p.id = v.project_id join nodes n on n.id = d.node_id"
)

func scanOutcome(rows *sql.Rows, more ...any) (deployment.Deployment, error) {
	var d deployment.Deployment
	var state string
	err := rows.Scan(append([]any{
		&d.ID, &d.TeamID, &d.Prefix, &state, &d.Tries, &d.Version.ID, &d.Version.Name, &d.Project.ID, &d.Project.Name, &d.Node.ID, &d.Node.Name,
	}, more...)...)
	d.State = deployment.State(state)
	return d, err
}

// SucceedReleases makes the releases of assignments that are still of the
// generation successful, unless they have another outcome. It locks their
// deployments and returns them, without environment and policy.
func (db *DB) SucceedReleases(ctx context.Context, list []deployment.Succeeded, at time.Time) ([]deployment.Deployment, error) {
	digests := make([]*string, len(list))
	for i, s := range list {
		var err error
		if digests[i], err = encodeDigests(s.Digests); err != nil {
			return nil, err
		}
	}
	var found []deployment.Deployment
	err := db.queryRows(ctx, "note which releases run", func(rows *sql.Rows) error {
		d, err := scanOutcome(rows)
		found = append(found, d)
		return err
	}, `with ended as (
			update releases r set outcome = 'successful', finished_at = $5, digests = s.digests::jsonb
			from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[]) as s (node_id, deployment_id, generation, digests)
			join assignments a on a.node_id = s.node_id and a.deployment_id = s.deployment_id and a.generation = s.generation
			where r.id = a.release_id and r.outcome in ('pending', 'in-progress')
			returning r.deployment_id)
		select `+outcomeColumns+` from ended join deployments d on d.id = ended.deployment_id `+outcomeJoins+`
		order by d.id for no key update of d`,
		ids(list, func(s deployment.Succeeded) uuid.UUID { return s.NodeID }),
		ids(list, func(s deployment.Succeeded) uuid.UUID { return s.DeploymentID }),
		column(list, func(s deployment.Succeeded) int64 { return int64(s.Generation) }), digests, at)
	return found, err
}

// ListBeside returns, for each of the deployments, the others on its node under
// its prefix, as SucceedReleases does.
func (db *DB) ListBeside(ctx context.Context, of []uuid.UUID) (map[uuid.UUID][]deployment.Deployment, error) {
	beside := map[uuid.UUID][]deployment.Deployment{}
	err := db.queryRows(ctx, "find the deployments under the same prefixes", func(rows *sql.Rows) error {
		var by uuid.UUID
		d, err := scanOutcome(rows, &by)
		beside[by] = append(beside[by], d)
		return err
	}, `select `+outcomeColumns+`, o.id
		from unnest($1::uuid[]) as q (id) join deployments o on o.id = q.id
		join deployments d on d.node_id = o.node_id and d.prefix = o.prefix and d.id <> o.id `+outcomeJoins+`
		order by o.id, d.created_at, d.id`, ids(of, func(id uuid.UUID) uuid.UUID { return id }))
	return beside, err
}
