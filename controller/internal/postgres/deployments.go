package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm/clause"

	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/spec"
)

type deploymentRow struct {
	ID          uuid.UUID
	TeamID      uuid.UUID
	VersionID   uuid.UUID
	NodeID      uuid.UUID
	Prefix      string
	Note        string
	Status      string
	Environment string
	Tries       int64
	CreatedAt   time.Time
	CreatedBy   string
	UpdatedAt   time.Time
	UpdatedBy   string

	OnFailure           string
	HealthWindowSeconds int32
	DrainSeconds        int32
	Parallelism         int32
	Drift               string
}

func (r deploymentRow) policy() spec.Policy {
	return spec.Policy{
		OnFailure: spec.OnFailure(r.OnFailure), HealthWindowSeconds: r.HealthWindowSeconds,
		DrainSeconds: r.DrainSeconds, Parallelism: r.Parallelism, Drift: spec.Drift(r.Drift),
	}
}

func (deploymentRow) TableName() string { return "deployments" }

// KeepPlaced returns those of the places where there is such a deployment, and
// keeps them from being deleted until the transaction ends.
func (db *DB) KeepPlaced(ctx context.Context, places []deployment.Place) (map[deployment.Place]bool, error) {
	here := make(map[deployment.Place]bool, len(places))
	err := db.queryRows(ctx, "find the nodes' deployments", func(rows *sql.Rows) error {
		var p deployment.Place
		err := rows.Scan(&p.NodeID, &p.DeploymentID)
		here[p] = true
		return err
	}, `select d.node_id, d.id from deployments d
		where (d.node_id, d.id) in (select * from unnest($1::uuid[], $2::uuid[]))
		order by d.id for key share`,
		ids(places, func(p deployment.Place) uuid.UUID { return p.NodeID }),
		ids(places, func(p deployment.Place) uuid.UUID { return p.DeploymentID }))
	return here, err
}

// BeginReleases makes pending releases ones in progress, in one statement for
// all. A release that somebody supersedes meanwhile stays superseded.
func (db *DB) BeginReleases(ctx context.Context, list []deployment.Begun, at time.Time) error {
	_, err := db.execRows(ctx, "note the releases' outcome", `with begun as (
			select r.id from unnest($1::uuid[], $2::uuid[], $3::bigint[]) as b (node_id, deployment_id, generation)
			join assignments a on a.node_id = b.node_id and a.deployment_id = b.deployment_id and a.generation = b.generation
			join releases r on r.id = a.release_id
			where r.outcome = 'pending' order by r.id for no key update of r)
		update releases set outcome = 'in-progress', began_at = $4 from begun where releases.id = begun.id and outcome = 'pending'`,
		ids(list, func(b deployment.Begun) uuid.UUID { return b.NodeID }),
		ids(list, func(b deployment.Begun) uuid.UUID { return b.DeploymentID }),
		column(list, func(b deployment.Begun) int64 { return int64(b.Generation) }), at)
	return err
}

// ListStages returns how far the assignments of deployments are.
func (db *DB) ListStages(ctx context.Context, places []deployment.Place) (map[deployment.Place]deployment.Stage, error) {
	stages := make(map[deployment.Place]deployment.Stage, len(places))
	err := db.queryRows(ctx, "find the nodes' assignments", func(rows *sql.Rows) error {
		var p deployment.Place
		var generation int64
		var outcome string
		err := rows.Scan(&p.NodeID, &p.DeploymentID, &generation, &outcome)
		stages[p] = deployment.Stage{Generation: toGeneration(generation), Outcome: deployment.Outcome(outcome)}
		return err
	}, `select a.node_id, a.deployment_id, a.generation, coalesce(r.outcome, '')
		from unnest($1::uuid[], $2::uuid[]) as q (node_id, deployment_id)
		join assignments a on a.node_id = q.node_id and a.deployment_id = q.deployment_id
		left join releases r on r.id = a.release_id`,
		ids(places, func(p deployment.Place) uuid.UUID { return p.NodeID }),
		ids(places, func(p deployment.Place) uuid.UUID { return p.DeploymentID }))
	return stages, err
}

// InsertDeployment adds a deployment with an instance for each image.
func (db *DB) InsertDeployment(ctx context.Context, d deployment.Deployment, imageIDs []uuid.UUID) error {
	environment, err := encodePairs(d.Environment)
	if err != nil {
		return err
	}
	row := deploymentRow{
		ID: d.ID, TeamID: d.TeamID, VersionID: d.Version.ID, NodeID: d.Node.ID,
		Prefix: d.Prefix, Note: d.Note, Status: string(d.State), Environment: environment, Tries: d.Tries,
		CreatedAt: d.CreatedAt, CreatedBy: d.CreatedBy, UpdatedAt: d.UpdatedAt, UpdatedBy: d.UpdatedBy,
		OnFailure: string(cmp.Or(d.Policy.OnFailure, spec.OnFailureRollback)), HealthWindowSeconds: d.Policy.HealthWindowSeconds,
		DrainSeconds: d.Policy.DrainSeconds, Parallelism: d.Policy.Parallelism,
		Drift: string(cmp.Or(d.Policy.Drift, spec.DriftReport)),
	}
	if err := db.in(ctx).Create(&row).Error; err != nil {
		return mapError(err, "make the deployment")
	}
	instances := make([]instanceRow, len(imageIDs))
	for i, imageID := range imageIDs {
		id, err := uuid.NewV7()
		if err != nil {
			return err
		}
		instances[i] = instanceRow{ID: id, DeploymentID: d.ID, ImageID: imageID, UpdatedAt: d.CreatedAt}
	}
	return mapError(db.in(ctx).Create(&instances).Error, "make the deployment's instances")
}

// UpdateDeployment writes everything of a deployment that its team may change,
// and how often it was started; not its state.
func (db *DB) UpdateDeployment(ctx context.Context, d deployment.Deployment) error {
	environment, err := encodePairs(d.Environment)
	if err != nil {
		return err
	}
	_, err = db.execRows(ctx, "change the deployment", `update deployments set prefix = $2, note = $3, environment = $4, tries = $5,
			updated_at = $6, updated_by = $7, on_failure = $8, health_window_seconds = $9, drain_seconds = $10, parallelism = $11, drift = $12
		where id = $1`,
		[16]byte(d.ID), d.Prefix, d.Note, environment, d.Tries, d.UpdatedAt, d.UpdatedBy,
		string(d.Policy.OnFailure), d.Policy.HealthWindowSeconds, d.Policy.DrainSeconds, d.Policy.Parallelism,
		string(cmp.Or(d.Policy.Drift, spec.DriftReport)))
	return err
}

// SetDeploymentStates moves deployments to other states and wakes who watches
// them.
func (db *DB) SetDeploymentStates(ctx context.Context, list []deployment.StateChange, at time.Time) error {
	_, err := db.execRows(ctx, "set the deployments' states", `with changed as (
			update deployments d set status = c.status, updated_at = $3
			from unnest($1::uuid[], $2::text[]) as c (id, status) where d.id = c.id returning d.id)
		select pg_notify($4, id::text) from changed`,
		ids(list, func(c deployment.StateChange) uuid.UUID { return c.ID }),
		column(list, func(c deployment.StateChange) string { return string(c.State) }), at, ChannelDeployment)
	return err
}

// DeleteDeployment removes a deployment and all it has, and wakes who watches
// it.
func (db *DB) DeleteDeployment(ctx context.Context, id uuid.UUID) error {
	if err := db.in(ctx).Where("id = ?", id).Delete(&deploymentRow{}).Error; err != nil {
		return mapError(err, "delete the deployment")
	}
	return db.notify(ctx, ChannelDeployment, id.String())
}

// FindTarget returns a node of the team.
func (db *DB) FindTarget(ctx context.Context, teamID, nodeID uuid.UUID) (deployment.Ref, error) {
	var ref deployment.Ref
	err := db.in(ctx).Table("nodes").Select("id, name, type").Where("team_id = ? and id = ?", teamID, nodeID).Take(&ref).Error
	return ref, mapError(err, "find the node")
}

// LockTarget locks a node until the transaction ends. What merely refers to the
// node goes on.
func (db *DB) LockTarget(ctx context.Context, nodeID uuid.UUID) error {
	const doing = "lock the node"
	n, err := db.execRows(ctx, doing, "select from nodes where id = $1 for no key update", [16]byte(nodeID))
	if err == nil && n == 0 {
		err = notFound(doing)
	}
	return err
}

// LockTargets locks nodes until the transaction ends, in the order of their ids.
func (db *DB) LockTargets(ctx context.Context, nodeIDs []uuid.UUID) error {
	_, err := db.execRows(ctx, "lock the nodes", "select from nodes where id = any($1::uuid[]) order by id for no key update",
		ids(nodeIDs, func(id uuid.UUID) uuid.UUID { return id }))
	return err
}

// LockSource returns a version of the team with its images, and keeps the
// version as it is until the transaction ends.
func (db *DB) LockSource(ctx context.Context, teamID, versionID uuid.UUID) (deployment.Source, error) {
	var row struct {
		ID, ProjectID            uuid.UUID
		Name, Type               string
		ProjectName, ProjectType string
	}
	err := db.in(ctx).Table("versions").
		Select("versions.id, versions.name, versions.type, p.id as project_id, p.name as project_name, p.type as project_type").
		Joins("join projects p on p.id = versions.project_id").
		Where("p.team_id = ? and versions.id = ?", teamID, versionID).
		Clauses(clause.Locking{Strength: "share", Table: clause.Table{Name: "versions"}}).Take(&row).Error
	if err != nil {
		return deployment.Source{}, mapError(err, "find the version")
	}
	source := deployment.Source{
		Version: deployment.Ref{ID: row.ID, Name: row.Name, Type: row.Type},
		Project: deployment.Ref{ID: row.ProjectID, Name: row.ProjectName, Type: row.ProjectType},
	}
	err = db.in(ctx).Table("images").Where("version_id = ?", versionID).Order("position, id").Pluck("id", &source.ImageIDs).Error
	return source, mapError(err, "list the version's images")
}

// ListDescendants returns the versions that came after a version.
func (db *DB) ListDescendants(ctx context.Context, versionID uuid.UUID) ([]uuid.UUID, error) {
	var ids []uuid.UUID
	// Union, not union all: a circle in the rows would not be one in here.
	err := db.in(ctx).Raw(`with recursive later (id) as (
			select id from versions where parent_id = ?
			union
			select v.id from versions v join later on v.parent_id = later.id)
		select id from later`, versionID).Scan(&ids).Error
	return ids, mapError(err, "list the versions that came after")
}
