package teamapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/deploytoken"
)

// DeployTokenOutput is a deployment's token without its secret.
type DeployTokenOutput struct {
	ID        uuid.UUID `json:"id"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"createdAt"`
	ExpiresAt time.Time `json:"expiresAt"`
}

type newDeployTokenOutput struct {
	DeployTokenOutput
	Token string `json:"token" doc:"Shown this once"`
	Curl  string `json:"curl" doc:"A command that starts the deployment; add ?wait=5m to its address to have it answer with the outcome"`
}

type createDeployTokenInput struct {
	DeploymentPath
	Body struct {
		Name             string `json:"name" doc:"3 to 70 characters; no two tokens of a team have the same"`
		ExpirationInDays *int   `json:"expirationInDays,omitempty" nullable:"true" minimum:"1" maximum:"3650" doc:"365 when left out"`
	}
}

func (a *api) deployTokenRoutes() {
	const one = "/api/{teamSlug}/deployments/{deploymentId}/token"
	add(a, route{method: http.MethodPut, path: one, summary: "Create a deployment's token", tag: deploymentTag,
		action: authz.DeployTokenCreate, status: http.StatusCreated, errors: []int{409, 412, 429}}, a.createDeployToken)
	add(a, route{method: http.MethodDelete, path: one, summary: "Revoke a deployment's token", tag: deploymentTag,
		action: authz.DeployTokenDelete, status: http.StatusNoContent}, a.deleteDeployToken)
}

func (a *api) createDeployToken(ctx context.Context, in *createDeployTokenInput) (*created[newDeployTokenOutput], error) {
	if err := a.throttleActor(ctx); err != nil {
		return nil, err
	}
	t, secret, err := a.deps.DeployTokens.Create(ctx, in.DeploymentID, in.Body.Name, in.Body.ExpirationInDays)
	if err != nil {
		return nil, err
	}
	path := "/api/" + in.TeamSlug + "/deployments/" + in.DeploymentID.String()
	return &created[newDeployTokenOutput]{
		Location: path,
		Body: newDeployTokenOutput{
			DeployTokenOutput: toDeployTokenOutput(t), Token: secret,
			Curl: "curl -fsS -X POST -H 'Authorization: Bearer " + secret + "' '" + a.deps.PublicURL + path + "/start'",
		},
	}, nil
}

func (a *api) deleteDeployToken(ctx context.Context, in *DeploymentPath) (*empty, error) {
	return nil, a.deps.DeployTokens.Delete(ctx, in.DeploymentID)
}

func toDeployTokenOutput(t deploytoken.Token) DeployTokenOutput {
	return DeployTokenOutput{ID: t.ID, Name: t.Name, CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt}
}
