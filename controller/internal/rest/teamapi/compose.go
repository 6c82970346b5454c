package teamapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/compose"
	"fairlead.dev/controller/internal/project"
)

type importComposeInput struct {
	TeamPath
	Body struct {
		Compose           string            `json:"compose" maxLength:"262144" doc:"The Compose file, as YAML. No other file is read"`
		Variables         map[string]string `json:"variables" required:"false" doc:"Values of the file's variables; there are no others"`
		Profiles          []string          `json:"profiles" required:"false" maxItems:"100" doc:"Services of these profiles are taken along; those without a profile always are"`
		Name              string            `json:"name" required:"false" doc:"Name of the project; the file's when left out"`
		Type              project.Type      `json:"type" required:"false" enum:"versionless,versioned" default:"versioned" doc:"A versioned project begins with the incremental version 1.0.0"`
		DryRun            bool              `json:"dryRun" required:"false" doc:"Only say what would be made: 200"`
		AcceptUnsupported bool              `json:"acceptUnsupported" required:"false" doc:"Make the project without what can't be carried over; else it is refused"`
	}
}

type importedComposeOutput struct {
	Status   int
	Location string `header:"Location" doc:"Of the project that was made"`
	Body     composeOutput
}

// composeOutput is what a Compose file becomes.
type composeOutput struct {
	Name        string               `json:"name" doc:"Name of the project"`
	ProjectID   *uuid.UUID           `json:"projectId" doc:"null in a dry run"`
	VersionID   *uuid.UUID           `json:"versionId" doc:"null in a dry run"`
	Images      []composeImageOutput `json:"images" nullable:"false" doc:"In the order of their start"`
	Unsupported []composeFinding     `json:"unsupported" nullable:"false" doc:"Every key that is not carried over"`
	Notes       []composeFinding     `json:"notes" nullable:"false" doc:"What is worth to know and keeps nothing from being made"`
	Missing     []string             `json:"missingRegistries" nullable:"false" doc:"Where images come from that the team has no registry for"`
}

type composeImageOutput struct {
	Service    string      `json:"service" doc:"The service of the file"`
	Image      string      `json:"image" doc:"Complete reference"`
	RegistryID *uuid.UUID  `json:"registryId" doc:"null when the team has no registry for it"`
	Registry   string      `json:"registry" doc:"Name of the registry"`
	Config     imageConfig `json:"config"`
}

type composeFinding struct {
	Path   string `json:"path" doc:"JSON pointer into the file; empty for the file as a whole" example:"/services/web/privileged"`
	Reason string `json:"reason"`
}

func (a *api) composeRoutes() {
	const path = "/api/{teamSlug}/compose"
	add(a, route{method: http.MethodPost, path: path, summary: "Make a project of a Compose file", tag: "Projects",
		action: authz.ComposeImport, status: http.StatusCreated, errors: []int{409, 412}, repeats: once}, a.importCompose)
	answers := a.OpenAPI().Paths[path].Post.Responses
	answers["200"] = &huma.Response{Description: "What a dry run would make", Content: answers["201"].Content}
}

func (a *api) importCompose(ctx context.Context, in *importComposeInput) (*importedComposeOutput, error) {
	b := in.Body
	request := compose.Request{
		Text: b.Compose, Variables: b.Variables, Profiles: b.Profiles, Name: b.Name, Type: b.Type, AcceptUnsupported: b.AcceptUnsupported,
	}
	if b.DryRun {
		plan, err := a.deps.Compose.Plan(ctx, request)
		if err != nil {
			return nil, err
		}
		return &importedComposeOutput{Status: http.StatusOK, Body: toComposeOutput(plan)}, nil
	}
	made, err := a.deps.Compose.Import(ctx, request)
	if err != nil {
		return nil, err
	}
	out := &importedComposeOutput{
		Status: http.StatusCreated, Location: "/api/" + in.TeamSlug + "/projects/" + made.Project.ID.String(), Body: toComposeOutput(made.Plan),
	}
	out.Body.ProjectID, out.Body.VersionID = &made.Project.ID, &made.VersionID
	return out, nil
}

func toComposeOutput(p compose.Plan) composeOutput {
	finding := func(f compose.Finding) composeFinding { return composeFinding(f) }
	out := composeOutput{
		Name: p.Name, Unsupported: each(p.Unsupported, finding), Notes: each(p.Notes, finding),
		Missing: each(p.Missing, func(m string) string { return m }),
	}
	out.Images = each(p.Images, func(i compose.Image) composeImageOutput {
		o := composeImageOutput{Service: i.Service, Image: i.Reference, Registry: i.RegistryName, Config: toImageConfig(i.Config)}
		if i.RegistryID != uuid.Nil {
			o.RegistryID = &i.RegistryID
		}
		return o
	})
	return out
}
