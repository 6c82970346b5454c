package postgres

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/deployment"
)

// deploymentView is a deployment with the names of what it hangs on.
type deploymentView struct {
	deploymentRow
	ProjectID   uuid.UUID
	ProjectName string
	ProjectType string
	VersionName string
	VersionType string
	NodeName    string
	NodeType    string
}

// deploymentColumns are the fields of a deploymentView, and deploymentTables
// where they are.
const (
	deploymentColumns = `d.id, d.team_id, d.version_id, d.node_id, d.prefix, d.note, d.status, d.environment, d.tries,
		d.created_at, d.created_by, d.updated_at, d.updated_by, d.on_failure, d.health_window_seconds, d.drain_seconds, d.parallelism, d.drift,
		p.id, p.name, p.type, v.name, v.type, n.name, n.type`
	deploymentTables = ` from deployments d join versions v on v.id = d.version_id
		join projects p on p.id = v.project_id join nodes n on n.id = d.node_id`
	selectDeployments = "select " + deploymentColumns + deploymentTables
)

func (r *deploymentView) fields() []any {
	return []any{
		&r.ID, &r.TeamID, &r.VersionID, &r.NodeID, &r.Prefix, &r.Note, &r.Status, &r.Environment, &r.Tries,
		&r.CreatedAt, &r.CreatedBy, &r.UpdatedAt, &r.UpdatedBy, &r.OnFailure, &r.HealthWindowSeconds, &r.DrainSeconds, &r.Parallelism, &r.Drift,
		&r.ProjectID, &r.ProjectName, &r.ProjectType, &r.VersionName, &r.VersionType, &r.NodeName, &r.NodeType,
	}
}

func (r *deploymentView) toDeployment() (deployment.Deployment, error) {
	environment, err := decodePairs(r.Environment)
	return deployment.Deployment{
		ID: r.ID, TeamID: r.TeamID,
		Project: deployment.Ref{ID: r.ProjectID, Name: r.ProjectName, Type: r.ProjectType},
		Version: deployment.Ref{ID: r.VersionID, Name: r.VersionName, Type: r.VersionType},
		Node:    deployment.Ref{ID: r.NodeID, Name: r.NodeName, Type: r.NodeType},
		Prefix:  r.Prefix, Note: r.Note, State: deployment.State(r.Status), Environment: environment, Tries: r.Tries,
		CreatedAt: r.CreatedAt, CreatedBy: r.CreatedBy, UpdatedAt: r.UpdatedAt, UpdatedBy: r.UpdatedBy, Policy: r.policy(),
	}, err
}

// FindDeployment returns a deployment of the team.
func (db *DB) FindDeployment(ctx context.Context, teamID, id uuid.UUID) (deployment.Deployment, error) {
	return readRow(ctx, db, "find the deployment", (*deploymentView).toDeployment,
		selectDeployments+" where d.team_id = $1 and d.id = $2", teamID, id)
}

// LockDeployment returns a deployment and locks it until the transaction ends.
func (db *DB) LockDeployment(ctx context.Context, id uuid.UUID) (deployment.Deployment, error) {
	return readRow(ctx, db, "lock the deployment", (*deploymentView).toDeployment,
		selectDeployments+" where d.id = $1 for no key update of d", id)
}

// ListDeployments returns the team's deployments, newest first.
func (db *DB) ListDeployments(ctx context.Context, teamID uuid.UUID) ([]deployment.Deployment, error) {
	query, args := paging(ctx, selectDeployments+" where d.team_id = $1 order by d.created_at desc, d.id desc", teamID)
	return readRows(ctx, db, "list the deployments", (*deploymentView).toDeployment, query, args...)
}

// ListPlaced returns the deployments on a node under a prefix, oldest first.
func (db *DB) ListPlaced(ctx context.Context, nodeID uuid.UUID, prefix string) ([]deployment.Deployment, error) {
	return readRows(ctx, db, "list the deployments", (*deploymentView).toDeployment,
		selectDeployments+" where d.node_id = $1 and d.prefix = $2 order by d.created_at, d.id", nodeID, prefix)
}

// detailRow is a deployment with its sealing key and its token, and one of its
// instances.
type detailRow struct {
	deploymentView
	SealingKey     string
	TokenID        *uuid.UUID
	TokenName      *string
	TokenCreatedAt *time.Time
	TokenExpiresAt *time.Time
	// InstanceID is null when there is no instance.
	InstanceID *uuid.UUID
	Instance   instanceView
}

func (r *detailRow) fields() []any {
	fields := append(r.deploymentView.fields(), &r.SealingKey, &r.TokenID, &r.TokenName, &r.TokenCreatedAt, &r.TokenExpiresAt, &r.InstanceID)
	return append(fields, r.Instance.fields()[1:]...)
}

// selectDetail repeats the deployment for each instance. An instance has all its
// columns or none, and then zeros. The order is ReadDeployment's, at less than
// that of a sort in PostgreSQL.
const selectDetail = "select " + deploymentColumns + `, coalesce(a.sealing_key, ''), t.id, t.name, t.created_at, t.expires_at,
		s.id, s.config, coalesce(s.updated_at, d.created_at), coalesce(i.id, d.id), coalesce(i.name, ''), coalesce(i.tag, ''),
		coalesce(i.position, 0), coalesce(i.config, '{}'), coalesce(i.created_at, d.created_at),
		coalesce(r.id, d.id), coalesce(r.name, ''), coalesce(r.type, '')` + deploymentTables + `
	left join agents a on a.node_id = d.node_id and a.revoked_at is null
	left join deployment_tokens t on t.deployment_id = d.id and t.trust_id is null
	left join (instances s join images i on i.id = s.image_id join registries r on r.id = i.registry_id) on s.deployment_id = d.id
	where d.team_id = $1 and d.id = $2`

// ReadDeployment returns a deployment of the team with all that is shown of it.
func (db *DB) ReadDeployment(ctx context.Context, teamID, id uuid.UUID) (deployment.Detail, error) {
	var row detailRow
	fields := row.fields()
	var detail deployment.Detail
	found := false
	err := db.read(ctx, "find the deployment", func(rows scanner) (err error) {
		if err = rows.Scan(fields...); err != nil {
			return err
		}
		if !found {
			found = true
			if detail, err = row.toDetail(); err != nil {
				return err
			}
		}
		if row.InstanceID == nil {
			return nil
		}
		row.Instance.ID = *row.InstanceID
		instance, err := row.Instance.toInstance()
		detail.Instances = append(detail.Instances, instance)
		return err
	}, selectDetail, teamID, id)
	if err == nil && !found {
		err = notFound("find the deployment")
	}
	slices.SortFunc(detail.Instances, func(a, b deployment.Instance) int {
		return cmp.Or(cmp.Compare(a.Image.Position, b.Image.Position), bytes.Compare(a.ID[:], b.ID[:]))
	})
	return detail, err
}

func (r *detailRow) toDetail() (deployment.Detail, error) {
	d, err := r.toDeployment()
	detail := deployment.Detail{Deployment: d, SealingKey: r.SealingKey, Instances: []deployment.Instance{}}
	if r.TokenID != nil {
		detail.Token = &deployment.Token{
			ID: *r.TokenID, Name: orZero(r.TokenName), CreatedAt: orZero(r.TokenCreatedAt), ExpiresAt: orZero(r.TokenExpiresAt),
		}
	}
	return detail, err
}
