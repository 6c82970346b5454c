package teamapi

import (
	"context"
	"net/http"

	"fairlead.dev/controller/internal/authz"
)

type adoptInput struct {
	NodePath
	Confirm bool `query:"confirmRemoval" doc:"The set may remove any number of the node's workloads"`
}

func (a *api) adoptRoutes() {
	add(a, route{method: http.MethodPost, path: "/api/{teamSlug}/nodes/{nodeId}/adopt",
		summary: "Make this controller's assignments the ones that a node follows whose agent diverged or refused them", tag: "Nodes",
		action: authz.NodeAdopt, status: http.StatusNoContent, errors: []int{412}}, a.adoptNode)
}

func (a *api) adoptNode(ctx context.Context, in *adoptInput) (*empty, error) {
	return nil, a.deps.Deployments.Adopt(ctx, in.NodeID, in.Confirm)
}
