package teamapi

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/command"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

type planInput struct {
	DeploymentPath
	Body *struct {
		Instances optional[[]uuid.UUID] `json:"instances" required:"false" doc:"Plan to start only these; all when left out"`
		Adopt     []adoptionInput       `json:"adopt,omitempty" nullable:"false" maxItems:"100" doc:"Containers that run on the node already and are to become those of instances as they are"`
	}
}

// adoptionInput makes a container of the node the one of an instance.
type adoptionInput struct {
	InstanceID uuid.UUID `json:"instanceId"`
	Container  string    `json:"container" minLength:"1" maxLength:"255" doc:"Name of the container on its node"`
}

func toAdoption(in adoptionInput) deployment.Adoption {
	return deployment.Adoption{InstanceID: in.InstanceID, Container: in.Container}
}

type planOutput struct {
	Plan string `json:"plan" doc:"Names the plan in a start that is to go by it"`
	PlannedOutput
}

// PlannedOutput is what a node says that a start would do.
type PlannedOutput struct {
	Empty     bool                    `json:"empty" doc:"Nothing would change"`
	Downtime  bool                    `json:"downtime" doc:"Some container cannot be replaced without one"`
	Workloads []plannedWorkloadOutput `json:"workloads" doc:"Those of the deployment in their order, then those it no longer names"`
}

type plannedWorkloadOutput struct {
	Name         string   `json:"name" doc:"The container's below the prefix"`
	InstanceID   string   `json:"instanceId"`
	Action       string   `json:"action" enum:"create,replace,recreate,keep,scale,retire,adopt" doc:"What becomes of its containers. An adoption with changes is refused by the start"`
	ReplicasNow  int      `json:"replicasNow"`
	ReplicasThen int      `json:"replicasThen"`
	Starts       bool     `json:"starts" doc:"Containers that are kept are stopped now and will be started"`
	Changes      []string `json:"changes" doc:"Keys of the configuration whose values differ, as far as the engine shows them; never values"`
	Image        string   `json:"image"`
	DigestNow    *string  `json:"digestNow" doc:"Null when the engine knows none"`
	DigestThen   *string  `json:"digestThen" doc:"Null as long as nobody knows: a tag is resolved by the start"`
	Downtime     []string `json:"downtime" doc:"Why it cannot be replaced without one; empty when it can"`
	Notes        []string `json:"notes" doc:"What the node does otherwise than asked, or not at all"`
	Hooks        []string `json:"hooks" enum:"pre-deploy,post-deploy" doc:"Hooks that will run, in their order"`
}

func (a *api) deploymentPlanRoutes() {
	add(a, route{method: http.MethodPost, path: "/api/{teamSlug}/deployments/{deploymentId}/plan", summary: "Plan a start", tag: deploymentTag,
		action: authz.DeploymentPlan, errors: []int{409, 412, 501, 503}, waits: true}, a.planDeployment)
}

func (a *api) planDeployment(ctx context.Context, in *planInput) (*ok[planOutput], error) {
	var instances []uuid.UUID
	if in.Body != nil && in.Body.Instances.value != nil {
		instances = *in.Body.Instances.value
	}
	var adopt []deployment.Adoption
	if in.Body != nil {
		adopt = each(in.Body.Adopt, toAdoption)
	}
	p, err := a.deps.Deployments.MakePlan(ctx, in.DeploymentID, instances, adopt)
	if err != nil {
		return nil, err
	}
	return respond(planOutput{Plan: p.Hash, PlannedOutput: toPlannedOutput(p.Planned)}), nil
}

func toPlannedOutput(p command.Planned) PlannedOutput {
	return PlannedOutput{Empty: p.Empty(), Downtime: p.Downtime(), Workloads: each(p.Workloads, toPlannedWorkloadOutput)}
}

func toPlannedWorkloadOutput(w workload.PlannedWorkload) plannedWorkloadOutput {
	return plannedWorkloadOutput{
		Name: w.Name, InstanceID: w.InstanceID, Action: string(w.Action), ReplicasNow: w.ReplicasNow, ReplicasThen: w.ReplicasThen, Starts: w.Starts,
		Changes: append([]string{}, w.Changes...), Image: w.Image, DigestNow: textOrNil(w.DigestNow), DigestThen: textOrNil(w.DigestThen),
		Downtime: append([]string{}, w.Downtime...), Notes: append([]string{}, w.Notes...),
		Hooks: each(w.Hooks, func(k spec.HookKind) string { return string(k) }),
	}
}
