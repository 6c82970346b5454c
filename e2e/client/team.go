package client

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// Team calls what belongs to one team.
type Team struct {
	*Client
	// Slug is the team's name in paths.
	Slug string
}

// CreateTeam makes a team, which the caller then owns.
func (c *Client) CreateTeam(ctx context.Context, slug string) (*Team, error) {
	err := c.Call(ctx, http.MethodPost, "/api/teams", Object{"slug": slug, "name": "Team " + slug}, nil)
	return &Team{c, slug}, err
}

func (t *Team) path(format string, args ...any) string {
	return "/api/" + t.Slug + fmt.Sprintf(format, args...)
}

// made is what the API answers of something new.
type made struct {
	ID string `json:"id"`
}

func (t *Team) create(ctx context.Context, path string, draft any) (id string, err error) {
	var m made
	err = t.Call(ctx, http.MethodPost, path, draft, &m)
	return m.ID, err
}

// Node is a node as the API shows it.
type Node struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Status   string `json:"status"`
	Liveness string `json:"liveness"`
	Version  string `json:"version"`
	Refusal  string `json:"refusal"`
	// Diverged is nil unless the agent holds what the controller never wanted.
	Diverged *struct {
		Reason string `json:"reason"`
	} `json:"diverged"`
	// EngineDown is nil unless the node's engine does not answer its agent.
	EngineDown *struct {
		Reason string `json:"reason"`
	} `json:"engineDown"`
	HasToken bool `json:"hasToken"`
	InUse    bool `json:"inUse"`
}

// CreateNode makes a node without an agent.
func (t *Team) CreateNode(ctx context.Context, name string) (id string, err error) {
	return t.create(ctx, t.path("/nodes"), Object{"name": name})
}

// Node reads a node.
func (t *Team) Node(ctx context.Context, id string) (n Node, err error) {
	err = t.Call(ctx, http.MethodGet, t.path("/nodes/%s", id), nil, &n)
	return n, err
}

// Script is a generated install script.
type Script struct {
	// Command is the line to paste on the machine.
	Command  string    `json:"command"`
	Script   string    `json:"script"`
	ExpireAt time.Time `json:"expireAt"`
}

// CreateScript makes a node's install script, which keeps the agent's state in
// rootPath.
func (t *Team) CreateScript(ctx context.Context, nodeID, rootPath string) (s Script, err error) {
	err = t.Call(ctx, http.MethodPost, t.path("/nodes/%s/script", nodeID),
		Object{"type": "docker", "scriptType": "shell", "rootPath": rootPath}, &s)
	return s, err
}

// FetchScript downloads the script as the command does.
func (t *Team) FetchScript(ctx context.Context, nodeID string) (string, error) {
	var script []byte
	err := t.Call(ctx, http.MethodGet, t.path("/nodes/%s/script", nodeID), nil, &script)
	return string(script), err
}

// RevokeToken takes the identity of the node's agent.
func (t *Team) RevokeToken(ctx context.Context, nodeID string) error {
	return t.Call(ctx, http.MethodDelete, t.path("/nodes/%s/token", nodeID), nil, nil)
}

// Container is one container of a node.
type Container struct {
	ID struct {
		Prefix string `json:"prefix"`
		Name   string `json:"name"`
	} `json:"id"`
	State     string `json:"state"`
	Reason    string `json:"reason"`
	ImageName string `json:"imageName"`
	ImageTag  string `json:"imageTag"`
}

// Containers lists what was last seen on a node; of one prefix, or of all when
// that is empty.
func (t *Team) Containers(ctx context.Context, nodeID, prefix string) (list []Container, err error) {
	path := t.path("/nodes/%s/containers", nodeID)
	if prefix != "" {
		path += "?prefix=" + prefix
	}
	err = t.Call(ctx, http.MethodGet, path, nil, &list)
	return list, err
}

// ContainerEvent is that a container ended.
type ContainerEvent struct {
	At       time.Time `json:"at"`
	Text     string    `json:"text"`
	Reason   string    `json:"reason"`
	ExitCode *int      `json:"exitCode"`
}

// ContainerEvents lists how a container of a node ended, newest first.
func (t *Team) ContainerEvents(ctx context.Context, nodeID, prefix, name string) ([]ContainerEvent, error) {
	var page struct {
		Items []ContainerEvent `json:"items"`
	}
	err := t.Call(ctx, http.MethodGet, t.path("/nodes/%s/events?skip=0&take=100&prefix=%s&name=%s", nodeID, prefix, name), nil, &page)
	return page.Items, err
}

// Act carries out start, stop or restart on a container; prefix is empty for
// a container by its full name.
func (t *Team) Act(ctx context.Context, nodeID, prefix, name, act string) error {
	if prefix != "" {
		prefix += "/"
	}
	return t.Call(ctx, http.MethodPost, t.path("/nodes/%s/%scontainers/%s/%s", nodeID, prefix, name, act), nil, nil)
}

// ContainerLog reads the last lines that a container printed.
func (t *Team) ContainerLog(ctx context.Context, nodeID, prefix, name string, lines int) ([]string, error) {
	var log struct {
		Logs []string `json:"logs"`
	}
	err := t.Call(ctx, http.MethodGet, t.path("/nodes/%s/%s/containers/%s/log?take=%d", nodeID, prefix, name, lines), nil, &log)
	return log.Logs, err
}

// DeleteNode takes a node away; containers is "keep" or "remove".
func (t *Team) DeleteNode(ctx context.Context, nodeID, containers string) error {
	return t.Call(ctx, http.MethodDelete, t.path("/nodes/%s?containers=%s", nodeID, containers), nil, nil)
}
