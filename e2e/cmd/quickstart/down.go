package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"fairlead.dev/e2e/client"
)

// removePatience is how long the agent may take to remove the containers.
const removePatience = time.Minute

// down deletes every deployment of this machine's node and waits until the
// agent has removed their containers.
func down(ctx context.Context, s settings) error {
	c := client.New(s.controller)
	if err := logIn(ctx, c, s); err != nil {
		return err
	}
	type team struct {
		Slug string `json:"slug"`
	}
	var teams []team
	if err := c.Call(ctx, http.MethodGet, "/api/teams", nil, &teams); err != nil {
		return err
	}
	base := "/api/" + teamSlug
	if !slices.ContainsFunc(teams, func(t team) bool { return t.Slug == teamSlug }) {
		return nil // up did not come as far
	}
	var nodes []named
	if err := c.Call(ctx, http.MethodGet, base+"/nodes", nil, &nodes); err != nil {
		return err
	}
	var deployments []deployment
	if err := c.Call(ctx, http.MethodGet, base+"/deployments", nil, &deployments); err != nil {
		return err
	}
	for _, n := range nodes {
		if n.Name != nodeName {
			continue
		}
		var prefixes []string
		for _, d := range deployments {
			if d.Node.ID != n.ID {
				continue
			}
			if err := c.Call(ctx, http.MethodDelete, base+"/deployments/"+d.ID, nil, nil); err != nil {
				return err
			}
			say("deleted the deployment %s", d.Prefix)
			prefixes = append(prefixes, d.Prefix)
		}
		for _, p := range prefixes {
			if err := awaitRemoval(ctx, c, base+"/nodes/"+n.ID+"/containers?prefix="+p); err != nil {
				return err
			}
		}
	}
	return nil
}

func awaitRemoval(ctx context.Context, c *client.Client, path string) error {
	return client.Await(ctx, removePatience, "wait for the agent to remove the containers", func() (bool, string, error) {
		var left []client.Object
		err := c.Call(ctx, http.MethodGet, path, nil, &left)
		return len(left) == 0, fmt.Sprintf("%d there", len(left)), err
	})
}
