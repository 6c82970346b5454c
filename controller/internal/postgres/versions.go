package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm/clause"

	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/version"
)

type versionRow struct {
	ID        uuid.UUID
	ProjectID uuid.UUID
	ParentID  *uuid.UUID
	Name      string
	Type      string
	Changelog string
	IsDefault bool
	CreatedAt time.Time
	CreatedBy string
	UpdatedAt time.Time
	UpdatedBy string
}

func (versionRow) TableName() string { return "versions" }

// InsertVersion adds a version.
func (db *DB) InsertVersion(ctx context.Context, v version.Version) error {
	row := versionRow{
		ID: v.ID, ProjectID: v.ProjectID, ParentID: orNull(v.Parent), Name: v.Name, Type: string(v.Type), Changelog: v.Changelog, IsDefault: v.Default,
		CreatedAt: v.CreatedAt, CreatedBy: v.CreatedBy, UpdatedAt: v.UpdatedAt, UpdatedBy: v.UpdatedBy,
	}
	return nameTaken(db.in(ctx).Create(&row).Error, "versions_name_uq", v.Name, "add the version")
}

// UpdateVersion writes what can change of a version.
func (db *DB) UpdateVersion(ctx context.Context, v version.Version) error {
	err := db.in(ctx).Model(&versionRow{}).Where("id = ?", v.ID).UpdateColumns(map[string]any{
		"name": v.Name, "changelog": v.Changelog, "updated_at": v.UpdatedAt, "updated_by": v.UpdatedBy,
	}).Error
	return nameTaken(err, "versions_name_uq", v.Name, "change the version")
}

// DeleteVersion removes a version that no node is asked to run any of.
func (db *DB) DeleteVersion(ctx context.Context, id uuid.UUID) error {
	return deletedUnassigned(db.in(ctx).Where("id = ?", id).Delete(&versionRow{}), "version", id)
}

// LockVersion is FindVersion that keeps the row from changing, and with it the
// version's images: who changes those locks the version too.
func (db *DB) LockVersion(ctx context.Context, teamID, projectID, id uuid.UUID) (version.Version, error) {
	// In two statements, so that the facts are read after others are done.
	var locked []uuid.UUID
	err := db.in(ctx).Table("versions").Where("id = ? and project_id = ?", id, projectID).
		Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Pluck("id", &locked).Error
	if err != nil {
		return version.Version{}, mapError(err, "lock the version")
	}
	return db.FindVersion(ctx, teamID, projectID, id)
}

// SetDefaultVersion makes a version the only default one of its project.
func (db *DB) SetDefaultVersion(ctx context.Context, projectID, id uuid.UUID, at time.Time, by string) error {
	const changed = "updated_at = greatest(?, updated_at + interval '1 microsecond'), updated_by = ?"
	// The old one first: the index that allows one default is not deferred.
	err := db.in(ctx).Exec("update versions set is_default = false, "+changed+" where project_id = ? and is_default", at, by, projectID).Error
	if err != nil {
		return mapError(err, "take the default from a version")
	}
	err = db.in(ctx).Exec("update versions set is_default = true, "+changed+" where project_id = ? and id = ?", at, by, projectID, id).Error
	return mapError(err, "make the version the default one")
}

// CopyContent gives a version the images and the deployments of another.
func (db *DB) CopyContent(ctx context.Context, from, to version.Version, states []deployment.State) error {
	return db.InTx(ctx, func(ctx context.Context) error {
		// Held, so that a place still is this project's when the copy is there.
		var held []uuid.UUID
		err := db.in(ctx).Table("deployments").Where("version_id = ?", from.ID).Order("id").
			Clauses(clause.Locking{Strength: clause.LockingStrengthShare}).Pluck("id", &held).Error
		if err != nil {
			return mapError(err, "hold the deployments to copy")
		}
		err = db.in(ctx).Exec(copyContent, map[string]any{
			"from": from.ID, "to": to.ID, "at": to.CreatedAt, "by": to.CreatedBy,
			"preparing": string(deployment.Preparing), "states": states,
		}).Error
		return mapError(err, "copy the images and deployments")
	})
}

// copyContent is one statement, in which each copy knows its original.
const copyContent = `with image as materialized (
		select gen_random_uuid() as copy, images.* from images where version_id = @from
	), place as materialized (
		select distinct on (node_id, prefix) gen_random_uuid() as copy, deployments.* from deployments
		where version_id = @from and status in @states
		order by node_id, prefix, created_at desc, id desc
	), copied_images as (
		insert into images (id, version_id, registry_id, name, tag, position, config, created_at, updated_at)
		select copy, @to, registry_id, name, tag, position, config, @at, @at from image
	), copied_deployments as (
		insert into deployments (id, team_id, version_id, node_id, prefix, note, status, environment,
			on_failure, health_window_seconds, drain_seconds, parallelism, drift,
			created_at, created_by, updated_at, updated_by)
		select copy, team_id, @to, node_id, prefix, note, @preparing, environment,
			on_failure, health_window_seconds, drain_seconds, parallelism, drift, @at, @by, @at, @by from place
	)
	insert into instances (id, deployment_id, image_id, config, updated_at)
	select gen_random_uuid(), place.copy, image.copy, instances.config, @at
	from instances
	join place on place.id = instances.deployment_id
	join image on image.id = instances.image_id`

// versionDeploymentRow is a deployment as its version shows it.
type versionDeploymentRow struct {
	ID        uuid.UUID
	Prefix    string
	Status    string
	Note      string
	UpdatedAt time.Time
	NodeID    uuid.UUID
	NodeName  string
	NodeType  string
}

// ListVersionDeployments returns a version's deployments, newest first.
func (db *DB) ListVersionDeployments(ctx context.Context, versionID uuid.UUID) ([]version.Deployment, error) {
	var rows []versionDeploymentRow
	err := db.in(ctx).Table("deployments").
		Select("deployments.*, n.name as node_name, n.type as node_type").
		Joins("join nodes n on n.id = deployments.node_id").
		Where("deployments.version_id = ?", versionID).
		Order("deployments.created_at desc, deployments.id desc").Find(&rows).Error
	return convert(rows, func(r versionDeploymentRow) version.Deployment {
		return version.Deployment{
			ID: r.ID, Prefix: r.Prefix, State: deployment.State(r.Status), Note: r.Note, UpdatedAt: r.UpdatedAt,
			Node: deployment.Ref{ID: r.NodeID, Name: r.NodeName, Type: r.NodeType},
		}
	}), mapError(err, "list the version's deployments")
}
