package teamapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

type deploymentLogInput struct {
	DeploymentPath
	Skip int   `query:"skip" required:"true" minimum:"0" doc:"How many of the newest entries are passed over"`
	Take int   `query:"take" required:"true" minimum:"1" maximum:"1000" doc:"How many entries there are at most"`
	Try  int64 `query:"try" minimum:"0" doc:"Number of a release; all when left out"`
}

type deploymentLogOutput struct {
	Items []logEntryOutput `json:"items" doc:"In ascending order"`
	Total int              `json:"total"`
}

type logEntryOutput struct {
	Type             string                `json:"type" enum:"log,deployment-status,container-state"`
	DeploymentStatus *string               `json:"deploymentStatus" enum:"preparing,in-progress,successful,failed,obsolete,downgraded" nullable:"true"`
	CreatedAt        time.Time             `json:"createdAt"`
	Log              []string              `json:"log"`
	ContainerState   *containerStateOutput `json:"containerState"`
	Level            string                `json:"level" enum:"info,warn,error"`
	Try              int64                 `json:"try" doc:"Number of the release"`
}

type containerStateOutput struct {
	State      string    `json:"state" enum:"running,waiting,exited"`
	InstanceID uuid.UUID `json:"instanceId"`
	Reason     string    `json:"reason"`
}

type failureOutput struct {
	Step        string   `json:"step"`
	Message     string   `json:"message"`
	Kind        string   `json:"kind" doc:"What sort of failure, e.g. unsupported"`
	InstanceID  string   `json:"instanceId"`
	Container   string   `json:"container"`
	ExitCode    *int     `json:"exitCode"`
	OOMKilled   bool     `json:"oomKilled"`
	ProbeOutput string   `json:"probeOutput"`
	LogTail     []string `json:"logTail"`
	RolledBack  bool     `json:"rolledBack" doc:"What ran before serves on"`
}

func (a *api) deploymentLogRoutes() {
	const one = "/api/{teamSlug}/deployments/{deploymentId}"
	add(a, route{method: http.MethodGet, path: one + "/log", summary: "Read a deployment's log", tag: deploymentTag,
		action: authz.DeploymentRead}, a.deploymentLog)
	a.deploymentEventRoutes()
}

func (a *api) deploymentLog(ctx context.Context, in *deploymentLogInput) (*ok[deploymentLogOutput], error) {
	query := deployment.LogQuery{Skip: in.Skip, Take: in.Take, Try: in.Try}
	entries, total, err := a.deps.Deployments.Log(ctx, in.DeploymentID, query)
	if err != nil {
		return nil, err
	}
	return respond(deploymentLogOutput{Items: each(entries, toLogEntryOutput), Total: total}), nil
}

// toLogEntryOutput leaves null what the type of the entry has no use for.
func toLogEntryOutput(e deployment.LogEntry) logEntryOutput {
	out := logEntryOutput{Type: string(e.Type), CreatedAt: e.At, Level: string(e.Level), Try: e.Release}
	switch e.Type {
	case deployment.EntryLog:
		out.Log = e.Lines
	case deployment.EntryState:
		state := string(e.State)
		out.DeploymentStatus = &state
	case deployment.EntryContainerState:
		out.ContainerState = &containerStateOutput{State: string(e.Container), InstanceID: e.InstanceID, Reason: e.Reason}
	}
	return out
}

func toFailureOutput(f workload.Failure) failureOutput {
	return failureOutput{
		Step: string(f.Step), Message: f.Err.Error(), Kind: apperr.KindOf(f.Err).String(), InstanceID: f.InstanceID, Container: f.Container,
		ExitCode: f.ExitCode, OOMKilled: f.OOMKilled, ProbeOutput: f.ProbeOutput,
		LogTail: append([]string{}, f.LogTail...), RolledBack: f.RolledBack,
	}
}
