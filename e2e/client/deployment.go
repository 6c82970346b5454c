package client

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// States of a deployment that a start ends in, and the one before.
const (
	InProgress = "in-progress"
	Successful = "successful"
	Failed     = "failed"
)

// Deployment is a deployment as the API shows it.
type Deployment struct {
	ID          string     `json:"id"`
	Prefix      string     `json:"prefix"`
	Status      string     `json:"status"`
	LastTry     int64      `json:"lastTry"`
	Waiting     string     `json:"waiting"`
	Environment []KeyValue `json:"environment"`
}

// KeyValue is one variable of an environment.
type KeyValue struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Release is one start of a deployment.
type Release struct {
	Number  int64    `json:"number"`
	Outcome string   `json:"outcome"`
	Trigger string   `json:"trigger"`
	Failure *Failure `json:"failure"`
}

// Failure is what a failed release leaves to read.
type Failure struct {
	Step        string   `json:"step"`
	Message     string   `json:"message"`
	Kind        string   `json:"kind"`
	Container   string   `json:"container"`
	ExitCode    *int     `json:"exitCode"`
	ProbeOutput string   `json:"probeOutput"`
	LogTail     []string `json:"logTail"`
	RolledBack  bool     `json:"rolledBack"`
}

// LogEntry is one line or change in a deployment's log.
type LogEntry struct {
	Type             string   `json:"type"`
	Try              int64    `json:"try"`
	Level            string   `json:"level"`
	Log              []string `json:"log"`
	DeploymentStatus string   `json:"deploymentStatus"`
}

// CreateDeployment places a version on a node under a prefix.
func (t *Team) CreateDeployment(ctx context.Context, versionID, nodeID, prefix string) (id string, err error) {
	return t.create(ctx, t.path("/deployments"), Object{"versionId": versionID, "nodeId": nodeID, "prefix": prefix})
}

// Deployment reads a deployment.
func (t *Team) Deployment(ctx context.Context, id string) (d Deployment, err error) {
	err = t.Call(ctx, http.MethodGet, t.path("/deployments/%s", id), nil, &d)
	return d, err
}

// SetEnvironment replaces a deployment's environment.
func (t *Team) SetEnvironment(ctx context.Context, id string, env ...KeyValue) error {
	return t.Call(ctx, http.MethodPatch, t.path("/deployments/%s", id), Object{"environment": env}, nil)
}

// Start asks for a new release of a deployment.
func (t *Team) Start(ctx context.Context, id string) error {
	return t.Call(ctx, http.MethodPost, t.path("/deployments/%s/start", id), nil, nil)
}

// DeleteDeployment takes a deployment away, and with it its containers.
func (t *Team) DeleteDeployment(ctx context.Context, id string) error {
	return t.Call(ctx, http.MethodDelete, t.path("/deployments/%s", id), nil, nil)
}

// Releases lists what was started of a deployment.
func (t *Team) Releases(ctx context.Context, id string) (list []Release, err error) {
	err = t.Call(ctx, http.MethodGet, t.path("/deployments/%s/releases", id), nil, &list)
	return list, err
}

// Log reads the newest entries of a deployment's log.
func (t *Team) Log(ctx context.Context, id string) ([]LogEntry, error) {
	var log struct {
		Items []LogEntry `json:"items"`
	}
	err := t.Call(ctx, http.MethodGet, t.path("/deployments/%s/log?skip=0&take=500", id), nil, &log)
	return log.Items, err
}

// Outcome waits until a started deployment is no longer in progress and
// returns it.
func (t *Team) Outcome(ctx context.Context, id string, patience time.Duration) (d Deployment, err error) {
	err = Await(ctx, patience, "the deployment's outcome", func() (bool, string, error) {
		d, err = t.Deployment(ctx, id)
		return d.Status != InProgress, strings.TrimSpace(fmt.Sprintf("%s, release %d %s", d.Status, d.LastTry, d.Waiting)), err
	})
	return d, err
}

// Instance is one image of a deployment.
type Instance struct {
	ID    string `json:"id"`
	Image struct {
		Config struct {
			Name string `json:"name"`
		} `json:"config"`
	} `json:"image"`
}

// Instances lists a deployment's images.
func (t *Team) Instances(ctx context.Context, id string) ([]Instance, error) {
	var d struct {
		Instances []Instance `json:"instances"`
	}
	err := t.Call(ctx, http.MethodGet, t.path("/deployments/%s", id), nil, &d)
	return d.Instances, err
}

// ConfigureInstance merges config into what an instance says beyond its image.
func (t *Team) ConfigureInstance(ctx context.Context, deploymentID, id string, config Object) error {
	return t.Call(ctx, http.MethodPatch, t.path("/deployments/%s/instances/%s", deploymentID, id), Object{"config": config}, nil)
}
