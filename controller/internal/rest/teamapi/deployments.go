package teamapi

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/spec"
)

const deploymentTag = "Deployments"

// RefOutput names something of another kind, and what type of that it is.
type RefOutput struct {
	Type string    `json:"type"`
	ID   uuid.UUID `json:"id"`
	Name string    `json:"name"`
}

// DeploymentOutput is a deployment as lists show it.
type DeploymentOutput struct {
	Status  string      `json:"status" enum:"preparing,in-progress,successful,failed,obsolete,downgraded"`
	Note    string      `json:"note"`
	Audit   auditOutput `json:"audit"`
	Project RefOutput   `json:"project"`
	Version RefOutput   `json:"version"`
	Node    RefOutput   `json:"node"`
	ID      uuid.UUID   `json:"id"`
	Prefix  string      `json:"prefix"`
}

type deploymentDetailOutput struct {
	DeploymentOutput
	Environment []keyValue         `json:"environment"`
	PublicKey   *string            `json:"publicKey" doc:"Key of the node that secrets are sealed to; null while the node offers none"`
	Instances   []instanceOutput   `json:"instances"`
	Policy      policyOutput       `json:"policy"`
	LastTry     int64              `json:"lastTry" doc:"Number of the latest release; 0 before the first start"`
	Token       *DeployTokenOutput `json:"token" doc:"Null when the deployment has no token"`
	Waiting     *string            `json:"waiting" doc:"What a started deployment waits for, e.g. its node to return; null when nothing"`
}

type policyOutput struct {
	OnFailure    string `json:"onFailure" enum:"rollback,keep,notify"`
	HealthWindow int32  `json:"healthWindow" doc:"Seconds that containers may take to become healthy; 0 leaves it to the agent"`
	Drain        int32  `json:"drain" doc:"Seconds that old containers go on after the new ones have taken over"`
	Parallelism  int32  `json:"parallelism" doc:"How many containers are brought up at once, in their order; 0 leaves it to the agent"`
	Drift        string `json:"drift" enum:"report,correct" doc:"What becomes of what somebody changes by hand of what a release made"`
}

// DeploymentPath names a deployment of the team.
type DeploymentPath struct {
	TeamPath
	DeploymentID uuid.UUID `path:"deploymentId" format:"uuid"`
}

type createDeploymentInput struct {
	TeamPath
	Body struct {
		VersionID uuid.UUID `json:"versionId" format:"uuid"`
		NodeID    uuid.UUID `json:"nodeId" format:"uuid"`
		Prefix    string    `json:"prefix" doc:"A DNS label; the containers are called <prefix>-<name>" example:"shop"`
		Note      *string   `json:"note,omitempty" nullable:"true"`
	}
}

type deleteDeploymentInput struct {
	DeploymentPath
	Containers string `query:"containers" enum:"remove,keep" default:"remove" doc:"What becomes of the containers: remove them, or keep them as they run, left over and looked after by nobody. Volumes stay either way"`
}

type copyDeploymentInput struct {
	DeploymentPath
	Body struct {
		NodeID uuid.UUID `json:"nodeId" format:"uuid" doc:"On another node than the original's, values of secrets have to be entered again"`
		Prefix string    `json:"prefix" doc:"A DNS label; the containers are called <prefix>-<name>" example:"shop"`
		Note   *string   `json:"note,omitempty" nullable:"true"`
	}
}

type updateDeploymentInput struct {
	DeploymentPath
	Body struct {
		Note        optional[string]     `json:"note" required:"false" doc:"Null clears it"`
		Prefix      optional[string]     `json:"prefix" required:"false" doc:"Null leaves it; can't be changed while something runs under it"`
		Environment optional[[]keyValue] `json:"environment" required:"false" doc:"Replaces the whole list; null clears it"`
		Policy      *struct {
			OnFailure    *string `json:"onFailure,omitempty" enum:"rollback,keep,notify" doc:"What becomes of containers that do not become healthy: rollback puts back what ran before, keep puts the new ones in place and the release has failed, notify puts them in place and only warns"`
			HealthWindow *int32  `json:"healthWindow,omitempty" minimum:"0" maximum:"86400" doc:"Seconds that containers may take to become healthy; 0 leaves it to the agent"`
			Drain        *int32  `json:"drain,omitempty" minimum:"0" maximum:"3600" doc:"Seconds that old containers go on after the new ones have taken over"`
			Parallelism  *int32  `json:"parallelism,omitempty" minimum:"0" maximum:"100" doc:"How many containers are brought up at once, in their order; 0 leaves it to the agent"`
			Drift        *string `json:"drift,omitempty" enum:"report,correct" doc:"What becomes of what somebody changes by hand of what a release made: report tells of it, correct puts it back too, which agents of clusters can do"`
		} `json:"policy,omitempty" doc:"How releases take over; what is left out stays. The next start goes by it"`
	}
}

func (a *api) deploymentRoutes() {
	const one = "/api/{teamSlug}/deployments/{deploymentId}"
	addList(a, route{method: http.MethodGet, path: "/api/{teamSlug}/deployments", summary: "List deployments", tag: deploymentTag,
		action: authz.DeploymentRead}, a.listDeployments)
	add(a, route{method: http.MethodPost, path: "/api/{teamSlug}/deployments", summary: "Create a deployment", tag: deploymentTag,
		action: authz.DeploymentCreate, status: http.StatusCreated, errors: []int{409, 412}, repeats: once}, a.createDeployment)
	add(a, route{method: http.MethodGet, path: one, summary: "Get a deployment", tag: deploymentTag,
		action: authz.DeploymentRead}, a.getDeployment)
	add(a, route{method: http.MethodPatch, path: one, summary: "Change a deployment", tag: deploymentTag,
		action: authz.DeploymentUpdate, revises: true, status: http.StatusNoContent, errors: []int{409, 412}}, a.updateDeployment)
	add(a, route{method: http.MethodDelete, path: one, summary: "Delete a deployment", tag: deploymentTag,
		action: authz.DeploymentDelete, revises: true, status: http.StatusNoContent, errors: []int{412}}, a.deleteDeployment)
	add(a, route{method: http.MethodPost, path: one + "/copy", summary: "Copy a deployment", tag: deploymentTag,
		action: authz.DeploymentCreate, status: http.StatusCreated, errors: []int{409, 412}, repeats: once}, a.copyDeployment)
	a.deploymentStartRoutes()
	a.deployTokenRoutes()
	a.instanceRoutes()
	a.deploymentLogRoutes()
	a.deploymentPlanRoutes()
	a.releaseRoutes()
}

func (a *api) listDeployments(ctx context.Context, _ *TeamPath) (*ok[[]DeploymentOutput], error) {
	list, err := a.deps.Deployments.List(ctx)
	if err != nil {
		return nil, err
	}
	return respond(each(list, toDeploymentOutput)), nil
}

func (a *api) createDeployment(ctx context.Context, in *createDeploymentInput) (*created[DeploymentOutput], error) {
	d, err := a.deps.Deployments.Create(ctx, deployment.Draft{
		VersionID: in.Body.VersionID, NodeID: in.Body.NodeID, Prefix: in.Body.Prefix, Note: orZero(in.Body.Note),
	})
	if err != nil {
		return nil, err
	}
	return createdDeployment(in.TeamPath, d), nil
}

func (a *api) copyDeployment(ctx context.Context, in *copyDeploymentInput) (*created[DeploymentOutput], error) {
	d, err := a.deps.Deployments.Copy(ctx, in.DeploymentID, deployment.Draft{
		NodeID: in.Body.NodeID, Prefix: in.Body.Prefix, Note: orZero(in.Body.Note),
	})
	if err != nil {
		return nil, err
	}
	return createdDeployment(in.TeamPath, d), nil
}

func createdDeployment(in TeamPath, d deployment.Deployment) *created[DeploymentOutput] {
	return &created[DeploymentOutput]{
		Location: "/api/" + in.TeamSlug + "/deployments/" + d.ID.String(),
		Body:     toDeploymentOutput(d),
	}
}

func (a *api) getDeployment(ctx context.Context, in *DeploymentPath) (*tagged[deploymentDetailOutput], error) {
	d, err := a.deps.Deployments.Get(ctx, in.DeploymentID)
	if err != nil {
		return nil, err
	}
	out := deploymentDetailOutput{
		PublicKey:        textOrNil(d.SealingKey),
		DeploymentOutput: toDeploymentOutput(d.Deployment),
		Environment:      each(d.Environment, toKeyValue),
		Instances:        each(d.Instances, toInstanceOutput),
		LastTry:          d.Tries,
		Policy: policyOutput{
			OnFailure: string(d.Policy.OnFailure), HealthWindow: d.Policy.HealthWindowSeconds,
			Drain: d.Policy.DrainSeconds, Parallelism: d.Policy.Parallelism,
			Drift: string(d.Policy.Drift),
		},
		Token: pointTo(d.Token, func(t deployment.Token) DeployTokenOutput { return DeployTokenOutput(t) }),
	}
	if d.Waiting != "" {
		out.Waiting = &d.Waiting
	}
	return respondTagged(out, d.UpdatedAt), nil
}

func (a *api) updateDeployment(ctx context.Context, in *updateDeploymentInput) (*empty, error) {
	change := deployment.Change{Prefix: in.Body.Prefix.value}
	if in.Body.Note.present {
		change.Note = new(string)
		if note := in.Body.Note.value; note != nil {
			change.Note = note
		}
	}
	if in.Body.Environment.present {
		change.Environment = &[]spec.KeyValue{}
		assignList(in.Body.Environment, change.Environment, fromKeyValue)
	}
	if p := in.Body.Policy; p != nil {
		change.Policy = deployment.PolicyChange{
			OnFailure:           pointTo(p.OnFailure, func(word string) spec.OnFailure { return spec.OnFailure(word) }),
			HealthWindowSeconds: p.HealthWindow, DrainSeconds: p.Drain, Parallelism: p.Parallelism,
			Drift: pointTo(p.Drift, func(word string) spec.Drift { return spec.Drift(word) }),
		}
	}
	return nil, a.deps.Deployments.Update(ctx, in.DeploymentID, change)
}

func (a *api) deleteDeployment(ctx context.Context, in *deleteDeploymentInput) (*empty, error) {
	if in.Containers == "keep" {
		return nil, a.deps.Deployments.DeleteKeeping(ctx, in.DeploymentID)
	}
	return nil, a.deps.Deployments.Delete(ctx, in.DeploymentID)
}

func toDeploymentOutput(d deployment.Deployment) DeploymentOutput {
	return DeploymentOutput{
		Status: string(d.State), Note: d.Note,
		Audit:   auditOutput{CreatedAt: d.CreatedAt, CreatedBy: d.CreatedBy, UpdatedAt: d.UpdatedAt, UpdatedBy: d.UpdatedBy},
		Project: toRefOutput(d.Project), Version: toRefOutput(d.Version), Node: toRefOutput(d.Node),
		ID: d.ID, Prefix: d.Prefix,
	}
}

func toRefOutput(r deployment.Ref) RefOutput { return RefOutput{Type: r.Type, ID: r.ID, Name: r.Name} }
