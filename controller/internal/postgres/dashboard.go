package postgres

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/dashboard"
)

// summaryQuery follows the first steps back from the deployment they led to.
const summaryQuery = `
with
	d as (select id, node_id, version_id, tries from deployments where team_id = @team
		order by (tries > 0) desc, created_at, id limit 1),
	v as (select v.id, v.project_id from versions v join projects p on p.id = v.project_id where p.team_id = @team
		order by (v.id = (select version_id from d)) desc nulls last,
			(select count(*) from images i where i.version_id = v.id) desc, v.created_at, v.id limit 1),
	p as (select id from projects where team_id = @team
		order by (id = (select project_id from v)) desc nulls last, created_at, id limit 1),
	n as (select id from nodes where team_id = @team
		order by (id = (select node_id from d)) desc nulls last, created_at, id limit 1)
select
	(select count(*) from team_members where team_id = @team) as users,
	(select count(*) from audit_log where team_id = @team) as audit_log,
	(select count(*) from projects where team_id = @team) as projects,
	(select count(*) from versions x join projects y on y.id = x.project_id where y.team_id = @team) as versions,
	(select count(*) from deployments where team_id = @team) as deployments,
	(select count(*) from deployments where team_id = @team and status = 'failed') as failed_deployments,
	(select id from n) as node, (select id from p) as project, (select id from v) as version,
	(select i.id from images i where i.version_id = (select id from v) order by i.position, i.id limit 1) as image,
	(select id from d) as deployment, (select id from d where tries > 0) as deployed`

// ReadSummary counts what a team has and finds its first steps.
func (db *DB) ReadSummary(ctx context.Context, teamID uuid.UUID) (dashboard.Summary, error) {
	var row struct {
		Users, AuditLog, Projects, Versions, Deployments, FailedDeployments int
		Node, Project, Version, Image, Deployment, Deployed                 *uuid.UUID
	}
	err := db.in(ctx).Raw(summaryQuery, map[string]any{"team": teamID}).Take(&row).Error
	return dashboard.Summary{
		Users: row.Users, AuditLog: row.AuditLog, Projects: row.Projects, Versions: row.Versions,
		Deployments: row.Deployments, FailedDeployments: row.FailedDeployments,
		Node: orZero(row.Node), Project: orZero(row.Project), Version: orZero(row.Version), Image: orZero(row.Image),
		Deployment: orZero(row.Deployment), Deployed: orZero(row.Deployed),
	}, mapError(err, "read the dashboard")
}
