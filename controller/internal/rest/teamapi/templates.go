package teamapi

import (
	"context"
	"net/http"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/page"
	"fairlead.dev/controller/internal/project"
	"fairlead.dev/controller/internal/template"
)

// templateOutput is an application that can be made a project.
type templateOutput struct {
	ID           string   `json:"id"`
	Name         string   `json:"name"`
	Description  string   `json:"description" doc:"What it is, and what to enter before its first start"`
	Technologies []string `json:"technologies" nullable:"false"`
}

type useTemplateInput struct {
	Body struct {
		ID          string       `json:"id" doc:"Id of the template"`
		TeamSlug    string       `json:"teamSlug" doc:"The team that gets the project"`
		Type        project.Type `json:"type" enum:"versionless,versioned" doc:"A versioned project begins with the incremental version 1.0.0"`
		Name        string       `json:"name" doc:"Name of the project, 1 to 70 characters"`
		Description string       `json:"description" required:"false"`
	}
}

type templatePath struct {
	TemplateID string `path:"templateId" maxLength:"100"`
}

type pictureOutput struct {
	ContentType   string `header:"Content-Type"`
	CacheControl  string `header:"Cache-Control"`
	ContentPolicy string `header:"Content-Security-Policy"`
	Body          []byte
}

func (a *api) templateRoutes() {
	const (
		tag = "Templates"
		all = "/api/templates"
	)
	addList(a, route{method: http.MethodGet, path: all, summary: "List templates", tag: tag, action: authz.TemplateRead}, a.listTemplates)
	add(a, route{method: http.MethodPost, path: all, summary: "Make a project of a template", tag: tag, action: authz.TemplateUse,
		status: http.StatusCreated, errors: []int{403, 404, 409}, repeats: once}, a.useTemplate)
	add(a, route{method: http.MethodGet, path: all + "/{templateId}/image", summary: "Get the picture of a template", tag: tag,
		action: authz.TemplateRead, produces: "image/svg+xml"}, a.templatePicture)
}

func (a *api) listTemplates(ctx context.Context, _ *struct{}) (*ok[[]templateOutput], error) {
	list, err := a.deps.Templates.List(ctx)
	if err != nil {
		return nil, err
	}
	return respond(each(page.Cut(ctx, list), func(t template.Template) templateOutput {
		return templateOutput{ID: t.ID, Name: t.Name, Description: t.Description, Technologies: t.Technologies}
	})), nil
}

func (a *api) useTemplate(ctx context.Context, in *useTemplateInput) (*created[ProjectOutput], error) {
	p, err := a.deps.Templates.Apply(ctx, in.Body.TeamSlug, in.Body.ID, in.Body.Type, project.Draft{Name: in.Body.Name, Description: in.Body.Description})
	if err != nil {
		return nil, err
	}
	return &created[ProjectOutput]{
		Location: "/api/" + in.Body.TeamSlug + "/projects/" + p.ID.String(),
		Body:     toProjectOutput(p),
	}, nil
}

func (a *api) templatePicture(ctx context.Context, in *templatePath) (*pictureOutput, error) {
	t, err := a.deps.Templates.Get(ctx, in.TemplateID)
	if err != nil {
		return nil, err
	}
	return &pictureOutput{
		ContentType: "image/svg+xml", CacheControl: "private, max-age=86400",
		ContentPolicy: "default-src 'none'; style-src 'unsafe-inline'", Body: t.Icon,
	}, nil
}
