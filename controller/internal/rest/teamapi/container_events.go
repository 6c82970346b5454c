package teamapi

import (
	"context"
	"net/http"
	"time"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/report"
)

type containerEventsInput struct {
	NodePath
	Skip   int    `query:"skip" required:"true" minimum:"0" doc:"How many of the newest are passed over"`
	Take   int    `query:"take" required:"true" minimum:"1" maximum:"1000"`
	Prefix string `query:"prefix" maxLength:"63" doc:"Only this prefix's"`
	Name   string `query:"name" maxLength:"255" doc:"Only of containers of this name"`
}

type containerEventsOutput struct {
	Items []containerEventOutput `json:"items" doc:"Newest first"`
	Total int                    `json:"total"`
}

type containerEventOutput struct {
	Type         string    `json:"type" enum:"exit,lost" doc:"A container's process ended, or such events were lost because the node could not keep them"`
	At           time.Time `json:"at"`
	Text         string    `json:"text"`
	Prefix       string    `json:"prefix"`
	Name         string    `json:"name"`
	EngineID     string    `json:"engineId"`
	DeploymentID *string   `json:"deploymentId" nullable:"true" format:"uuid"`
	Release      int64     `json:"release"`
	ExitCode     *int      `json:"exitCode" nullable:"true" doc:"Null when it is not known"`
	OOMKilled    bool      `json:"oomKilled"`
	RestartCount int       `json:"restartCount"`
	Reason       string    `json:"reason" doc:"Why it ended, where the engine says: that and why a pod was evicted; empty otherwise"`
	LogTail      []string  `json:"logTail"`
	Lost         uint64    `json:"lost" doc:"How many events were lost"`
}

func (a *api) containerEventRoutes() {
	add(a, route{method: http.MethodGet, path: "/api/{teamSlug}/nodes/{nodeId}/events", summary: "List how containers ended", tag: "Containers",
		action: authz.ContainerRead}, a.listContainerEvents)
}

func (a *api) listContainerEvents(ctx context.Context, in *containerEventsInput) (*ok[containerEventsOutput], error) {
	q := report.FactQuery{Skip: in.Skip, Take: min(in.Take, maxPage)}
	if in.Prefix != "" {
		q.Prefix = &in.Prefix
	}
	if in.Name != "" {
		q.Name = &in.Name
	}
	facts, total, err := a.deps.Facts.List(ctx, in.NodeID, q)
	if err != nil {
		return nil, err
	}
	out := containerEventsOutput{Items: make([]containerEventOutput, len(facts)), Total: total}
	for i, f := range facts {
		out.Items[i] = toContainerEventOutput(f)
	}
	return respond(out), nil
}

func toContainerEventOutput(f report.Fact) containerEventOutput {
	out := containerEventOutput{
		Type: "lost", At: f.At, Text: f.String(), Prefix: f.Container.Prefix, Name: f.Container.Name, EngineID: f.EngineID,
		Release: f.Release, LogTail: []string{}, Lost: f.Lost,
	}
	if f.DeploymentID != "" {
		out.DeploymentID = &f.DeploymentID
	}
	if f.Exit == nil {
		return out
	}
	out.Type, out.OOMKilled, out.RestartCount, out.Reason = "exit", f.Exit.OOMKilled, f.Exit.Restarts, f.Exit.Reason
	out.LogTail = append(out.LogTail, f.Exit.LogTail...)
	if !f.Exit.Unseen {
		out.ExitCode = &f.Exit.Code
	}
	return out
}
