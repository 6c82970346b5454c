package teamapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/node"
	"fairlead.dev/controller/internal/update"
)

type updateOutput struct {
	FromVersion string           `json:"fromVersion"`
	ToVersion   string           `json:"toVersion"`
	Phase       node.UpdatePhase `json:"phase" enum:"requested,preparing,proving,taking-over,successful,failed" doc:"While it is proving, the new agent runs beside the old one, which serves"`
	Error       string           `json:"error" doc:"Why it failed, and the agent that was there before serves on; else empty"`
	StartedAt   time.Time        `json:"startedAt"`
	StartedBy   string           `json:"startedBy"`
	FinishedAt  *time.Time       `json:"finishedAt" nullable:"true"`
}

func (a *api) toUpdateOutput(u node.Update) updateOutput {
	phase, why := u.Phase, u.Outcome(a.deps.Now())
	if why != "" {
		phase = node.UpdateFailed
	}
	return updateOutput{
		FromVersion: u.From, ToVersion: u.To, Phase: phase, Error: why,
		StartedAt: u.StartedAt, StartedBy: u.StartedBy, FinishedAt: timeOrNil(u.FinishedAt),
	}
}

// UpdateBody is how agents may be replaced.
type UpdateBody struct {
	Body *struct {
		AllowDowngrade bool `json:"allowDowngrade,omitempty" doc:"Take this controller's build although it is older than the one that runs"`
	}
}

func (b UpdateBody) options() update.Options {
	return update.Options{AllowDowngrade: b.Body != nil && b.Body.AllowDowngrade}
}

type updateAgentInput struct {
	NodePath
	UpdateBody
}

type startRolloutInput struct {
	TeamPath
	UpdateBody
}

// RolloutPath names a rollout of a team.
type RolloutPath struct {
	TeamPath
	RolloutID uuid.UUID `path:"rolloutId" format:"uuid"`
}

type listRolloutsInput struct {
	TeamPath
	Skip int `query:"skip" minimum:"0"`
	Take int `query:"take" minimum:"1" maximum:"1000" default:"100"`
}

// RolloutOutput is exported for embedding; see TeamPath.
type RolloutOutput struct {
	ID         uuid.UUID           `json:"id"`
	ToVersion  string              `json:"toVersion"`
	State      update.RolloutState `json:"state" enum:"running,successful,failed,cancelled"`
	Wave       int                 `json:"wave" doc:"The wave that is under way, from 1"`
	Waves      int                 `json:"waves" doc:"One node, a twentieth of them, a quarter, all"`
	Error      string              `json:"error" doc:"Why it stopped; else empty"`
	CreatedAt  time.Time           `json:"createdAt"`
	CreatedBy  string              `json:"createdBy"`
	FinishedAt *time.Time          `json:"finishedAt" nullable:"true"`
}

type rolloutDetailOutput struct {
	RolloutOutput
	Nodes []rolloutNodeOutput `json:"nodes"`
}

type rolloutNodeOutput struct {
	ID       uuid.UUID     `json:"id"`
	Name     string        `json:"name"`
	Wave     int           `json:"wave"`
	State    string        `json:"state" enum:"waiting,updating,successful,failed,skipped"`
	Error    string        `json:"error" doc:"Why it failed or was skipped; else empty"`
	Version  string        `json:"version" doc:"What its agent runs now"`
	Liveness node.Liveness `json:"liveness" enum:"connected,stale,lost,left"`
}

type rolloutsOutput struct {
	Items []RolloutOutput `json:"items"`
	Total int             `json:"total"`
}

func (a *api) updateRoutes() {
	const tag, all, one = "Nodes", "/api/{teamSlug}/rollouts", "/api/{teamSlug}/rollouts/{rolloutId}"
	add(a, route{method: http.MethodPost, path: "/api/{teamSlug}/nodes/{nodeId}/update", summary: "Replace the node's agent by this controller's build of it",
		tag: tag, action: authz.NodeUpgrade, status: http.StatusNoContent, errors: []int{403, 412, 501, 503}, waits: true}, a.updateAgent)
	add(a, route{method: http.MethodPost, path: all, summary: "Replace the agents of the team's nodes, wave after wave", tag: tag,
		action: authz.NodeUpgrade, status: http.StatusCreated, errors: []int{409, 412}}, a.startRollout)
	add(a, route{method: http.MethodGet, path: all, summary: "List rollouts", tag: tag, action: authz.NodeRead}, a.listRollouts)
	add(a, route{method: http.MethodGet, path: one, summary: "Get a rollout", tag: tag, action: authz.NodeRead}, a.getRollout)
	add(a, route{method: http.MethodPost, path: one + "/cancel", summary: "Begin no further update of a rollout", tag: tag,
		action: authz.NodeUpgrade, status: http.StatusNoContent, errors: []int{412}}, a.cancelRollout)
}

func (a *api) updateAgent(ctx context.Context, in *updateAgentInput) (*empty, error) {
	return nil, a.deps.Updates.Start(ctx, in.NodeID, in.options())
}

func (a *api) startRollout(ctx context.Context, in *startRolloutInput) (*created[rolloutDetailOutput], error) {
	r, err := a.deps.Updates.StartRollout(ctx, in.options())
	if err != nil {
		return nil, err
	}
	return &created[rolloutDetailOutput]{Location: "/api/" + in.TeamSlug + "/rollouts/" + r.ID.String(), Body: a.toRolloutDetail(r)}, nil
}

func (a *api) listRollouts(ctx context.Context, in *listRolloutsInput) (*ok[rolloutsOutput], error) {
	list, total, err := a.deps.Updates.Rollouts(ctx, in.Skip, in.Take)
	if err != nil {
		return nil, err
	}
	out := rolloutsOutput{Items: make([]RolloutOutput, len(list)), Total: total}
	for i, r := range list {
		out.Items[i] = toRolloutOutput(r)
	}
	return respond(out), nil
}

func (a *api) getRollout(ctx context.Context, in *RolloutPath) (*ok[rolloutDetailOutput], error) {
	r, err := a.deps.Updates.Rollout(ctx, in.RolloutID)
	if err != nil {
		return nil, err
	}
	return respond(a.toRolloutDetail(r)), nil
}

func (a *api) cancelRollout(ctx context.Context, in *RolloutPath) (*empty, error) {
	return nil, a.deps.Updates.CancelRollout(ctx, in.RolloutID)
}

func toRolloutOutput(r update.Rollout) RolloutOutput {
	return RolloutOutput{
		ID: r.ID, ToVersion: r.To, State: r.State, Wave: r.Wave, Waves: r.Waves, Error: r.Error,
		CreatedAt: r.CreatedAt, CreatedBy: r.CreatedBy, FinishedAt: timeOrNil(r.FinishedAt),
	}
}

func (a *api) toRolloutDetail(r update.Rollout) rolloutDetailOutput {
	out := rolloutDetailOutput{RolloutOutput: toRolloutOutput(r), Nodes: make([]rolloutNodeOutput, len(r.Nodes))}
	now := a.deps.Now()
	for i, n := range r.Nodes {
		state, why := n.State(now)
		out.Nodes[i] = rolloutNodeOutput{ID: n.NodeID, Name: n.Name, Wave: n.Wave, State: state, Error: why, Version: n.Version, Liveness: n.Live}
	}
	return out
}
