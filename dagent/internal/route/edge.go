package route

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-connections/nat"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/edgeapi"
)

const (
	// labelEdge is on the edge's container and network; its value is the
	// folder the edge keeps everything in, which says whose it is.
	labelEdge = docker.LabelEdge
	// labelEdgeConfig is a digest of what the edge's container was made from.
	labelEdgeConfig = "dev.fairlead.edge-config"

	// edgeUser is who the edge runs as when the agent may give files away.
	edgeUser = 65532

	edgeGrace   = 15 // seconds until it is killed
	edgeStartup = 30 * time.Second
	edgePoll    = 50 * time.Millisecond
)

// edgeName is the name of the edge's container and of its network: one of
// their own for every agent on an engine.
func edgeName(stateDir string) string {
	sum := sha256.Sum256([]byte(stateDir))
	return "fairlead-edge-" + hex.EncodeToString(sum[:4])
}

// there reports whether there is an edge.
func (e *Edge) there(ctx context.Context) (bool, error) {
	_, err := e.engine.ContainerInspect(ctx, e.name)
	if cerrdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, apperr.Wrap(apperr.Unavailable, err, "look at the edge's container %s", e.name)
	}
	return true, nil
}

// ensure has the edge running as it should be, with its settings.
func (e *Edge) ensure(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.ensureDir(); err != nil {
		return err
	}
	imageID, err := e.ensureImage(ctx)
	if err != nil {
		return err
	}
	if err := e.ensureNetwork(ctx); err != nil {
		return err
	}
	config, host := e.blueprint(imageID)
	seen, err := e.engine.ContainerInspect(ctx, e.name)
	if err == nil && isGoing(seen) {
		// An agent before this one died while it removed it.
		if err := e.removeContainer(ctx); err != nil {
			return err
		}
		seen, err = e.engine.ContainerInspect(ctx, e.name)
	}
	switch {
	case cerrdefs.IsNotFound(err):
		err = e.make(ctx, config, host)
	case err != nil:
		return apperr.Wrap(apperr.Unavailable, err, "look at the edge's container %s", e.name)
	case seen.Config.Labels[labelEdge] != e.dir():
		return apperr.New(apperr.Conflict, "a container named %s is already there and is not this agent's edge; remove or rename it", e.name)
	case seen.Config.Labels[labelEdgeConfig] != config.Labels[labelEdgeConfig]:
		e.options.Logger.Info("replacing the edge, which is another version or set up otherwise", "container", e.name)
		if err = e.removeContainer(ctx); err == nil {
			err = e.make(ctx, config, host)
		}
	case !seen.State.Running:
		err = e.start(ctx, seen.ID)
	}
	if err != nil {
		return err
	}
	if err := e.awaitEdge(ctx); err != nil {
		return err
	}
	return e.client.configure(ctx, edgeapi.Settings{
		ACMEEmail: e.options.ACMEEmail, ACMEDirectory: e.options.ACMEDirectory, ACMERoots: e.options.ACMERoots,
	})
}

// isGoing reports whether a container is being removed: it can't be started any
// more.
func isGoing(seen container.InspectResponse) bool {
	return seen.ContainerJSONBase != nil && seen.State != nil && (seen.State.Dead || seen.State.Status == container.StateRemoving)
}

// ensureDir makes the folder that agent and edge share, which belongs to the
// edge's user.
func (e *Edge) ensureDir() error {
	if err := os.MkdirAll(e.dir(), 0o700); err != nil {
		return fmt.Errorf("make the edge's folder: %w", err)
	}
	uid := edgeOwner()
	if uid == os.Getuid() {
		return nil
	}
	if err := os.Chown(e.dir(), uid, uid); err != nil {
		return fmt.Errorf("give the edge its folder: %w", err)
	}
	return nil
}

// edgeOwner is who the edge runs as: nobody in particular, or whoever the
// agent is when that is not root.
func edgeOwner() int {
	if uid := os.Getuid(); uid != 0 {
		return uid
	}
	return edgeUser
}

func (e *Edge) ensureNetwork(ctx context.Context) error {
	seen, err := e.engine.NetworkInspect(ctx, e.name, network.InspectOptions{})
	switch {
	case err == nil && seen.Labels[labelEdge] == e.dir():
		return nil
	case err == nil:
		return apperr.New(apperr.Conflict, "a network named %s is already there and is not this agent's; remove it", e.name)
	case !cerrdefs.IsNotFound(err):
		return apperr.Wrap(apperr.Unavailable, err, "look at network %s", e.name)
	}
	_, err = e.engine.NetworkCreate(ctx, e.name, network.CreateOptions{Driver: "bridge", Labels: map[string]string{labelEdge: e.dir()}})
	if err != nil && !cerrdefs.IsConflict(err) {
		return apperr.Wrap(apperr.Unavailable, err, "create network %s", e.name)
	}
	return nil
}

// blueprint is the edge's container: a process without any privilege, with one
// folder and its ports.
func (e *Edge) blueprint(imageID string) (*container.Config, *container.HostConfig) {
	uid := strconv.Itoa(edgeOwner())
	ports := nat.PortMap{}
	exposed := nat.PortSet{}
	publish := func(port int, protocol string) {
		p := nat.Port(fmt.Sprintf("%d/%s", port, protocol))
		exposed[p] = struct{}{}
		ports[p] = []nat.PortBinding{{HostPort: strconv.Itoa(port)}}
	}
	publish(e.options.HTTPPort, "tcp")
	publish(e.options.HTTPSPort, "tcp")
	publish(e.options.HTTPSPort, "udp")
	command := []string{"run", "--dir", "/data", "--http-port", strconv.Itoa(e.options.HTTPPort), "--https-port", strconv.Itoa(e.options.HTTPSPort)}
	for _, n := range e.options.TrustedProxies {
		command = append(command, "--trusted-proxy", n)
	}
	grace := edgeGrace
	config := &container.Config{
		Image: imageID, Cmd: command, User: uid + ":" + uid, ExposedPorts: exposed, StopTimeout: &grace,
		Labels: map[string]string{labelEdge: e.dir()},
	}
	pids := int64(4096)
	host := &container.HostConfig{
		NetworkMode:    container.NetworkMode(e.name),
		PortBindings:   ports,
		Mounts:         []mount.Mount{{Type: mount.TypeBind, Source: e.dir(), Target: "/data"}},
		RestartPolicy:  container.RestartPolicy{Name: container.RestartPolicyAlways},
		CapDrop:        []string{"ALL"},
		SecurityOpt:    []string{"no-new-privileges", "label=disable"},
		ReadonlyRootfs: true,
		// It listens on 80 and 443 without the privilege to.
		Sysctls:   map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"},
		LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m", "max-file": "3"}},
		Resources: container.Resources{PidsLimit: &pids},
	}
	text, _ := json.Marshal([]any{config, host}) // strings and numbers always can be
	sum := sha256.Sum256(text)
	config.Labels[labelEdgeConfig] = hex.EncodeToString(sum[:])
	return config, host
}

// make makes the edge's container and starts it. One that cannot be started is
// not left behind.
func (e *Edge) make(ctx context.Context, config *container.Config, host *container.HostConfig) error {
	made, err := e.engine.ContainerCreate(ctx, config, host, nil, nil, e.name)
	if err != nil {
		return apperr.Wrap(apperr.Internal, err, "create the edge's container %s", e.name)
	}
	if err := e.start(ctx, made.ID); err != nil {
		return errors.Join(err, e.removeContainer(context.WithoutCancel(ctx)))
	}
	e.options.Logger.Info("the edge runs", "container", e.name)
	return nil
}

// takenPort finds the host port in the engine's words for one that is taken.
var takenPort = regexp.MustCompile(`(?:Bind for|listen (?:tcp|udp)[46]?|exposing port (?:TCP|UDP)|bind host port(?: for)?) \S*?:(\d+)`)

// start starts the edge, and says whose a port is that is taken.
func (e *Edge) start(ctx context.Context, id string) error {
	err := e.engine.ContainerStart(ctx, id, container.StartOptions{})
	if err == nil {
		return nil
	}
	match := takenPort.FindStringSubmatch(err.Error())
	if match == nil {
		return apperr.Wrap(apperr.Internal, err, "start the edge's container %s", e.name)
	}
	owner := "a process on this node that is no container"
	list, listErr := e.engine.ContainerList(ctx, container.ListOptions{})
	if listErr != nil {
		owner = "something on this node"
	}
	for _, c := range list {
		for _, p := range c.Ports {
			if strconv.Itoa(int(p.PublicPort)) == match[1] && len(c.Names) > 0 {
				owner = "container " + c.Names[0][1:]
			}
		}
	}
	return apperr.Wrap(apperr.Conflict, err, "routing: port %s of this node is used by %s, and the edge proxy needs it; "+
		"stop that, or give the edge other ports (DAGENT_HTTP_PORT, DAGENT_HTTPS_PORT), or label containers for a Traefik that is there (DAGENT_ROUTING=traefik)", match[1], owner)
}

func (e *Edge) removeContainer(ctx context.Context) error {
	grace := edgeGrace
	if err := e.engine.ContainerStop(ctx, e.name, container.StopOptions{Timeout: &grace}); err != nil && !cerrdefs.IsNotFound(err) {
		return apperr.Wrap(apperr.Unavailable, err, "stop the edge's container %s", e.name)
	}
	err := e.engine.ContainerRemove(ctx, e.name, container.RemoveOptions{Force: true, RemoveVolumes: true})
	switch {
	case err == nil, cerrdefs.IsNotFound(err):
		return nil
	case cerrdefs.IsConflict(err): // a removal is in progress already
		return e.awaitGone(ctx, err)
	}
	return apperr.Wrap(apperr.Unavailable, err, "remove the edge's container %s", e.name)
}

// awaitGone waits until the edge's container is gone, which somebody else has
// begun to remove; when it stays, it returns why it should have gone.
func (e *Edge) awaitGone(ctx context.Context, why error) error {
	ctx, cancel := context.WithTimeout(ctx, edgeStartup)
	defer cancel()
	tick := time.NewTicker(edgePoll)
	defer tick.Stop()
	for {
		there, err := e.there(ctx)
		if err != nil || !there {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return apperr.Wrap(apperr.Unavailable, why, "remove the edge's container %s", e.name)
		}
	}
}

// awaitEdge waits until the edge answers.
func (e *Edge) awaitEdge(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, edgeStartup)
	defer cancel()
	tick := time.NewTicker(edgePoll)
	defer tick.Stop()
	for {
		err := e.client.healthy(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return apperr.Wrap(apperr.Unavailable, err, "the edge proxy does not answer; docker logs %s may tell why", e.name)
		}
	}
}

// retire removes the edge when no container on the engine asks for routes any
// more. Certificates stay on the disk.
func (e *Edge) retire(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.preparing.Load() > 0 {
		return nil
	}
	if there, err := e.there(ctx); err != nil || !there {
		return err
	}
	routed, err := e.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(
		filters.Arg("label", labelRoute), filters.Arg("network", e.name),
	)})
	if err != nil {
		return apperr.Wrap(apperr.Unavailable, err, "list the containers that are routed to")
	}
	state, err := e.client.state(ctx)
	if err != nil || len(routed) > 0 || len(state.Owners) > 0 {
		return err
	}
	e.options.Logger.Info("no deployment asks for routes any more: removing the edge", "container", e.name)
	if err := e.removeContainer(ctx); err != nil {
		return err
	}
	if err := e.engine.NetworkRemove(ctx, e.name); err != nil && !cerrdefs.IsNotFound(err) {
		return apperr.Wrap(apperr.Unavailable, err, "remove network %s", e.name)
	}
	return nil
}

// isMissing reports whether a file is not there.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
