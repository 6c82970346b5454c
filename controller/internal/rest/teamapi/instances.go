package teamapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/spec"
)

type instanceOutput struct {
	ID        uuid.UUID           `json:"id"`
	UpdatedAt time.Time           `json:"updatedAt"`
	Image     instanceImageOutput `json:"image"`
	Config    *instanceConfig     `json:"config" doc:"What the instance says beyond its image; null when nothing"`
}

type instanceImageOutput struct {
	ID        uuid.UUID   `json:"id"`
	Name      string      `json:"name"`
	Tag       string      `json:"tag"`
	Order     int         `json:"order"`
	Config    imageConfig `json:"config"`
	CreatedAt time.Time   `json:"createdAt"`
	Registry  RefOutput   `json:"registry"`
}

// InstancePath names an instance of a deployment.
type InstancePath struct {
	DeploymentPath
	InstanceID uuid.UUID `path:"instanceId" format:"uuid"`
}

type updateInstanceInput struct {
	InstancePath
	Body struct {
		Config optional[instanceConfig] `json:"config" required:"false" doc:"Keys left out stay as they are, null leaves a key to the image"`
	}
}

func (a *api) instanceRoutes() {
	const one = "/api/{teamSlug}/deployments/{deploymentId}/instances/{instanceId}"
	add(a, route{method: http.MethodGet, path: one, summary: "Get an instance", tag: deploymentTag,
		action: authz.DeploymentRead}, a.getInstance)
	add(a, route{method: http.MethodPatch, path: one, summary: "Change an instance", tag: deploymentTag,
		action: authz.DeploymentUpdate, revises: true, status: http.StatusNoContent, errors: []int{412}}, a.updateInstance)
	add(a, route{method: http.MethodGet, path: one + "/secrets", summary: "Get what an instance's secrets are sealed to", tag: deploymentTag,
		action: authz.DeploymentRead}, a.instanceSecrets)
}

type containerNameOutput struct {
	Prefix string `json:"prefix"`
	Name   string `json:"name"`
}

type instanceSecretsOutput struct {
	Container containerNameOutput `json:"container"`
	PublicKey *string             `json:"publicKey" doc:"What values are sealed to (age, X25519); null while the node's agent has not told"`
	Keys      []string            `json:"keys" nullable:"false" doc:"Secrets that have a value the node can open"`
}

func (a *api) instanceSecrets(ctx context.Context, in *InstancePath) (*ok[instanceSecretsOutput], error) {
	s, err := a.deps.Deployments.InstanceSecrets(ctx, in.DeploymentID, in.InstanceID)
	if err != nil {
		return nil, err
	}
	return respond(instanceSecretsOutput{
		Container: containerNameOutput{Prefix: s.Prefix, Name: s.Name}, PublicKey: textOrNil(s.PublicKey), Keys: append([]string{}, s.Keys...),
	}), nil
}

func (a *api) getInstance(ctx context.Context, in *InstancePath) (*tagged[instanceOutput], error) {
	i, err := a.deps.Deployments.GetInstance(ctx, in.DeploymentID, in.InstanceID)
	if err != nil {
		return nil, err
	}
	return respondTagged(toInstanceOutput(i), i.UpdatedAt), nil
}

func (a *api) updateInstance(ctx context.Context, in *updateInstanceInput) (*empty, error) {
	return nil, a.deps.Deployments.UpdateInstance(ctx, in.DeploymentID, in.InstanceID, func(c spec.Container) spec.Container {
		if in.Body.Config.value != nil {
			in.Body.Config.value.apply(&c)
		}
		return c
	})
}

func toInstanceOutput(i deployment.Instance) instanceOutput {
	return instanceOutput{
		ID: i.ID, UpdatedAt: i.UpdatedAt,
		Image: instanceImageOutput{
			ID: i.Image.ID, Name: i.Image.Name, Tag: i.Image.Tag, Order: i.Image.Position,
			Config: toImageConfig(i.Image.Config), CreatedAt: i.Image.CreatedAt, Registry: toRefOutput(i.Image.Registry),
		},
		Config: pointTo(i.Config, toInstanceConfig),
	}
}
