package teamapi

import (
	"context"
	"net/http"
	"time"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/command"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

type containerOutput struct {
	State spec.ContainerState `json:"state" enum:"running,waiting,exited"`
	ID    struct {
		Prefix string `json:"prefix" doc:"Empty for containers that are not ours"`
		Name   string `json:"name"`
	} `json:"id"`
	Command   string                `json:"command"`
	CreatedAt time.Time             `json:"createdAt"`
	Reason    string                `json:"reason"`
	ImageName string                `json:"imageName"`
	ImageTag  string                `json:"imageTag"`
	Ports     []containerPortOutput `json:"ports"`

	EngineID     string     `json:"engineId" doc:"The engine's own id"`
	Managed      bool       `json:"managed" doc:"Whether it is one of ours"`
	DeploymentID *string    `json:"deploymentId" nullable:"true" format:"uuid"`
	Leftover     bool       `json:"leftover" doc:"One of ours under a prefix that nothing is deployed to: it is left as it is"`
	ExitCode     int        `json:"exitCode" doc:"Of the process that ended last; 0 while one runs"`
	OOMKilled    bool       `json:"oomKilled" doc:"Whether that process ended for want of memory"`
	RestartCount int        `json:"restartCount" doc:"How often the engine has started it again by itself"`
	StartedAt    *time.Time `json:"startedAt" nullable:"true"`
	FinishedAt   *time.Time `json:"finishedAt" nullable:"true"`
	Health       string     `json:"health" enum:",starting,healthy,unhealthy" doc:"Empty without a health check"`
}

type containerPortOutput struct {
	Internal int32  `json:"internal"`
	External *int32 `json:"external" nullable:"true"`
}

type listContainersInput struct {
	NodePath
	Prefix string `query:"prefix" doc:"Only this prefix's"`
}

type containerActInput struct {
	NodePath
	ContainerMust
	Name string `path:"name" maxLength:"255"`
}

type prefixedContainerActInput struct {
	NodePath
	ContainerMust
	Prefix string `path:"prefix" maxLength:"63"`
	Name   string `path:"name" maxLength:"63"`
}

// ContainerMust is exported for embedding; see TeamPath.
type ContainerMust struct {
	EngineID string `query:"engineId" maxLength:"255" doc:"Act only if the name still stands for the container of this engine id; 412 otherwise"`
}

func (m ContainerMust) precondition() command.Precondition {
	return command.Precondition{EngineID: m.EngineID}
}

type prefixPath struct {
	NodePath
	Prefix string `path:"prefix" maxLength:"63"`
}

func (a *api) containerRoutes() {
	const tag, bare, prefixed = "Containers", "/api/{teamSlug}/nodes/{nodeId}/containers", "/api/{teamSlug}/nodes/{nodeId}/{prefix}/containers"
	addList(a, route{method: http.MethodGet, path: bare, summary: "List a node's containers", tag: tag, action: authz.ContainerRead}, a.listContainers)
	a.containerStreamRoutes(bare)
	acts := []struct {
		operation command.Operation
		verb      string
	}{{command.Start, "Start"}, {command.Stop, "Stop"}, {command.Restart, "Restart"}}
	for _, act := range acts {
		last := "/{name}/" + string(act.operation)
		add(a, route{method: http.MethodPost, path: bare + last, summary: act.verb + " a container by its full name", tag: tag,
			action: authz.ContainerAct, status: http.StatusNoContent, errors: []int{412, 501, 503}}, a.onBare(act.operation))
		add(a, route{method: http.MethodPost, path: prefixed + last, summary: act.verb + " a container", tag: tag,
			action: authz.ContainerAct, status: http.StatusNoContent, errors: []int{412, 501, 503}}, a.onPrefixed(act.operation))
	}
	add(a, route{method: http.MethodDelete, path: bare + "/{name}", summary: "Delete a container by its full name", tag: tag,
		action: authz.ContainerDelete, status: http.StatusNoContent, errors: []int{412, 501, 503}}, a.onBare(command.Delete))
	add(a, route{method: http.MethodDelete, path: prefixed + "/{name}", summary: "Delete a container", tag: tag,
		action: authz.ContainerDelete, status: http.StatusNoContent, errors: []int{412, 501, 503}}, a.onPrefixed(command.Delete))
	add(a, route{method: http.MethodDelete, path: prefixed, summary: "Delete the containers of a prefix", tag: tag,
		action: authz.ContainerDelete, status: http.StatusNoContent, errors: []int{412, 503}}, a.deletePrefix)
	add(a, route{method: http.MethodGet, path: prefixed + "/{name}/log", summary: "Read the end of a container's log or follow it", tag: tag,
		action: authz.ContainerRead, errors: []int{412, 429, 501, 503}}, a.containerLog)
	a.documentLog(prefixed + "/{name}/log")
	a.inspectRoutes(bare, prefixed)
	add(a, route{method: http.MethodGet, path: prefixed + "/{name}/exec", summary: "Run a command in a container", tag: tag,
		action: authz.ContainerExec, status: http.StatusSwitchingProtocols, errors: []int{403, 412, 426, 429, 501, 503}}, a.execContainer)
}

func (a *api) listContainers(ctx context.Context, in *listContainersInput) (*ok[[]containerOutput], error) {
	var prefix *string
	if in.Prefix != "" {
		prefix = &in.Prefix
	}
	list, err := a.deps.Nodes.Containers(ctx, in.NodeID, prefix)
	if err != nil {
		return nil, err
	}
	out := make([]containerOutput, len(list))
	for i, c := range list {
		out[i] = toContainerOutput(c)
	}
	return respond(out), nil
}

func (a *api) onBare(op command.Operation) func(context.Context, *containerActInput) (*empty, error) {
	return func(ctx context.Context, in *containerActInput) (*empty, error) {
		_, err := a.deps.Commands.Do(ctx, command.Request{
			NodeID: in.NodeID, Operation: op, Container: workload.ContainerID{Name: in.Name}, Precondition: in.precondition(),
		})
		return nil, err
	}
}

func (a *api) onPrefixed(op command.Operation) func(context.Context, *prefixedContainerActInput) (*empty, error) {
	return func(ctx context.Context, in *prefixedContainerActInput) (*empty, error) {
		_, err := a.deps.Commands.Do(ctx, command.Request{
			NodeID: in.NodeID, Operation: op, Container: workload.ContainerID{Prefix: in.Prefix, Name: in.Name}, Precondition: in.precondition(),
		})
		return nil, err
	}
}

func (a *api) deletePrefix(ctx context.Context, in *prefixPath) (*empty, error) {
	return nil, a.deps.Commands.DeletePrefix(ctx, in.NodeID, in.Prefix)
}

func toContainerOutput(c workload.Container) containerOutput {
	out := containerOutput{
		State: c.State, Command: c.Command, CreatedAt: c.CreatedAt, Reason: c.Reason,
		ImageName: c.ImageName, ImageTag: c.ImageTag, Ports: make([]containerPortOutput, len(c.Ports)),
		EngineID: c.EngineID, Managed: c.Managed, Leftover: c.Leftover, ExitCode: c.ExitCode, OOMKilled: c.OOMKilled,
		RestartCount: c.RestartCount, StartedAt: timeOrNil(c.StartedAt), FinishedAt: timeOrNil(c.FinishedAt), Health: c.Health,
	}
	if c.DeploymentID != "" {
		out.DeploymentID = &c.DeploymentID
	}
	out.ID.Prefix, out.ID.Name = c.ID.Prefix, c.ID.Name
	for i, p := range c.Ports {
		out.Ports[i].Internal = p.Internal
		if p.External != 0 {
			out.Ports[i].External = &p.External
		}
	}
	return out
}
