package teamapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/apperr"
)

type startDeploymentInput struct {
	DeploymentPath
	Wait string `query:"wait" doc:"Answer when the release has its outcome, or when this time is over; at most 10m. Without it the answer comes at once" example:"5m"`
	// Confirm is asked for by an error that says what would be removed.
	Confirm bool `query:"confirmRemoval" doc:"The release may remove any number of the node's workloads; without it one that removes more than 3 and more than a fifth of them is refused"`
	Body    *struct {
		Instances optional[[]uuid.UUID] `json:"instances" required:"false" doc:"Start only these, and leave the others as they run; all when left out"`
		Adopt     []adoptionInput       `json:"adopt,omitempty" nullable:"false" maxItems:"100" doc:"Containers that run on the node already and become those of instances as they are; the release fails before anything is touched when one is not what would be made"`
		Plan      *string               `json:"plan,omitempty" maxLength:"64" doc:"Start by this plan or not at all: refused when the configuration has changed since, and failed before anything is touched when the node has"`
	}
}

type startedOutput struct {
	Status  int
	Release int64 `header:"Fairlead-Release" doc:"Number of the release that was started"`
	Body    *outcomeOutput
}

type outcomeOutput struct {
	Release int64          `json:"release"`
	Status  string         `json:"status" enum:"pending,in-progress,successful,failed,superseded"`
	Failure *failureOutput `json:"failure" doc:"Of a failed release; else null"`
}

func (a *api) deploymentStartRoutes() {
	const path = "/api/{teamSlug}/deployments/{deploymentId}/start"
	add(a, route{method: http.MethodPost, path: path, summary: "Start a deployment", tag: deploymentTag,
		action: authz.DeploymentStart, status: http.StatusNoContent, errors: []int{412, 501}, waits: true, repeats: once}, a.startDeployment)
	a.describeStarted(path)
}

// describeStarted documents what an endpoint answers that starts a release.
func (a *api) describeStarted(path string) {
	answers := a.OpenAPI().Paths[path].Post.Responses
	accepted := answers["204"]
	answers["200"] = &huma.Response{Description: "The release has its outcome", Headers: accepted.Headers, Content: accepted.Content}
	answers["202"] = &huma.Response{Description: "The time is over; the release is under way", Headers: accepted.Headers, Content: accepted.Content}
	answers["204"] = &huma.Response{Description: "Accepted, and not waited for", Headers: accepted.Headers}
}

func (a *api) startDeployment(ctx context.Context, in *startDeploymentInput) (*startedOutput, error) {
	wait, err := parseWait(in.Wait)
	if err != nil {
		return nil, err
	}
	var instances []uuid.UUID
	if in.Body != nil && in.Body.Instances.value != nil {
		instances = *in.Body.Instances.value
	}
	options := deployment.StartOptions{Instances: instances, ConfirmRemoval: in.Confirm}
	if in.Body != nil {
		options.Plan, options.Adopt = orZero(in.Body.Plan), each(in.Body.Adopt, toAdoption)
	}
	number, err := a.deps.Deployments.StartWith(ctx, in.DeploymentID, options)
	if err != nil {
		return nil, err
	}
	return a.started(ctx, in.DeploymentID, number, wait)
}

// started answers for a release that was started, after a wait unless that is 0.
func (a *api) started(ctx context.Context, id uuid.UUID, number int64, wait time.Duration) (*startedOutput, error) {
	if wait == 0 {
		return &startedOutput{Status: http.StatusNoContent, Release: number}, nil
	}
	r, err := a.deps.Deployments.Wait(ctx, id, number, wait)
	if ctx.Err() != nil {
		// Nobody listens any more, but who sends the request again with the same
		// key shall hear that it was started.
		r, err = deployment.Release{Outcome: deployment.OutcomePending}, nil
	}
	if err != nil {
		return nil, err
	}
	out := &startedOutput{Status: http.StatusAccepted, Release: number, Body: &outcomeOutput{
		Release: number, Status: string(r.Outcome), Failure: pointTo(r.Failure, toFailureOutput),
	}}
	if r.Outcome.Final() {
		out.Status = http.StatusOK
	}
	return out, nil
}

// parseWait returns 0 when there is nothing to wait for.
func parseWait(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	wait, err := time.ParseDuration(text)
	if err != nil {
		return 0, apperr.InvalidField("wait", text, "must be a duration such as 90s or 5m")
	}
	return wait, deployment.CheckWait(wait)
}
