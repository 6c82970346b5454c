// Package app builds the Kubernetes agent's parts and runs them.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"k8s.io/client-go/kubernetes"

	"fairlead.dev/crane/internal/kube"
	"fairlead.dev/crane/internal/selfupdate"
	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/buildinfo"
	"fairlead.dev/shared/logging"
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
	// ReleaseKey is what the install script brought for builds of the agent to be
	// checked by, base64; empty when it brought none.
	ReleaseKey string
	// UpdateID names the update that started this pod; empty when none did.
	UpdateID string
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
	client, err := kubernetes.NewForConfig(reach)
	if err != nil {
		return fmt.Errorf("make a client of the cluster: %w", err)
	}
	log.Info("starting", "version", buildinfo.Version(), "commit", buildinfo.Commit(), "state_dir", config.StateDir,
		"api_server", reach.Host, "namespaces", config.Namespaces, "update", config.UpdateID)
	seat := newSeat(config, client, hostname, log)
	runtime := agentrt.Config{
		StateDir: config.StateDir, Driver: driver, NodeType: "k8s", Hostname: hostname, Log: log,
		Capabilities: []string{protocol.Hooks}, Shared: seat, Keep: seat.keep, UpdateID: config.UpdateID,
	}
	replacer := config.replacer(client, hostname, seat)
	if replacer != nil {
		runtime.Replacer = replacer
		runtime.Depart = func(ctx context.Context, _ bool) error {
			if err := replacer.Stop(ctx, agentrt.ErrDeleted.Error()); err != nil {
				return err
			}
			<-ctx.Done() // the pod is ended by that
			return nil
		}
	}
	err = agentrt.New(runtime).Run(ctx)
	if replacer != nil && errors.Is(err, agentrt.ErrRevoked) {
		log.Error("this agent was revoked: it stops itself, and what it deployed stays; to use the cluster again, run an install script")
		if err := replacer.Stop(ctx, err.Error()); err != nil {
			log.Warn("the agent's Deployment cannot be scaled to zero: its pod stays and does nothing", logging.KeyError, err)
		}
	}
	return err
}

// replacer is nil where the agent was not installed so that it could replace itself.
func (c Config) replacer(client kubernetes.Interface, pod string, seat *seat) *selfupdate.Replacer {
	if c.Lease == "" || c.StateSecret == "" {
		return nil
	}
	return selfupdate.New(selfupdate.Config{Client: client, Namespace: c.OwnNamespace, Pod: pod, Proof: seat.proof})
}
