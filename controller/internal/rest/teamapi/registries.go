package teamapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/registry"
)

type registryListItem struct {
	Type        registry.Type `json:"type" enum:"v2,hub,gitlab,github,google,unchecked"`
	ID          uuid.UUID     `json:"id"`
	Name        string        `json:"name"`
	Description string        `json:"description"`
	Icon        string        `json:"icon"`
	URL         string        `json:"url"`
}

// registryOutput never has the credentials.
type registryOutput struct {
	Type        registry.Type   `json:"type" enum:"v2,hub,gitlab,github,google,unchecked"`
	Details     registryDetails `json:"details"`
	ID          uuid.UUID       `json:"id"`
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Icon        string          `json:"icon"`
	InUse       bool            `json:"inUse" doc:"An image refers to it"`
	CreatedAt   time.Time       `json:"createdAt"`
	UpdatedAt   time.Time       `json:"updatedAt"`
}

// registryDetails has the keys that a type of registry has, no others.
type registryDetails struct {
	ImageNamePrefix string `json:"imageNamePrefix,omitempty"`
	URL             string `json:"url,omitempty"`
	APIURL          string `json:"apiUrl,omitempty"`
	Namespace       string `json:"namespace,omitempty"`
}

type registryDetailsInput struct {
	ImageNamePrefix string           `json:"imageNamePrefix" required:"false" doc:"hub, gitlab, github, google: the organization, user, group or project; v2, unchecked: what stands between the address and the images' names, if anything does"`
	URL             string           `json:"url" required:"false" doc:"v2, google, unchecked, self-managed gitlab: host[:port][/path]"`
	APIURL          string           `json:"apiUrl" required:"false" doc:"Self-managed gitlab: address of its API"`
	Namespace       string           `json:"namespace" required:"false" enum:"group,project,organization,user" doc:"gitlab: group or project; github: organization or user"`
	User            optional[string] `json:"user" required:"false" writeOnly:"true" doc:"Goes with token. When both are left out of a change, the stored ones stay; empty ones remove them"`
	Token           optional[string] `json:"token" required:"false" writeOnly:"true" doc:"Password or token; never answered"`
}

// RegistryBody is the body of both creation and change.
type RegistryBody struct {
	Body struct {
		Type        registry.Type        `json:"type" enum:"v2,hub,gitlab,github,google,unchecked"`
		Details     registryDetailsInput `json:"details"`
		Name        string               `json:"name" doc:"1 to 70 characters"`
		Description string               `json:"description" required:"false"`
		Icon        string               `json:"icon" required:"false"`
	}
}

type createRegistryInput struct {
	TeamPath
	RegistryBody
}

// RegistryPath names a registry of a team.
type RegistryPath struct {
	TeamPath
	RegistryID uuid.UUID `path:"registryId" format:"uuid"`
}

type updateRegistryInput struct {
	RegistryPath
	RegistryBody
}

func (a *api) registryRoutes() {
	const (
		tag = "Registries"
		all = "/api/{teamSlug}/registries"
		one = all + "/{registryId}"
	)
	addList(a, route{method: http.MethodGet, path: all, summary: "List registries", tag: tag,
		action: authz.RegistryRead}, a.listRegistries)
	add(a, route{method: http.MethodPost, path: all, summary: "Create a registry", tag: tag,
		action: authz.RegistryCreate, status: http.StatusCreated, errors: []int{409, 412}, waits: true, repeats: once}, a.createRegistry)
	add(a, route{method: http.MethodGet, path: one, summary: "Get a registry", tag: tag,
		action: authz.RegistryRead}, a.getRegistry)
	add(a, route{method: http.MethodPut, path: one, summary: "Change a registry", tag: tag,
		action: authz.RegistryUpdate, revises: true, status: http.StatusNoContent, errors: []int{409, 412}, waits: true}, a.updateRegistry)
	add(a, route{method: http.MethodDelete, path: one, summary: "Delete a registry", tag: tag,
		action: authz.RegistryDelete, revises: true, status: http.StatusNoContent, errors: []int{412}}, a.deleteRegistry)
}

func (a *api) listRegistries(ctx context.Context, _ *TeamPath) (*ok[[]registryListItem], error) {
	list, err := a.deps.Registries.List(ctx)
	if err != nil {
		return nil, err
	}
	return respond(each(list, func(r registry.Registry) registryListItem {
		return registryListItem{
			Type: r.Details.Type, ID: r.ID, Name: r.Name, Description: r.Description, Icon: r.Icon, URL: r.Details.URL,
		}
	})), nil
}

func (a *api) createRegistry(ctx context.Context, in *createRegistryInput) (*created[registryOutput], error) {
	r, err := a.deps.Registries.Create(ctx, in.write())
	if err != nil {
		return nil, err
	}
	return &created[registryOutput]{
		Location: "/api/" + in.TeamSlug + "/registries/" + r.ID.String(),
		Body:     toRegistryOutput(r),
	}, nil
}

func (a *api) getRegistry(ctx context.Context, in *RegistryPath) (*tagged[registryOutput], error) {
	r, err := a.deps.Registries.Get(ctx, in.RegistryID)
	if err != nil {
		return nil, err
	}
	return respondTagged(toRegistryOutput(r), r.UpdatedAt), nil
}

func (a *api) updateRegistry(ctx context.Context, in *updateRegistryInput) (*empty, error) {
	return nil, a.deps.Registries.Update(ctx, in.RegistryID, in.write())
}

func (a *api) deleteRegistry(ctx context.Context, in *RegistryPath) (*empty, error) {
	return nil, a.deps.Registries.Delete(ctx, in.RegistryID)
}

func (b RegistryBody) write() registry.Write {
	in := b.Body
	w := registry.Write{
		Name: in.Name, Description: in.Description, Icon: in.Icon,
		Details: registry.Details{
			Type: in.Type, URL: in.Details.URL, APIURL: in.Details.APIURL,
			ImageNamePrefix: in.Details.ImageNamePrefix, Namespace: in.Details.Namespace,
		},
	}
	if user, token := in.Details.User.value, in.Details.Token.value; user != nil || token != nil {
		w.Login = &registry.Login{Username: orZero(user), Password: orZero(token)}
	}
	return w
}

func toRegistryOutput(r registry.Registry) registryOutput {
	out := registryOutput{
		Type: r.Details.Type, ID: r.ID, Name: r.Name, Description: r.Description, Icon: r.Icon,
		InUse: r.InUse, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
		Details: registryDetails{
			ImageNamePrefix: r.Details.ImageNamePrefix, URL: r.Details.URL,
			APIURL: r.Details.APIURL, Namespace: r.Details.Namespace,
		},
	}
	if r.Details.Type == registry.Hub || r.Details.Type == registry.GitHub {
		out.Details.URL = "" // the type says it
	}
	return out
}

func orZero[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
