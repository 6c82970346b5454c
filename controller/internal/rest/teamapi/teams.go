package teamapi

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/team"
)

type statisticsOutput struct {
	Users       int `json:"users"`
	Projects    int `json:"projects"`
	Nodes       int `json:"nodes"`
	Versions    int `json:"versions"`
	Deployments int `json:"deployments"`
}

// TeamOutput is a team in lists; its detail has more.
type TeamOutput struct {
	Statistics statisticsOutput `json:"statistics"`
	ID         uuid.UUID        `json:"id"`
	Name       string           `json:"name"`
	Slug       string           `json:"slug"`
}

type teamDetailOutput struct {
	TeamOutput
	Users []MemberOutput `json:"users"`
}

// TeamBody is the body of both creation and change.
type TeamBody struct {
	Body struct {
		Slug string `json:"slug" doc:"3 to 16 lower-case letters, digits and hyphens" example:"acme"`
		Name string `json:"name" doc:"3 to 70 characters"`
	}
}

// TeamIDPath names a team by its id.
type TeamIDPath struct {
	TeamID uuid.UUID `path:"teamId" format:"uuid"`
}

type updateTeamInput struct {
	TeamIDPath
	TeamBody
}

func (a *api) teamRoutes() {
	const tag = "Teams"
	addList(a, route{method: http.MethodGet, path: "/api/teams", summary: "List the caller's teams", tag: tag,
		action: authz.TeamList}, a.listTeams)
	add(a, route{method: http.MethodPost, path: "/api/teams", summary: "Create a team", tag: tag,
		action: authz.TeamCreate, status: http.StatusCreated, errors: []int{409}, repeats: once}, a.createTeam)
	add(a, route{method: http.MethodGet, path: "/api/teams/{teamId}", summary: "Get a team", tag: tag,
		action: authz.TeamRead}, a.getTeam)
	add(a, route{method: http.MethodPut, path: "/api/teams/{teamId}", summary: "Rename a team", tag: tag,
		action: authz.TeamUpdate, revises: true, status: http.StatusNoContent, errors: []int{409}}, a.updateTeam)
	add(a, route{method: http.MethodDelete, path: "/api/teams/{teamId}", summary: "Delete a team", tag: tag,
		action: authz.TeamDelete, revises: true, status: http.StatusNoContent, errors: []int{412}}, a.deleteTeam)
}

func (a *api) listTeams(ctx context.Context, _ *struct{}) (*ok[[]TeamOutput], error) {
	memberships, err := a.deps.Teams.List(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]TeamOutput, len(memberships))
	for i, m := range memberships {
		out[i] = toTeamOutput(m.Team)
	}
	return respond(out), nil
}

func (a *api) createTeam(ctx context.Context, in *TeamBody) (*created[TeamOutput], error) {
	t, err := a.deps.Teams.Create(ctx, in.Body.Name, in.Body.Slug)
	if err != nil {
		return nil, err
	}
	return &created[TeamOutput]{Location: "/api/teams/" + t.ID.String(), Body: toTeamOutput(t)}, nil
}

func (a *api) getTeam(ctx context.Context, in *TeamIDPath) (*tagged[teamDetailOutput], error) {
	ctx, err := a.deps.Teams.EnterByID(ctx, in.TeamID)
	if err != nil {
		return nil, err
	}
	t, members, err := a.deps.Teams.Get(ctx)
	if err != nil {
		return nil, err
	}
	out := teamDetailOutput{TeamOutput: toTeamOutput(t), Users: make([]MemberOutput, len(members))}
	for i, m := range members {
		out.Users[i] = toMemberOutput(m)
	}
	return respondTagged(out, t.UpdatedAt), nil
}

func (a *api) updateTeam(ctx context.Context, in *updateTeamInput) (*empty, error) {
	ctx, err := a.deps.Teams.EnterByID(ctx, in.TeamID)
	if err != nil {
		return nil, err
	}
	return nil, a.deps.Teams.Update(ctx, in.Body.Name, in.Body.Slug)
}

func (a *api) deleteTeam(ctx context.Context, in *TeamIDPath) (*empty, error) {
	ctx, err := a.deps.Teams.EnterByID(ctx, in.TeamID)
	if err != nil {
		return nil, err
	}
	return nil, a.deps.Teams.Delete(ctx)
}

func toTeamOutput(t team.Team) TeamOutput {
	return TeamOutput{Statistics: statisticsOutput(t.Statistics), ID: t.ID, Name: t.Name, Slug: t.Slug}
}
