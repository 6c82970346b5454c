// Package route gives deployments their routes: through an edge proxy that the
// agent runs in a container of its own, or by labels for a Traefik that the
// node has already.
//
// plan.go and traefik.go are pure: spec in, labels or refusal out. What the
// routes of a running container are is on its labels, so that they can be made
// again from the containers at any time.
package route

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/spec"
)

// Engine is the part of the Docker Engine API that is used here;
// *client.Client has it.
type Engine interface {
	ContainerList(ctx context.Context, options container.ListOptions) ([]container.Summary, error)
	ContainerInspect(ctx context.Context, id string) (container.InspectResponse, error)
	ContainerCreate(ctx context.Context, config *container.Config, host *container.HostConfig, networking *network.NetworkingConfig, platform *ocispec.Platform, name string) (container.CreateResponse, error)
	ContainerStart(ctx context.Context, id string, options container.StartOptions) error
	ContainerStop(ctx context.Context, id string, options container.StopOptions) error
	ContainerRemove(ctx context.Context, id string, options container.RemoveOptions) error
	NetworkInspect(ctx context.Context, name string, options network.InspectOptions) (network.Inspect, error)
	NetworkCreate(ctx context.Context, name string, options network.CreateOptions) (network.CreateResponse, error)
	NetworkRemove(ctx context.Context, id string) error
	ImageInspect(ctx context.Context, reference string, options ...client.ImageInspectOption) (image.InspectResponse, error)
	ImageRemove(ctx context.Context, reference string, options image.RemoveOptions) ([]image.DeleteResponse, error)
	ImageLoad(ctx context.Context, input io.Reader, options ...client.ImageLoadOption) (image.LoadResponse, error)
}

var _ Engine = (*client.Client)(nil)

// Fetch gets the artifact of a digest from the controller and puts it at path.
type Fetch func(ctx context.Context, digest, path string) error

// Options say how a node routes. Zero values mean the defaults.
type Options struct {
	// StateDir is the agent's folder; the edge's is in it. The engine must
	// know it by the same path.
	StateDir string
	// HTTPPort and HTTPSPort are published on the node; 80 and 443.
	HTTPPort, HTTPSPort int
	// DefaultDomain is what a deployment without a domain gets a name under;
	// empty means that it needs a domain.
	DefaultDomain string
	// ACMEEmail, ACMEDirectory and ACMERoots (PEM) are those of the authority
	// that certificates come from; see edgeapi.Settings.
	ACMEEmail, ACMEDirectory, ACMERoots string
	// TrustedProxies are networks whose X-Forwarded-* headers are believed.
	TrustedProxies []string
	// DrainTime bounds the wait for requests that old containers have where the
	// deployment's policy says nothing; 30 s.
	DrainTime time.Duration
	// Artifact is the digest of the edge's image archive, and Fetch how it is
	// gotten. Image, when not empty, is an image that the engine has instead.
	Artifact string
	Fetch    Fetch
	Image    string
	// Logger gets what has no place in a deployment's story; nil discards it.
	Logger *slog.Logger
}

// Edge routes through an edge proxy of the agent's own.
type Edge struct {
	engine  Engine
	options Options
	client  *conversation
	// name is of the edge's container and of its network.
	name string
	// mu keeps two from changing the edge's container at once.
	mu sync.Mutex
	// preparing counts the deployments that need the edge and may have no
	// container yet that tells so.
	preparing atomic.Int64
	// told is what the edge was told last, by prefix, as JSON.
	toldMu sync.Mutex
	told   map[string]string
}

var _ docker.Router = (*Edge)(nil)

// NewEdge returns a router through an edge. Nothing is run before a deployment
// asks for routes.
func NewEdge(engine Engine, options Options) *Edge {
	if options.HTTPPort == 0 {
		options.HTTPPort = 80
	}
	if options.HTTPSPort == 0 {
		options.HTTPSPort = 443
	}
	if options.DrainTime <= 0 {
		options.DrainTime = 30 * time.Second
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Edge{engine: engine, options: options, name: edgeName(options.StateDir), told: map[string]string{}}
	e.client = newClient(e.dir())
	return e
}

// dir is the folder that agent and edge share.
func (e *Edge) dir() string { return filepath.Join(e.options.StateDir, "edge") }

// Plan says what a workload's containers need to be routed to.
func (e *Edge) Plan(d spec.Deployment, w spec.Workload) (docker.RoutePlan, []error) {
	asked, refused := read(d, w, e.options.DefaultDomain)
	if len(refused) > 0 || asked == nil {
		return docker.RoutePlan{}, refused
	}
	return docker.RoutePlan{Labels: map[string]string{labelRoute: asked.label()}, Network: e.name}, nil
}

// Prepare has the edge running, and makes sure that no other deployment has
// one of the routes.
func (e *Edge) Prepare(ctx context.Context, d spec.Deployment) (done func(), err error) {
	nothing := func() {}
	routes, refused := routesOf(d, e.options.DefaultDomain)
	if len(refused) > 0 {
		return nothing, refused[0]
	}
	if len(routes) == 0 {
		return nothing, nil
	}
	// Before the edge is made sure of: whoever removes it later sees this.
	e.preparing.Add(1)
	done = sync.OnceFunc(func() { e.preparing.Add(-1) })
	if err := e.ensure(ctx); err != nil {
		return done, err
	}
	return done, e.client.check(ctx, d.Prefix, routes)
}

// Move sends the requests of a prefix to the targets.
func (e *Edge) Move(ctx context.Context, prefix string, targets []docker.RouteTarget) error {
	routes, err := routesTo(targets, e.name)
	if err != nil {
		return err
	}
	text, err := json.Marshal(routes)
	if err != nil {
		return fmt.Errorf("move the routes of prefix %s: %w", prefix, err)
	}
	if e.toldAlready(prefix, string(text)) {
		return nil
	}
	if len(routes) == 0 {
		return e.forget(ctx, prefix)
	}
	err = e.client.set(ctx, prefix, routes)
	if unreachable(err) {
		if err = e.ensure(ctx); err == nil {
			err = e.client.set(ctx, prefix, routes)
		}
	}
	if err != nil {
		e.tell(prefix, "")
		return err
	}
	e.tell(prefix, string(text))
	return nil
}

// forget takes a prefix's routes away. Without an edge there are none.
func (e *Edge) forget(ctx context.Context, prefix string) error {
	there, err := e.there(ctx)
	if err != nil {
		return err
	}
	if !there {
		e.tell(prefix, noRoutes)
		return nil
	}
	err = e.client.forget(ctx, prefix)
	if unreachable(err) {
		if err = e.ensure(ctx); err == nil {
			err = e.client.forget(ctx, prefix)
		}
	}
	if err == nil {
		e.tell(prefix, noRoutes)
	}
	return err
}

// noRoutes is what is told of a prefix without routes.
const noRoutes = "null"

func (e *Edge) toldAlready(prefix, text string) bool {
	e.toldMu.Lock()
	defer e.toldMu.Unlock()
	return e.told[prefix] == text
}

func (e *Edge) tell(prefix, text string) {
	e.toldMu.Lock()
	defer e.toldMu.Unlock()
	if text == "" {
		delete(e.told, prefix)
		return
	}
	e.told[prefix] = text
}

// routing reports whether any prefix was told to have routes.
func (e *Edge) routing() bool {
	e.toldMu.Lock()
	defer e.toldMu.Unlock()
	for _, text := range e.told {
		if text != noRoutes {
			return true
		}
	}
	return false
}

// Tidy has the edge running while there are routes, removes it when there are
// none, and finds out when it knows others than it was told.
func (e *Edge) Tidy(ctx context.Context) error {
	if !e.routing() {
		return e.retire(ctx)
	}
	if err := e.ensure(ctx); err != nil {
		return err
	}
	state, err := e.client.state(ctx)
	if err != nil {
		return err
	}
	e.toldMu.Lock()
	defer e.toldMu.Unlock()
	for prefix, text := range e.told {
		known := noRoutes
		if routes := state.Owners[prefix]; len(routes) > 0 {
			raw, err := json.Marshal(routes)
			if err != nil {
				return fmt.Errorf("compare the edge's routes: %w", err)
			}
			known = string(raw)
		}
		if known != text {
			delete(e.told, prefix) // it is told again by the next look at the containers
		}
	}
	for host, cert := range state.Certs {
		if cert.Problem != "" {
			e.options.Logger.Warn("no certificate", "host", host, "problem", cert.Problem)
		}
	}
	return nil
}

// Drain waits until the containers have no request under way.
func (e *Edge) Drain(ctx context.Context, containers []string, within time.Duration) (left int, err error) {
	if len(containers) == 0 {
		return 0, nil
	}
	if within <= 0 {
		within = e.options.DrainTime
	}
	left, err = e.client.drain(ctx, containers, within)
	if unreachable(err) {
		there, lookErr := e.there(ctx)
		if lookErr == nil && !there {
			return 0, nil // no edge, no requests
		}
	}
	return left, err
}
