package teamapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/oidctrust"
)

type oidcTrustOutput struct {
	ID           uuid.UUID           `json:"id"`
	Name         string              `json:"name"`
	Provider     oidctrust.Provider  `json:"provider" enum:"github,gitlab,other"`
	DeploymentID uuid.UUID           `json:"deploymentId"`
	Issuer       string              `json:"issuer"`
	Audience     string              `json:"audience"`
	Conditions   map[string][]string `json:"conditions"`
	CreatedAt    time.Time           `json:"createdAt"`
	CreatedBy    string              `json:"createdBy"`
}

type createOIDCTrustInput struct {
	TeamPath
	Body struct {
		Name         string              `json:"name" doc:"3 to 70 characters"`
		Provider     oidctrust.Provider  `json:"provider" enum:"github,gitlab,other"`
		DeploymentID uuid.UUID           `json:"deploymentId" format:"uuid" doc:"The one deployment that the tokens are good for"`
		Issuer       string              `json:"issuer,omitempty" doc:"The claim iss; the public service's when left out for github and gitlab"`
		Audience     string              `json:"audience,omitempty" doc:"Must be in the claim aud; the controller's public URL when left out"`
		Conditions   map[string][]string `json:"conditions" doc:"For each claim the values it may have, compared as they are; github needs repository_id or repository_owner_id, gitlab project_id or namespace_id"`
	}
}

type oidcTrustPath struct {
	TeamPath
	TrustID uuid.UUID `path:"trustId" format:"uuid"`
}

type exchangeInput struct {
	Address
	DeploymentPath
	Body struct {
		Token string `json:"token" doc:"The pipeline's identity token (a JSON web token); each is exchanged once"`
	}
}

type exchangeOutput struct {
	Token     string    `json:"token" doc:"A deploy token for this deployment"`
	ExpiresAt time.Time `json:"expiresAt"`
	Trust     string    `json:"trust" doc:"Name of the trust that accepted the identity token"`
}

func (a *api) oidcTrustRoutes() {
	const (
		tag = "OIDC trusts"
		all = "/api/{teamSlug}/oidc-trusts"
	)
	addList(a, route{method: http.MethodGet, path: all, summary: "List OIDC trusts", tag: tag, action: authz.OIDCTrustRead}, a.listOIDCTrusts)
	add(a, route{method: http.MethodPost, path: all, summary: "Create an OIDC trust", tag: tag, action: authz.OIDCTrustCreate,
		status: http.StatusCreated, errors: []int{409, 412}, repeats: once}, a.createOIDCTrust)
	add(a, route{method: http.MethodDelete, path: all + "/{trustId}", summary: "Delete an OIDC trust", tag: tag,
		action: authz.OIDCTrustDelete, status: http.StatusNoContent}, a.deleteOIDCTrust)
	add(a, route{method: http.MethodPost, path: "/api/{teamSlug}/deployments/{deploymentId}/token/exchange",
		summary: "Exchange an identity token for a deploy token", tag: tag, public: true, errors: []int{401, 429, 503}}, a.exchangeToken)
}

func (a *api) listOIDCTrusts(ctx context.Context, _ *TeamPath) (*ok[[]oidcTrustOutput], error) {
	list, err := a.deps.OIDCTrusts.List(ctx)
	if err != nil {
		return nil, err
	}
	return respond(each(list, toOIDCTrustOutput)), nil
}

func (a *api) createOIDCTrust(ctx context.Context, in *createOIDCTrustInput) (*created[oidcTrustOutput], error) {
	t, err := a.deps.OIDCTrusts.Create(ctx, oidctrust.Draft{
		Name: in.Body.Name, Provider: in.Body.Provider, DeploymentID: in.Body.DeploymentID,
		Issuer: in.Body.Issuer, Audience: in.Body.Audience, Conditions: in.Body.Conditions,
	})
	if err != nil {
		return nil, err
	}
	return &created[oidcTrustOutput]{Location: "/api/" + in.TeamSlug + "/oidc-trusts/" + t.ID.String(), Body: toOIDCTrustOutput(t)}, nil
}

func (a *api) deleteOIDCTrust(ctx context.Context, in *oidcTrustPath) (*empty, error) {
	return nil, a.deps.OIDCTrusts.Delete(ctx, in.TrustID)
}

func (a *api) exchangeToken(ctx context.Context, in *exchangeInput) (*ok[exchangeOutput], error) {
	if err := throttle(a.deps.ExchangeAllowed, in.Address); err != nil {
		return nil, err
	}
	t, secret, err := a.deps.OIDCTrusts.Exchange(ctx, in.TeamSlug, in.DeploymentID, in.Body.Token)
	if err != nil {
		return nil, err
	}
	return respond(exchangeOutput{Token: secret, ExpiresAt: t.ExpiresAt, Trust: t.Name}), nil
}

func toOIDCTrustOutput(t oidctrust.Trust) oidcTrustOutput {
	return oidcTrustOutput{
		ID: t.ID, Name: t.Name, Provider: t.Provider, DeploymentID: t.DeploymentID, Issuer: t.Issuer, Audience: t.Audience,
		Conditions: t.Conditions, CreatedAt: t.CreatedAt, CreatedBy: t.CreatedBy,
	}
}
