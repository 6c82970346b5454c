package teamapi

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/deployment"
)

// ReleasePath names a release of a deployment.
type ReleasePath struct {
	DeploymentPath
	Number int64 `path:"releaseNumber" minimum:"1"`
}

// ReleaseOutput is a release as lists show it.
type ReleaseOutput struct {
	Number     int64          `json:"number"`
	Outcome    string         `json:"outcome" enum:"pending,in-progress,successful,failed,superseded"`
	Trigger    string         `json:"trigger" enum:"user,api-token,deployment-token,oidc,rollback,fallback,start" doc:"What made it; start is of releases of earlier controllers, fallback puts back what a deleted deployment was to replace"`
	Actor      actorOutput    `json:"actor"`
	CreatedAt  time.Time      `json:"createdAt"`
	CreatedBy  string         `json:"createdBy"`
	BeganAt    *time.Time     `json:"beganAt" doc:"When the node was first seen to be at it"`
	FinishedAt *time.Time     `json:"finishedAt"`
	RollbackOf *int64         `json:"rollbackOf" doc:"Number of the release whose content this one has again"`
	ConfigHash *string        `json:"configHash" doc:"SHA-256 of the rendered configuration without tags and digests; null of releases of earlier controllers"`
	Digests    []digestOutput `json:"digests" doc:"What the node resolved the images to; empty until the release has its outcome, and when the node's agent does not tell"`
	Failure    *failureOutput `json:"failure"`
	Hold       *holdOutput    `json:"hold" doc:"Who keeps the release from being started again, and why; null when nobody does"`
}

type actorOutput struct {
	Type string `json:"type" doc:"user, deployment-token or system; empty of releases of earlier controllers"`
	Name string `json:"name"`
}

type digestOutput struct {
	InstanceID string `json:"instanceId"`
	Digest     string `json:"digest"`
	Reference  string `json:"reference,omitempty" doc:"Which image, where it is one of the instance's init or configuration containers"`
}

type holdOutput struct {
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
	By     string    `json:"by" doc:"Id of who holds it"`
	ByName string    `json:"byName"`
}

type releaseDetailOutput struct {
	ReleaseOutput
	Content map[string]any        `json:"content" doc:"What was asked of the node. What has a name or a key is in an object by it. Secrets have the version of their value in its place"`
	Plan    *PlannedOutput        `json:"plan" doc:"By which it was started; null when it was started by none"`
	Secrets []secretVersionOutput `json:"secrets" doc:"Which values of secrets the release holds"`
}

type secretVersionOutput struct {
	Container string `json:"container"`
	Key       string `json:"key"`
	Version   string `json:"version" doc:"Changes whenever a value is entered"`
}

type compareInput struct {
	ReleasePath
	Other int64 `path:"otherNumber" minimum:"1"`
}

type comparisonOutput struct {
	From        int64              `json:"from"`
	To          int64              `json:"to"`
	Differences []differenceOutput `json:"differences" doc:"In the order of the pointers"`
}

type differenceOutput struct {
	Pointer string `json:"pointer" doc:"JSON pointer into the releases' content" example:"/containers/web/environment/LEVEL"`
	Change  string `json:"change" enum:"added,removed,changed"`
	From    any    `json:"from" doc:"Null when there is nothing, and of secrets"`
	To      any    `json:"to" doc:"Null when there is nothing, and of secrets"`
	Secret  bool   `json:"secret" doc:"That it changed is all that is told"`
}

type rollbackInput struct {
	ReleasePath
	Wait    string `query:"wait" doc:"Answer when the release has its outcome, or when this time is over; at most 10m. Without it the answer comes at once" example:"5m"`
	Confirm bool   `query:"confirmRemoval" doc:"The release may remove any number of the node's workloads"`
}

type holdInput struct {
	ReleasePath
	Body struct {
		Reason string `json:"reason" minLength:"1" maxLength:"1000" doc:"Told to whoever is refused"`
	}
}

func (a *api) releaseRoutes() {
	const all = "/api/{teamSlug}/deployments/{deploymentId}/releases"
	const one = all + "/{releaseNumber}"
	addList(a, route{method: http.MethodGet, path: all, summary: "List a deployment's releases", tag: deploymentTag,
		action: authz.DeploymentRead}, a.listReleases)
	add(a, route{method: http.MethodGet, path: one, summary: "Get a release", tag: deploymentTag,
		action: authz.DeploymentRead}, a.getRelease)
	add(a, route{method: http.MethodGet, path: one + "/compare/{otherNumber}", summary: "Compare two releases", tag: deploymentTag,
		action: authz.DeploymentRead}, a.compareReleases)
	add(a, route{method: http.MethodPost, path: one + "/rollback", summary: "Roll back to a release", tag: deploymentTag,
		action: authz.DeploymentRollback, status: http.StatusNoContent, errors: []int{412, 501}, waits: true, repeats: once}, a.rollback)
	a.describeStarted(one + "/rollback")
	add(a, route{method: http.MethodPut, path: one + "/hold", summary: "Hold a release", tag: deploymentTag,
		action: authz.ReleaseHold}, a.holdRelease)
	add(a, route{method: http.MethodDelete, path: one + "/hold", summary: "Let go of a release", tag: deploymentTag,
		action: authz.ReleaseUnhold, status: http.StatusNoContent, errors: []int{412}}, a.unholdRelease)
}

func (a *api) listReleases(ctx context.Context, in *DeploymentPath) (*ok[[]ReleaseOutput], error) {
	list, err := a.deps.Deployments.Releases(ctx, in.DeploymentID)
	if err != nil {
		return nil, err
	}
	return respond(each(list, toReleaseOutput)), nil
}

func (a *api) getRelease(ctx context.Context, in *ReleasePath) (*ok[releaseDetailOutput], error) {
	r, err := a.deps.Deployments.GetRelease(ctx, in.DeploymentID, in.Number)
	if err != nil {
		return nil, err
	}
	return respond(releaseDetailOutput{
		ReleaseOutput: toReleaseOutput(r), Content: r.Document(),
		Plan:    pointTo(r.Plan, func(p deployment.Plan) PlannedOutput { return toPlannedOutput(p.Planned) }),
		Secrets: each(r.SecretVersions(), func(v deployment.SecretVersion) secretVersionOutput { return secretVersionOutput(v) }),
	}), nil
}

func (a *api) compareReleases(ctx context.Context, in *compareInput) (*ok[comparisonOutput], error) {
	list, err := a.deps.Deployments.Compare(ctx, in.DeploymentID, in.Number, in.Other)
	if err != nil {
		return nil, err
	}
	return respond(comparisonOutput{From: in.Number, To: in.Other, Differences: each(list, toDifferenceOutput)}), nil
}

func toDifferenceOutput(d deployment.Difference) differenceOutput {
	out := differenceOutput{Pointer: d.Pointer, Change: "changed", From: d.From, To: d.To, Secret: d.Secret}
	switch {
	case d.Secret:
	case d.From == nil:
		out.Change = "added"
	case d.To == nil:
		out.Change = "removed"
	}
	return out
}

func (a *api) rollback(ctx context.Context, in *rollbackInput) (*startedOutput, error) {
	wait, err := parseWait(in.Wait)
	if err != nil {
		return nil, err
	}
	number, err := a.deps.Deployments.Rollback(ctx, in.DeploymentID, in.Number, in.Confirm)
	if err != nil {
		return nil, err
	}
	return a.started(ctx, in.DeploymentID, number, wait)
}

func (a *api) holdRelease(ctx context.Context, in *holdInput) (*ok[ReleaseOutput], error) {
	r, err := a.deps.Deployments.HoldRelease(ctx, in.DeploymentID, in.Number, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	return respond(toReleaseOutput(r)), nil
}

func (a *api) unholdRelease(ctx context.Context, in *ReleasePath) (*empty, error) {
	return nil, a.deps.Deployments.UnholdRelease(ctx, in.DeploymentID, in.Number)
}

func toReleaseOutput(r deployment.Release) ReleaseOutput {
	out := ReleaseOutput{
		Number: r.Number, Outcome: string(r.Outcome), Trigger: string(r.Trigger), Actor: actorOutput{Type: string(r.Actor.Kind), Name: r.Actor.Name},
		CreatedAt: r.CreatedAt, CreatedBy: r.CreatedBy, BeganAt: timeOrNil(r.BeganAt), FinishedAt: timeOrNil(r.FinishedAt),
		ConfigHash: textOrNil(r.ConfigHash), Digests: []digestOutput{}, Failure: pointTo(r.Failure, toFailureOutput),
		Hold: pointTo(r.Hold, func(h deployment.Hold) holdOutput { return holdOutput(h) }),
	}
	if r.RollbackOf != 0 {
		out.RollbackOf = &r.RollbackOf
	}
	for _, key := range slices.Sorted(maps.Keys(r.Digests)) {
		instance, reference := deployment.SplitImage(key)
		out.Digests = append(out.Digests, digestOutput{InstanceID: instance, Digest: r.Digests[key], Reference: reference})
	}
	return out
}
