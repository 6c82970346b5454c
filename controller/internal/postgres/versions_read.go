package postgres

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/project"
	"fairlead.dev/controller/internal/version"
)

// versionView is a version with the facts that its state follows from.
type versionView struct {
	versionRow
	ProjectType string
	HasChild    bool
	Assigned    bool
	// States has the states of its deployments, with commas between them.
	States string
}

func (r *versionView) fields() []any {
	return []any{
		&r.ID, &r.ProjectID, &r.ParentID, &r.Name, &r.Type, &r.Changelog, &r.IsDefault,
		&r.CreatedAt, &r.CreatedBy, &r.UpdatedAt, &r.UpdatedBy, &r.ProjectType, &r.HasChild, &r.Assigned, &r.States,
	}
}

// versionFacts are the last fields of a versionView; an assignment names its
// deployment as well as the release.
const (
	versionFacts = `p.type,
		exists (select from versions c where c.parent_id = v.id),
		exists (select from deployments d
			join assignments a on a.node_id = d.node_id and a.prefix = d.prefix and a.deployment_id = d.id
			where d.version_id = v.id and a.release_id is not null),
		array_to_string(array(select distinct d.status from deployments d where d.version_id = v.id), ',')`
	selectVersions = `select v.id, v.project_id, v.parent_id, v.name, v.type, v.changelog, v.is_default,
		v.created_at, v.created_by, v.updated_at, v.updated_by, ` + versionFacts + `
		from versions v join projects p on p.id = v.project_id `
)

func (r *versionView) toVersion() version.Version {
	facts := version.Facts{
		Type: version.Type(r.Type), Hidden: project.Type(r.ProjectType) == project.Versionless,
		HasChild: r.HasChild, Assigned: r.Assigned,
	}
	if r.States != "" {
		facts.Deployments = convert(strings.Split(r.States, ","), func(s string) deployment.State { return deployment.State(s) })
	}
	return version.Version{
		ID: r.ID, ProjectID: r.ProjectID, Parent: orZero(r.ParentID), Name: r.Name, Changelog: r.Changelog, Default: r.IsDefault, Facts: facts,
		CreatedAt: r.CreatedAt, CreatedBy: r.CreatedBy, UpdatedAt: r.UpdatedAt, UpdatedBy: r.UpdatedBy,
	}
}

func readVersion(r *versionView) (version.Version, error) { return r.toVersion(), nil }

// FindVersion returns a version of a team's project.
func (db *DB) FindVersion(ctx context.Context, teamID, projectID, id uuid.UUID) (version.Version, error) {
	v, err := readRow(ctx, db, "find the version", readVersion,
		selectVersions+"where v.id = $1 and p.id = $2 and p.team_id = $3", id, projectID, teamID)
	return v, notThere(err, "version", id)
}

// FindDefaultVersion returns a project's default version.
func (db *DB) FindDefaultVersion(ctx context.Context, projectID uuid.UUID) (version.Version, error) {
	return readRow(ctx, db, "find the default version", readVersion, selectVersions+"where p.id = $1 and v.is_default", projectID)
}

// ListVersions returns a project's versions, newest first.
func (db *DB) ListVersions(ctx context.Context, teamID, projectID uuid.UUID) ([]version.Version, error) {
	query, args := paging(ctx, selectVersions+"where p.id = $1 and p.team_id = $2 order by v.created_at desc, v.id desc", projectID, teamID)
	return readRows(ctx, db, "list the versions", readVersion, query, args...)
}

// projectDetailRow is a project and one of its versions.
type projectDetailRow struct {
	Project projectRow
	// VersionID is null when the project has no version.
	VersionID *uuid.UUID
	Version   versionView
}

func (r *projectDetailRow) fields() []any {
	p, v := &r.Project, &r.Version
	return append([]any{
		&p.ID, &p.TeamID, &p.Name, &p.Description, &p.Type, &p.CreatedAt, &p.CreatedBy, &p.UpdatedAt, &p.UpdatedBy, &r.VersionID,
	}, v.fields()[1:]...)
}

// selectProjectDetail repeats the project for each version. A project without
// one has zeros there. The order is ReadProject's, at less than that of a sort
// in PostgreSQL.
const selectProjectDetail = `select p.id, p.team_id, p.name, p.description, p.type, p.created_at, p.created_by, p.updated_at, p.updated_by,
		v.id, p.id, v.parent_id, coalesce(v.name, ''), coalesce(v.type, ''), coalesce(v.changelog, ''), coalesce(v.is_default, false),
		coalesce(v.created_at, p.created_at), coalesce(v.created_by, ''), coalesce(v.updated_at, p.updated_at), coalesce(v.updated_by, ''),
		` + versionFacts + `
	from projects p left join versions v on v.project_id = p.id
	where p.id = $1 and p.team_id = $2`

// ReadProject returns a project of the team and its versions, newest first.
func (db *DB) ReadProject(ctx context.Context, teamID, id uuid.UUID) (project.Project, []version.Version, error) {
	var row projectDetailRow
	fields := row.fields()
	var p project.Project
	list := []version.Version{}
	found := false
	err := db.read(ctx, "find the project", func(rows scanner) error {
		if err := rows.Scan(fields...); err != nil {
			return err
		}
		if !found {
			found = true
			p = projectView{Project: row.Project}.toProject()
		}
		if row.VersionID != nil {
			row.Version.ID = *row.VersionID
			list = append(list, row.Version.toVersion())
			p.VersionCount++
			p.Deletable = p.Deletable && !row.Version.Assigned
		}
		return nil
	}, selectProjectDetail, id, teamID)
	if err == nil && !found {
		err = notFound("find the project")
	}
	slices.SortFunc(list, func(a, b version.Version) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), bytes.Compare(b.ID[:], a.ID[:]))
	})
	return p, list, notThere(err, "project", id)
}
