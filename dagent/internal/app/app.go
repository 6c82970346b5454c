// Package app builds the Docker agent's parts and runs them.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/dagent/internal/hostservice"
	"fairlead.dev/dagent/internal/secretfile"
	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/buildinfo"
	"fairlead.dev/shared/durable"
	"fairlead.dev/shared/protocol"
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
	// SecretsDir is a folder on a tmpfs, which the engine must have under the
	// same path: secrets that are files are kept there. Without it there are
	// none.
	SecretsDir string
	// UpdateID names the update that started this process; "" when none did.
	UpdateID string
	// Routing says how what deployments expose is served.
	Routing Routing
	// Images says which images stay on the engine and when none is pulled.
	Images Images
}

// folderSecrets is where in the state folder the sealed records of secret files
// are.
const folderSecrets = "secrets"

// fileRestarts is the record in the state folder of restarts for liveness probes.
const fileRestarts = "restarts.json"

// fileRuns is the record in the state folder of what ran when the engine was
// last heard of.
const fileRuns = "runs.json"

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
	secrets := openSecrets(config, log)
	if secrets != nil {
		policy.Private = append(policy.Private, config.SecretsDir)
	}
	log.Info("what deployments may ask of this host", "policy", policy)
	log.Info("starting", "version", buildinfo.Version(), "commit", buildinfo.Commit(), "state_dir", config.StateDir, "engine", engine.DaemonHost())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	replaced := config.replaced(engine, cancel)
	var agent *agentrt.Agent
	fetch := func(ctx context.Context, digest, path string) error { return agent.Fetch(ctx, digest, path) }
	router, err := config.Routing.router(engine, config.StateDir, fetch, log)
	if err != nil {
		return err
	}
	adoptions := config.openAdoptions(log)
	driver := docker.New(engine, docker.Options{
		Logger: log, Policy: policy, OnHost: !strings.HasPrefix(engine.DaemonHost(), "tcp"), Secrets: secrets, Router: router,
		Images: config.openImages(log), Disk: config.disk(engine, log), KeptLogs: config.openLogs(log), Adoptions: adoptions,
		Runs:     durable.NewRecord[docker.Runs](filepath.Join(config.StateDir, fileRuns), "what runs"),
		Liveness: docker.Liveness{Restarts: durable.NewRecord[map[string]docker.RestartRecord](filepath.Join(config.StateDir, fileRestarts), "restarts")},
	})
	can := []string{protocol.Hooks}
	if adoptions != nil {
		can = append(can, protocol.Adopt)
	}
	agent = agentrt.New(agentrt.Config{
		Replacer: replaced.replacer, UpdateID: replaced.updateID,
		Depart: func(ctx context.Context, containersRemoved bool) error {
			if containersRemoved && router != nil {
				if err := router.Tidy(ctx); err != nil { // nothing is routed any more: the proxy goes
					return err
				}
			}
			return replaced.depart(ctx)
		},
		Capabilities: can,
		StateDir:     config.StateDir, Driver: driver, NodeType: "docker", Hostname: hostname, Log: log,
	})
	var beside errgroup.Group
	beside.Go(func() error { return driver.RunRoutes(ctx) })
	beside.Go(func() error { return driver.RunPruning(ctx) })
	beside.Go(func() error { return driver.RunLiveness(ctx) })
	beside.Go(func() error { return thrifty().Run(ctx) })
	beside.Go(func() error { return hostservice.Run(ctx, log) })
	err = agent.Run(ctx)
	cancel()
	return errors.Join(err, beside.Wait())
}

// openSecrets returns nil where there is no place for secret files: the agent
// serves everything else.
func openSecrets(config Config, log *slog.Logger) *secretfile.Store {
	if config.SecretsDir == "" {
		return nil
	}
	store, err := secretfile.Open(filepath.Join(config.StateDir, folderSecrets), config.SecretsDir)
	if err != nil {
		log.Warn("containers can't have secrets as files", "error", err)
		return nil
	}
	return store
}
