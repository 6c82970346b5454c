package teamapi

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/project"
)

// ProjectOutput is a project in lists; its detail has more.
type ProjectOutput struct {
	Type         project.Type `json:"type" enum:"versionless,versioned"`
	Description  string       `json:"description"`
	VersionCount int          `json:"versionCount" doc:"With the hidden version of a versionless project"`
	Audit        auditOutput  `json:"audit"`
	ID           uuid.UUID    `json:"id"`
	Name         string       `json:"name"`
}

type projectDetailOutput struct {
	ProjectOutput
	Deletable bool            `json:"deletable" doc:"No node is asked to run any of it"`
	Versions  []VersionOutput `json:"versions" nullable:"false"`
}

type createProjectInput struct {
	TeamPath
	Body struct {
		Type        project.Type `json:"type" enum:"versionless,versioned"`
		Name        string       `json:"name" doc:"1 to 70 characters"`
		Description string       `json:"description" required:"false"`
		Changelog   *string      `json:"changelog" required:"false" doc:"For versionless projects; others have it in their versions"`
	}
}

// ProjectPath names a project of a team.
type ProjectPath struct {
	TeamPath
	ProjectID uuid.UUID `path:"projectId" format:"uuid"`
}

type updateProjectInput struct {
	ProjectPath
	Body struct {
		Name        string  `json:"name" doc:"1 to 70 characters"`
		Description string  `json:"description" required:"false"`
		Changelog   *string `json:"changelog" required:"false" doc:"Only of versionless projects; left out or null leaves it"`
	}
}

func (a *api) projectRoutes() {
	const (
		tag = "Projects"
		all = "/api/{teamSlug}/projects"
		one = all + "/{projectId}"
	)
	addList(a, route{method: http.MethodGet, path: all, summary: "List projects", tag: tag,
		action: authz.ProjectRead}, a.listProjects)
	add(a, route{method: http.MethodPost, path: all, summary: "Create a project", tag: tag,
		action: authz.ProjectCreate, status: http.StatusCreated, errors: []int{409}, repeats: once}, a.createProject)
	add(a, route{method: http.MethodGet, path: one, summary: "Get a project", tag: tag,
		action: authz.ProjectRead}, a.getProject)
	add(a, route{method: http.MethodPut, path: one, summary: "Change a project", tag: tag,
		action: authz.ProjectUpdate, revises: true, status: http.StatusNoContent, errors: []int{409, 412}}, a.updateProject)
	add(a, route{method: http.MethodDelete, path: one, summary: "Delete a project", tag: tag,
		action: authz.ProjectDelete, revises: true, status: http.StatusNoContent, errors: []int{412}}, a.deleteProject)
	add(a, route{method: http.MethodPost, path: one + "/convert", summary: "Make a project versioned", tag: tag,
		action: authz.ProjectUpdate, status: http.StatusNoContent}, a.convertProject)
}

func (a *api) listProjects(ctx context.Context, _ *TeamPath) (*ok[[]ProjectOutput], error) {
	list, err := a.deps.Projects.List(ctx)
	if err != nil {
		return nil, err
	}
	return respond(each(list, toProjectOutput)), nil
}

func (a *api) createProject(ctx context.Context, in *createProjectInput) (*created[ProjectOutput], error) {
	p, err := a.deps.Projects.Create(ctx, in.Body.Type, project.Draft{
		Name: in.Body.Name, Description: in.Body.Description, Changelog: in.Body.Changelog,
	})
	if err != nil {
		return nil, err
	}
	return &created[ProjectOutput]{
		Location: "/api/" + in.TeamSlug + "/projects/" + p.ID.String(),
		Body:     toProjectOutput(p),
	}, nil
}

func (a *api) getProject(ctx context.Context, in *ProjectPath) (*tagged[projectDetailOutput], error) {
	p, versions, err := a.deps.Versions.Project(ctx, in.ProjectID)
	if err != nil {
		return nil, err
	}
	return respondTagged(projectDetailOutput{
		ProjectOutput: toProjectOutput(p), Deletable: p.Deletable, Versions: each(versions, toVersionOutput),
	}, p.UpdatedAt), nil
}

func (a *api) updateProject(ctx context.Context, in *updateProjectInput) (*empty, error) {
	return nil, a.deps.Projects.Update(ctx, in.ProjectID, project.Draft{
		Name: in.Body.Name, Description: in.Body.Description, Changelog: in.Body.Changelog,
	})
}

func (a *api) deleteProject(ctx context.Context, in *ProjectPath) (*empty, error) {
	return nil, a.deps.Projects.Delete(ctx, in.ProjectID)
}

func (a *api) convertProject(ctx context.Context, in *ProjectPath) (*empty, error) {
	return nil, a.deps.Projects.Convert(ctx, in.ProjectID)
}

func toProjectOutput(p project.Project) ProjectOutput {
	return ProjectOutput{
		Type: p.Type, Description: p.Description, VersionCount: p.VersionCount, ID: p.ID, Name: p.Name,
		Audit: auditOutput{CreatedAt: p.CreatedAt, CreatedBy: p.CreatedBy, UpdatedAt: p.UpdatedAt, UpdatedBy: p.UpdatedBy},
	}
}
