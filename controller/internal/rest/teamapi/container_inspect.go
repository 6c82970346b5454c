package teamapi

import (
	"context"
	"encoding/json"
	"net/http"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/command"
	"fairlead.dev/shared/workload"
)

type inspectInput struct {
	NodePath
	Name string `path:"name" maxLength:"255"`
}

type prefixedInspectInput struct {
	NodePath
	Prefix string `path:"prefix" maxLength:"63"`
	Name   string `path:"name" maxLength:"63"`
}

func (a *api) inspectRoutes(bare, prefixed string) {
	const tag, last, detail = "Containers", "/{name}/inspect", "In the engine's own words; values of environment variables and other secrets are taken out by the node"
	add(a, route{method: http.MethodGet, path: bare + last, summary: "Inspect a container by its full name. " + detail, tag: tag,
		action: authz.ContainerRead, errors: []int{412, 501, 503}}, a.inspectBare)
	add(a, route{method: http.MethodGet, path: prefixed + last, summary: "Inspect a container. " + detail, tag: tag,
		action: authz.ContainerRead, errors: []int{412, 501, 503}}, a.inspectPrefixed)
}

func (a *api) inspectBare(ctx context.Context, in *inspectInput) (*ok[json.RawMessage], error) {
	return a.inspect(ctx, command.Request{NodeID: in.NodeID, Container: workload.ContainerID{Name: in.Name}})
}

func (a *api) inspectPrefixed(ctx context.Context, in *prefixedInspectInput) (*ok[json.RawMessage], error) {
	return a.inspect(ctx, command.Request{NodeID: in.NodeID, Container: workload.ContainerID{Prefix: in.Prefix, Name: in.Name}})
}

func (a *api) inspect(ctx context.Context, q command.Request) (*ok[json.RawMessage], error) {
	q.Operation = command.Inspect
	r, err := a.deps.Commands.Do(ctx, q)
	if err != nil {
		return nil, err
	}
	return respond(json.RawMessage(r.Inspection)), nil
}
