// Package app builds the Docker agent's parts and runs them.
package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/buildinfo"
)

// Config is what the agent is told on its command line and in its environment.
type Config struct {
	// StateDir is the folder the agent keeps everything in.
	StateDir string
	// DockerHost is the engine's address; empty means the engine's default.
	DockerHost string
	// Policy is what deployments may ask of the host; the agent's own folders
	// are private without being named in it.
	Policy docker.Policy
}

// Run serves the node until ctx ends; see agentrt.Agent.Run for its errors.
func Run(ctx context.Context, config Config, log *slog.Logger) error {
	engine, err := docker.Connect(config.DockerHost)
	if err != nil {
		return err
	}
	defer func() { _ = engine.Close() }()
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("ask for the host's name: %w", err)
	}
	policy := config.Policy
	policy.Private = append(slices.Clone(policy.Private), config.StateDir)
	log.Info("what deployments may ask of this host", "policy", policy)
	log.Info("starting", "version", buildinfo.Version(), "commit", buildinfo.Commit(), "state_dir", config.StateDir, "engine", engine.DaemonHost())
	return agentrt.New(agentrt.Config{
		StateDir: config.StateDir,
		Driver:   docker.New(engine, docker.Options{Logger: log, Policy: policy}),
		NodeType: "docker",
		Hostname: hostname,
		Log:      log,
	}).Run(ctx)
}
