// Package docker runs deployments on a Docker Engine, 20.10 or newer: the
// workload.Driver of the Docker agent.
//
// build*.go, check.go and policy.go are pure: spec in, engine configuration
// or refusal out. The other files have effects, one verb each.
package docker

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"fairlead.dev/dagent/internal/adoption"
	"fairlead.dev/dagent/internal/imageledger"
	"fairlead.dev/dagent/internal/keptlog"
	"fairlead.dev/dagent/internal/secretfile"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

// Engine is the part of the Docker Engine API that the driver uses;
// *client.Client has it.
type Engine interface {
	Ping(ctx context.Context) (types.Ping, error)
	NegotiateAPIVersionPing(ping types.Ping)
	ServerVersion(ctx context.Context) (types.Version, error)
	Info(ctx context.Context) (system.Info, error)
	Events(ctx context.Context, options events.ListOptions) (<-chan events.Message, <-chan error)

	ContainerList(ctx context.Context, options container.ListOptions) ([]container.Summary, error)
	ContainerInspect(ctx context.Context, id string) (container.InspectResponse, error)
	ContainerCreate(ctx context.Context, config *container.Config, host *container.HostConfig, networking *network.NetworkingConfig, platform *ocispec.Platform, name string) (container.CreateResponse, error)
	ContainerStart(ctx context.Context, id string, options container.StartOptions) error
	ContainerStop(ctx context.Context, id string, options container.StopOptions) error
	ContainerRestart(ctx context.Context, id string, options container.StopOptions) error
	ContainerRename(ctx context.Context, id, name string) error
	ContainerUpdate(ctx context.Context, id string, config container.UpdateConfig) (container.UpdateResponse, error)
	ContainerRemove(ctx context.Context, id string, options container.RemoveOptions) error
	ContainerAttach(ctx context.Context, id string, options container.AttachOptions) (types.HijackedResponse, error)
	ContainerLogs(ctx context.Context, id string, options container.LogsOptions) (io.ReadCloser, error)
	ContainerStatPath(ctx context.Context, id, path string) (container.PathStat, error)

	ContainerExecCreate(ctx context.Context, id string, options container.ExecOptions) (container.ExecCreateResponse, error)
	ContainerExecAttach(ctx context.Context, execID string, options container.ExecAttachOptions) (types.HijackedResponse, error)
	ContainerExecResize(ctx context.Context, execID string, options container.ResizeOptions) error
	ContainerExecInspect(ctx context.Context, execID string) (container.ExecInspect, error)

	ImagePull(ctx context.Context, reference string, options image.PullOptions) (io.ReadCloser, error)
	ImageList(ctx context.Context, options image.ListOptions) ([]image.Summary, error)
	ImageRemove(ctx context.Context, reference string, options image.RemoveOptions) ([]image.DeleteResponse, error)
	ImageImport(ctx context.Context, source image.ImportSource, reference string, options image.ImportOptions) (io.ReadCloser, error)
	ImageInspect(ctx context.Context, reference string, options ...client.ImageInspectOption) (image.InspectResponse, error)

	NetworkList(ctx context.Context, options network.ListOptions) ([]network.Summary, error)
	NetworkCreate(ctx context.Context, name string, options network.CreateOptions) (network.CreateResponse, error)
	DistributionInspect(ctx context.Context, reference, encodedAuth string) (registry.DistributionInspect, error)

	NetworkConnect(ctx context.Context, network, id string, settings *network.EndpointSettings) error
	NetworkDisconnect(ctx context.Context, network, id string, force bool) error
	NetworkRemove(ctx context.Context, id string) error

	VolumeInspect(ctx context.Context, name string) (volume.Volume, error)
	VolumeCreate(ctx context.Context, options volume.CreateOptions) (volume.Volume, error)
}

var _ Engine = (*client.Client)(nil)

// Options tune a Driver. Zero values mean the defaults.
type Options struct {
	// Logger gets what has no place in a deployment's story; nil discards it.
	Logger *slog.Logger
	// StabilityWindow is how long a container without a health check must run
	// without restarting to count as healthy; 3 s.
	StabilityWindow time.Duration
	// HealthTimeout bounds the wait for a container that names no timeout of
	// its own; 60 s.
	HealthTimeout time.Duration
	// InitTimeout bounds each init container; 10 minutes.
	InitTimeout time.Duration
	// StopGrace is how long a container may take to end before it is killed;
	// 10 s, whole seconds.
	StopGrace time.Duration
	// Router gives deployments their routes; nil refuses those that ask for any.
	Router Router
	// OnHost is true when the driver's own network is the host's: then it can
	// tell which ports of it are taken.
	OnHost bool
	// Policy is what deployments may ask of the host.
	Policy Policy
	// Filler puts files into volumes; without a program it is the agent's own,
	// with the word "fill".
	Filler Filler
	// Secrets keeps the files of secrets; nil refuses secrets that are files.
	Secrets *secretfile.Store
	// Images remembers which images the driver brought to the node and which
	// the last releases run; nil removes no image ever.
	Images *imageledger.Ledger
	// Disk is where the engine keeps images; nil lets them be pulled unasked.
	Disk Disk
	// KeptLogs keeps the last lines of containers that are removed; nil keeps
	// none.
	KeptLogs *keptlog.Store
	// Adoptions remembers which containers are deployments' that somebody else
	// made; nil adopts none.
	Adoptions *adoption.Ledger
	// Runs remembers what ran over a crash of the engine; nil starts nothing
	// again that the engine does not.
	Runs RunStore
	// Liveness is about containers with a livenessProbe; see RunLiveness.
	Liveness Liveness
	// Now stamps events; time.Now.
	Now func() time.Time
}

// Driver runs deployments on one Docker Engine. It remembers nothing between
// calls but what the labels on the engine's objects say, Options.Images,
// Options.Adoptions, Options.Runs, what liveness probes were answered, and, while
// it hears of every change, what containers looked like.
type Driver struct {
	engine  Engine
	options Options
	// runs is what Options.Runs keeps.
	runs runs
	// memory spares List most of its inspections.
	memory recollections
	// joining keeps a network from being pruned between the moment it is
	// found and the moment a container joins it, which holds it for reading.
	joining sync.RWMutex
	// making is held while networks and volumes are made that several
	// containers may need.
	making sync.Mutex
	// changing keeps the routes of a prefix to whoever changes them.
	changing holds
	// secretsInUse keeps files of secrets from being removed while a container
	// is made that will mount them.
	secretsInUse sync.RWMutex
	// imagesInUse is held for reading while a deployment is applied, from the
	// pull of its images on, and alone while images are pruned.
	imagesInUse sync.RWMutex
	// importing keeps the image of the filler from being made twice.
	importing sync.Mutex
	// liveness is what running containers answer.
	liveness liveness
	// routed spares RunRoutes the prefixes without routes.
	routed routedPrefixes
	// heard has an entry when something happened to a container; see RunRoutes.
	heard chan struct{}
	// negotiated holds whether client and engine have agreed on the version
	// of the API. The client would do that by itself, but not safely when
	// several goroutines make the first calls.
	negotiated chan bool
}

var _ workload.Driver = (*Driver)(nil)

// Connect makes a client of the engine at host, such as
// "unix:///var/run/docker.sock"; empty means what DOCKER_HOST says, else the
// engine's default. Nothing is dialed before the first call.
func Connect(host string) (*client.Client, error) {
	options := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if host != "" {
		options = append(options, client.WithHost(host))
	}
	engine, err := client.NewClientWithOpts(options...)
	if err != nil {
		return nil, fmt.Errorf("configure the docker client: %w", err)
	}
	return engine, nil
}

// New makes a driver of an engine; see Connect.
func New(engine Engine, options Options) *Driver {
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	orDefault(&options.StabilityWindow, 3*time.Second)
	orDefault(&options.HealthTimeout, time.Minute)
	orDefault(&options.InitTimeout, 10*time.Minute)
	orDefault(&options.StopGrace, 10*time.Second)
	orDefault(&options.Liveness.Period, livenessPeriod)
	orDefault(&options.Liveness.Grace, livenessGrace)
	if options.Filler.Program == "" {
		options.Filler = Filler{Program: "/proc/self/exe", Words: []string{"fill"}}
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	known := labelled{Engine: patient{Engine: engine, patience: options.StopGrace + answerPatience}, adoptions: options.Adoptions}
	d := &Driver{engine: known, options: options, negotiated: make(chan bool, 1), heard: make(chan struct{}, 1)}
	d.negotiated <- false
	d.runs.store, d.runs.log = options.Runs, options.Logger
	d.liveness.judged = make(chan struct{}, 1)
	return d
}

// reach makes sure that the engine has been reached once, so that both sides
// know what version of the API they speak. Every method begins with it.
func (d *Driver) reach(ctx context.Context) error {
	var done bool
	select {
	case done = <-d.negotiated:
	case <-ctx.Done():
		return engineError(ctx.Err(), "wait for the docker engine")
	}
	defer func() { d.negotiated <- done }()
	if done {
		return nil
	}
	ping, err := d.engine.Ping(ctx)
	if err != nil {
		return apperr.Wrap(apperr.Unavailable, err, "reach the docker engine")
	}
	d.engine.NegotiateAPIVersionPing(ping)
	d.restoreSecrets()
	done = true
	return nil
}

func orDefault(d *time.Duration, value time.Duration) {
	if *d <= 0 {
		*d = value
	}
}

// Info describes the engine.
func (d *Driver) Info(ctx context.Context) (workload.EngineInfo, error) {
	if err := d.reach(ctx); err != nil {
		return workload.EngineInfo{}, err
	}
	info, err := d.engine.Info(ctx)
	if err != nil {
		return workload.EngineInfo{}, engineError(err, "ask the docker engine about itself")
	}
	version, err := d.engine.ServerVersion(ctx)
	if err != nil {
		return workload.EngineInfo{}, engineError(err, "ask the docker engine for its version")
	}
	return workload.EngineInfo{
		ID:           info.ID,
		Name:         "docker",
		Version:      version.Version,
		OS:           version.Os,
		Architecture: version.Arch,
	}, nil
}
