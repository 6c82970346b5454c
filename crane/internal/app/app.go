// Package app builds the Kubernetes agent's parts and runs them.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"fairlead.dev/crane/internal/kube"
	"fairlead.dev/crane/internal/lease"
	"fairlead.dev/crane/internal/statecopy"
	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/buildinfo"
	"fairlead.dev/shared/protocol"
)

// Config is what the agent is told on its command line and in its environment.
type Config struct {
	// StateDir is the folder the agent keeps everything in.
	StateDir string
	// Kubeconfig says how the API server is reached; empty means as a pod does,
	// by its service account.
	Kubeconfig string
	// Namespaces are the only ones that deployments may go to; none means all.
	Namespaces []string
	// OwnNamespace is where the agent itself runs, and StateSecret the secret
	// there that keeps a copy of the state folder. Empty means that the folder
	// is all there is.
	OwnNamespace, StateSecret string
	// Lease is the lease there under which one of several pods acts; empty
	// means that there is only one.
	Lease string
	// Image is the agent's own, as nodes pull it; empty when it fills no volumes.
	Image string
	// EnrolmentFile is where the install script leaves what to enrol with;
	// empty means that it puts it into the state folder itself.
	EnrolmentFile string
}

// Run serves the cluster until ctx ends; see agentrt.Agent.Run for its errors.
func Run(ctx context.Context, config Config, log *slog.Logger) error {
	reach, err := kube.Connect(config.Kubeconfig)
	if err != nil {
		return err
	}
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("ask for the host's name: %w", err)
	}
	driver, err := kube.New(reach, kube.Options{Logger: log, Namespaces: config.Namespaces, Image: config.Image})
	if err != nil {
		return err
	}
	log.Info("starting", "version", buildinfo.Version(), "commit", buildinfo.Commit(), "state_dir", config.StateDir,
		"api_server", reach.Host, "namespaces", config.Namespaces)
	agent := agent{config: config, reach: reach, driver: driver, hostname: hostname, log: log}
	if config.Lease == "" {
		return agent.serve(ctx)
	}
	client, err := kubernetes.NewForConfig(reach)
	if err != nil {
		return fmt.Errorf("make a client of the cluster: %w", err)
	}
	return lease.New(lease.Config{
		Client: client, Namespace: config.OwnNamespace, Name: config.Lease, Holder: hostname, Log: log,
	}).Hold(ctx, agent.serve)
}

// agent is one that acts in the cluster.
type agent struct {
	config   Config
	reach    *rest.Config
	driver   *kube.Driver
	hostname string
	log      *slog.Logger
}

func (a agent) serve(ctx context.Context) error {
	copied, err := a.config.restore(ctx, a.reach, a.log)
	if err != nil {
		return err
	}
	enrolment := enrolment{file: a.config.EnrolmentFile, folder: a.config.StateDir}
	if err := enrolment.offer(); err != nil {
		return err
	}
	runtime := agentrt.Config{StateDir: a.config.StateDir, Driver: a.driver, NodeType: "k8s", Hostname: a.hostname, Log: a.log, Capabilities: []string{protocol.Hooks}}
	if copied != nil {
		runtime.Keep = copied.Keep
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var beside errgroup.Group
	beside.Go(func() error { return thrifty().Run(ctx) })
	if copied != nil {
		beside.Go(func() error { return copied.Run(ctx) })
	}
	err = errors.Join(agentrt.New(runtime).Run(ctx), enrolment.settle())
	cancel()
	return errors.Join(err, beside.Wait())
}

// restore takes the state folder from its secret where it is empty. It returns
// nil when there is no secret for it.
func (c Config) restore(ctx context.Context, reach *rest.Config, log *slog.Logger) (*statecopy.Copy, error) {
	if c.StateSecret == "" {
		return nil, nil //nolint:nilnil // absent is a value here
	}
	client, err := kubernetes.NewForConfig(reach)
	if err != nil {
		return nil, fmt.Errorf("make a client of the cluster: %w", err)
	}
	copied := statecopy.New(statecopy.Config{
		Client: client, Namespace: c.OwnNamespace, Name: c.StateSecret, Folder: c.StateDir, Log: log,
	})
	return copied, copied.Restore(ctx)
}
