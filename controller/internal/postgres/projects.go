package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"fairlead.dev/controller/internal/project"
	"fairlead.dev/controller/internal/version"
	"fairlead.dev/shared/apperr"
)

type projectRow struct {
	ID          uuid.UUID
	TeamID      uuid.UUID
	Name        string
	Description string
	Type        string
	CreatedAt   time.Time
	CreatedBy   string
	UpdatedAt   time.Time
	UpdatedBy   string
}

func (projectRow) TableName() string { return "projects" }

// projectView is a project with what its versions and deployments say.
type projectView struct {
	Project      projectRow `gorm:"embedded"`
	VersionCount int
	Assigned     bool
}

func (r projectView) toProject() project.Project {
	p := r.Project
	return project.Project{
		ID: p.ID, TeamID: p.TeamID, Name: p.Name, Description: p.Description, Type: project.Type(p.Type),
		VersionCount: r.VersionCount, Deletable: !r.Assigned,
		CreatedAt: p.CreatedAt, CreatedBy: p.CreatedBy, UpdatedAt: p.UpdatedAt, UpdatedBy: p.UpdatedBy,
	}
}

// InsertProject adds a project.
func (db *DB) InsertProject(ctx context.Context, p project.Project) error {
	row := projectRow{
		ID: p.ID, TeamID: p.TeamID, Name: p.Name, Description: p.Description, Type: string(p.Type),
		CreatedAt: p.CreatedAt, CreatedBy: p.CreatedBy, UpdatedAt: p.UpdatedAt, UpdatedBy: p.UpdatedBy,
	}
	return nameTaken(db.in(ctx).Create(&row).Error, "projects_name_uq", p.Name, "add the project")
}

// InsertHiddenVersion gives a versionless project its version.
func (db *DB) InsertHiddenVersion(ctx context.Context, p project.Project, id uuid.UUID, changelog string) error {
	return db.InsertVersion(ctx, version.Version{
		ID: id, ProjectID: p.ID, Name: project.HiddenVersion, Changelog: changelog, Default: true,
		Facts:     version.Facts{Type: version.Rolling},
		CreatedAt: p.CreatedAt, CreatedBy: p.CreatedBy, UpdatedAt: p.UpdatedAt, UpdatedBy: p.UpdatedBy,
	})
}

// UpdateProject writes what can change of a project.
func (db *DB) UpdateProject(ctx context.Context, p project.Project) error {
	err := db.in(ctx).Model(&projectRow{}).Where("id = ?", p.ID).UpdateColumns(map[string]any{
		"name": p.Name, "description": p.Description, "type": string(p.Type), "updated_at": p.UpdatedAt, "updated_by": p.UpdatedBy,
	}).Error
	return nameTaken(err, "projects_name_uq", p.Name, "change the project")
}

// UpdateHiddenChangelog writes the changelog of a versionless project's version.
func (db *DB) UpdateHiddenChangelog(ctx context.Context, p project.Project, changelog string) error {
	err := db.in(ctx).Model(&versionRow{}).Where("project_id = ?", p.ID).UpdateColumns(map[string]any{
		"changelog": changelog, "updated_at": p.UpdatedAt, "updated_by": p.UpdatedBy,
	}).Error
	return mapError(err, "change the changelog")
}

// DeleteProject removes a project that no node is asked to run any of.
func (db *DB) DeleteProject(ctx context.Context, teamID, id uuid.UUID) error {
	result := db.in(ctx).Where("id = ? and team_id = ?", id, teamID).Delete(&projectRow{})
	return deletedUnassigned(result, "project", id)
}

// deletedUnassigned maps the outcome of deleting what deployments hang on. An
// assignment holds on to its release, and that to all it came from: so a
// deployment that starts at the same moment can't lose what it runs.
func deletedUnassigned(result *gorm.DB, noun string, id uuid.UUID) error {
	if violates(result.Error, "assignments_release_fk") {
		return apperr.Wrap(apperr.Precondition, result.Error,
			"a node is asked to run the %s; delete its deployments first", noun).WithField("id", id)
	}
	return oneRow(result, noun, id)
}

// FindProject returns a team's project.
func (db *DB) FindProject(ctx context.Context, teamID, id uuid.UUID) (project.Project, error) {
	var row projectView
	err := db.projectViews(ctx).Where("projects.id = ? and projects.team_id = ?", id, teamID).Take(&row).Error
	return row.toProject(), notThere(err, "project", id)
}

// LockProject is FindProject that keeps the row from changing.
func (db *DB) LockProject(ctx context.Context, teamID, id uuid.UUID) (project.Project, error) {
	var row projectView
	err := db.projectViews(ctx).Where("projects.id = ? and projects.team_id = ?", id, teamID).
		Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Take(&row).Error
	return row.toProject(), notThere(err, "project", id)
}

// ListProjects returns a team's projects by name.
func (db *DB) ListProjects(ctx context.Context, teamID uuid.UUID) ([]project.Project, error) {
	var rows []projectView
	err := paged(ctx, db.projectViews(ctx).Where("projects.team_id = ?", teamID).Order("projects.name")).Find(&rows).Error
	return convert(rows, projectView.toProject), mapError(err, "list the projects")
}

func (db *DB) projectViews(ctx context.Context) *gorm.DB {
	return db.in(ctx).Table("projects").Select(`projects.*,
		(select count(*) from versions v where v.project_id = projects.id) as version_count,
		exists (select from versions v
			join deployments d on d.version_id = v.id
			join releases r on r.deployment_id = d.id
			join assignments a on a.release_id = r.id
			where v.project_id = projects.id) as assigned`)
}
