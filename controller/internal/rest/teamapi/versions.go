package teamapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/version"
)

// VersionOutput is a version in lists; its detail has more.
type VersionOutput struct {
	Type        version.Type `json:"type" enum:"incremental,rolling"`
	Audit       auditOutput  `json:"audit"`
	Changelog   string       `json:"changelog"`
	Default     bool         `json:"default" doc:"New versions begin as a copy of this one"`
	Increasable bool         `json:"increasable" doc:"A next version can be made from it"`
	ID          uuid.UUID    `json:"id"`
	Name        string       `json:"name"`
}

type versionDetailOutput struct {
	VersionOutput
	Mutable     bool                `json:"mutable" doc:"It and its images may be changed"`
	Deletable   bool                `json:"deletable"`
	Images      []imageOutput       `json:"images" nullable:"false"`
	Deployments []versionDeployment `json:"deployments" nullable:"false"`
}

type versionDeployment struct {
	Status    deployment.State `json:"status" enum:"preparing,in-progress,successful,failed,obsolete,downgraded"`
	Note      string           `json:"note"`
	UpdatedAt time.Time        `json:"updatedAt"`
	Node      versionNode      `json:"node"`
	ID        uuid.UUID        `json:"id"`
	Prefix    string           `json:"prefix"`
}

type versionNode struct {
	Type   string    `json:"type" enum:"docker,k8s"`
	Status string    `json:"status" enum:"unreachable,connected"`
	ID     uuid.UUID `json:"id"`
	Name   string    `json:"name"`
}

type createVersionInput struct {
	ProjectPath
	Body struct {
		Type      version.Type `json:"type" enum:"incremental,rolling"`
		Name      string       `json:"name" doc:"1 to 70 characters"`
		Changelog string       `json:"changelog" required:"false"`
	}
}

// VersionPath names a version of a project.
type VersionPath struct {
	ProjectPath
	VersionID uuid.UUID `path:"versionId" format:"uuid"`
}

type updateVersionInput struct {
	VersionPath
	Body struct {
		Name      string `json:"name" doc:"1 to 70 characters"`
		Changelog string `json:"changelog" required:"false"`
	}
}

type increaseVersionInput struct {
	VersionPath
	Body struct {
		Name      string `json:"name" doc:"1 to 70 characters"`
		Changelog string `json:"changelog" required:"false"`
	}
}

func (a *api) versionRoutes() {
	const (
		tag = "Versions"
		all = "/api/{teamSlug}/projects/{projectId}/versions"
		one = all + "/{versionId}"
	)
	addList(a, route{method: http.MethodGet, path: all, summary: "List versions", tag: tag,
		action: authz.VersionRead}, a.listVersions)
	add(a, route{method: http.MethodPost, path: all, summary: "Create a version", tag: tag,
		action: authz.VersionCreate, status: http.StatusCreated, errors: []int{409, 412}, repeats: once}, a.createVersion)
	add(a, route{method: http.MethodGet, path: one, summary: "Get a version", tag: tag,
		action: authz.VersionRead}, a.getVersion)
	add(a, route{method: http.MethodPut, path: one, summary: "Change a version", tag: tag,
		action: authz.VersionUpdate, revises: true, status: http.StatusNoContent, errors: []int{409, 412}}, a.updateVersion)
	add(a, route{method: http.MethodDelete, path: one, summary: "Delete a version", tag: tag,
		action: authz.VersionDelete, revises: true, status: http.StatusNoContent, errors: []int{412}}, a.deleteVersion)
	add(a, route{method: http.MethodPut, path: one + "/default", summary: "Make a version the default", tag: tag,
		action: authz.VersionUpdate, status: http.StatusNoContent}, a.setDefaultVersion)
	add(a, route{method: http.MethodPost, path: one + "/increase", summary: "Make the next version of an incremental one", tag: tag,
		action: authz.VersionCreate, status: http.StatusCreated, errors: []int{409, 412}, repeats: once}, a.increaseVersion)
}

func (a *api) listVersions(ctx context.Context, in *ProjectPath) (*ok[[]VersionOutput], error) {
	list, err := a.deps.Versions.List(ctx, in.ProjectID)
	if err != nil {
		return nil, err
	}
	return respond(each(list, toVersionOutput)), nil
}

func (a *api) createVersion(ctx context.Context, in *createVersionInput) (*created[VersionOutput], error) {
	v, err := a.deps.Versions.Create(ctx, in.ProjectID, in.Body.Type, version.Draft{Name: in.Body.Name, Changelog: in.Body.Changelog})
	if err != nil {
		return nil, err
	}
	return createdVersion(in.ProjectPath, v), nil
}

func (a *api) increaseVersion(ctx context.Context, in *increaseVersionInput) (*created[VersionOutput], error) {
	v, err := a.deps.Versions.Increase(ctx, in.ProjectID, in.VersionID, version.Draft{Name: in.Body.Name, Changelog: in.Body.Changelog})
	if err != nil {
		return nil, err
	}
	return createdVersion(in.ProjectPath, v), nil
}

func createdVersion(in ProjectPath, v version.Version) *created[VersionOutput] {
	return &created[VersionOutput]{
		Location: "/api/" + in.TeamSlug + "/projects/" + in.ProjectID.String() + "/versions/" + v.ID.String(),
		Body:     toVersionOutput(v),
	}
}

func (a *api) getVersion(ctx context.Context, in *VersionPath) (*tagged[versionDetailOutput], error) {
	v, deployments, err := a.deps.Versions.Get(ctx, in.ProjectID, in.VersionID)
	if err != nil {
		return nil, err
	}
	images, err := a.deps.Images.List(ctx, in.ProjectID, in.VersionID)
	if err != nil {
		return nil, err
	}
	state := v.State()
	return respondTagged(versionDetailOutput{
		VersionOutput: toVersionOutput(v), Mutable: state.Mutable, Deletable: state.Deletable,
		Images: each(images, toImageOutput), Deployments: each(deployments, toVersionDeployment),
	}, v.UpdatedAt), nil
}

func (a *api) updateVersion(ctx context.Context, in *updateVersionInput) (*empty, error) {
	return nil, a.deps.Versions.Update(ctx, in.ProjectID, in.VersionID, version.Draft{Name: in.Body.Name, Changelog: in.Body.Changelog})
}

func (a *api) deleteVersion(ctx context.Context, in *VersionPath) (*empty, error) {
	return nil, a.deps.Versions.Delete(ctx, in.ProjectID, in.VersionID)
}

func (a *api) setDefaultVersion(ctx context.Context, in *VersionPath) (*empty, error) {
	return nil, a.deps.Versions.SetDefault(ctx, in.ProjectID, in.VersionID)
}

func toVersionOutput(v version.Version) VersionOutput {
	return VersionOutput{
		Type: v.Type, Changelog: v.Changelog, Default: v.Default, Increasable: v.State().Increasable, ID: v.ID, Name: v.Name,
		Audit: auditOutput{CreatedAt: v.CreatedAt, CreatedBy: v.CreatedBy, UpdatedAt: v.UpdatedAt, UpdatedBy: v.UpdatedBy},
	}
}

func toVersionDeployment(d version.Deployment) versionDeployment {
	node := versionNode{Type: d.Node.Type, Status: "unreachable", ID: d.Node.ID, Name: d.Node.Name}
	if d.NodeStatus == "connected" {
		node.Status = d.NodeStatus
	}
	return versionDeployment{Status: d.State, Note: d.Note, UpdatedAt: d.UpdatedAt, Node: node, ID: d.ID, Prefix: d.Prefix}
}
