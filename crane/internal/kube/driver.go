// Package kube runs deployments on a Kubernetes cluster: the workload.Driver of
// the Kubernetes agent.
//
// A prefix is a namespace; a workload is a Deployment, or a Job when it is
// meant to end, with what belongs to it. build*.go and check.go are pure: spec
// in, objects or refusal out. The other files have effects, one verb each.
// Objects are applied on the server, under a field manager of their own, so
// that what others say of them stays.
package kube

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"fairlead.dev/shared/workload"
)

// fieldManager is the name under which the agent says what objects should be.
const fieldManager = "fairlead-crane"

// Options tune a Driver. Zero values mean the defaults.
type Options struct {
	// Logger gets what has no place in a deployment's story; nil discards it.
	Logger *slog.Logger
	// Namespaces are the only ones that deployments may go to and that are
	// looked at; none means all.
	Namespaces []string
	// Image is the agent's own, as nodes pull it: its program fills volumes
	// before the start. Empty means that none can be filled.
	Image string
	// StabilityWindow is how long a container without a readiness probe must
	// run without restarting to count as healthy; 3 s.
	StabilityWindow time.Duration
	// HealthTimeout bounds the wait for a workload that names no timeout of its
	// own; 3 minutes, since a node may have to be found and an image pulled.
	HealthTimeout time.Duration
	// StopGrace is how long a container may take to end before it is killed;
	// 10 s, whole seconds.
	StopGrace time.Duration
	// Now stamps events; time.Now.
	Now func() time.Time
}

// Driver runs deployments in one cluster. It remembers nothing between calls
// but what is in the cluster.
type Driver struct {
	client  kubernetes.Interface
	objects dynamic.Interface
	config  *rest.Config
	options Options
	// seen is what Watch follows while it runs.
	seen atomic.Pointer[sight]
	// places has a *place for each namespace.
	places sync.Map
}

var _ workload.Driver = (*Driver)(nil)

// Connect finds out how to reach the API server: from a kubeconfig, or, when
// path is empty, as a pod does, from its service account.
func Connect(path string) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, fmt.Errorf("find out how to reach the cluster: %w", err)
	}
	return config, nil
}

// New makes a driver of the cluster that config reaches; see Connect.
func New(config *rest.Config, options Options) (*Driver, error) {
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.StabilityWindow <= 0 {
		options.StabilityWindow = 3 * time.Second
	}
	if options.HealthTimeout <= 0 {
		options.HealthTimeout = 3 * time.Minute
	}
	if options.StopGrace <= 0 {
		options.StopGrace = 10 * time.Second
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	config = rest.CopyConfig(config)
	config.UserAgent = fieldManager
	// The API server has its own ways to slow a client down.
	config.QPS, config.Burst = 100, 200
	patient := rest.CopyConfig(config) // commands in containers upgrade their connection, which nothing may stand before
	patient.Wrap(startingServer(config.Host))
	client, err := kubernetes.NewForConfig(patient)
	if err != nil {
		return nil, fmt.Errorf("make a client of the cluster: %w", err)
	}
	objects, err := dynamic.NewForConfig(patient)
	if err != nil {
		return nil, fmt.Errorf("make a client of the cluster: %w", err)
	}
	return &Driver{client: client, objects: objects, config: config, options: options}, nil
}

// Info describes the cluster. Its id is that of its system's namespace, which
// no two clusters share.
func (d *Driver) Info(ctx context.Context) (workload.EngineInfo, error) {
	version, err := d.client.Discovery().ServerVersion()
	if err != nil {
		return workload.EngineInfo{}, clusterError(err, "ask the cluster for its version")
	}
	info := workload.EngineInfo{Name: "kubernetes", Version: strings.TrimPrefix(version.GitVersion, "v")}
	info.OS, info.Architecture, _ = strings.Cut(version.Platform, "/")
	if info.ID, err = d.clusterID(ctx); err != nil {
		return workload.EngineInfo{}, err
	}
	return info, nil
}
