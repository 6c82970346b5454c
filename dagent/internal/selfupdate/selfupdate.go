// Package selfupdate replaces the container that the agent runs in by one of
// another build. It makes the new container what the old one is, image aside,
// and finds it again by a label that holds the update's id.
package selfupdate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/apperr"
)

// EnvUpdateID is the environment variable by which a new agent knows the update
// that started it.
const EnvUpdateID = "FAIRLEAD_UPDATE_ID"

const (
	labelUpdate   = "dev.fairlead.update"
	labelArtifact = "dev.fairlead.artifact"
	// suffix is of the new container's name until it has the old one's.
	suffix = "-next"
	// lastLines are shown of a container that ended.
	lastLines = "5"
	maxWords  = 2000
	stopGrace = 10 // seconds
)

// Engine is the part of the Docker Engine API that is used; *client.Client has
// it.
type Engine interface {
	ContainerList(ctx context.Context, options container.ListOptions) ([]container.Summary, error)
	ContainerInspect(ctx context.Context, id string) (container.InspectResponse, error)
	ContainerCreate(ctx context.Context, config *container.Config, host *container.HostConfig, networking *network.NetworkingConfig, platform *ocispec.Platform, name string) (container.CreateResponse, error)
	ContainerStart(ctx context.Context, id string, options container.StartOptions) error
	ContainerStop(ctx context.Context, id string, options container.StopOptions) error
	ContainerRename(ctx context.Context, id, name string) error
	ContainerUpdate(ctx context.Context, id string, config container.UpdateConfig) (container.UpdateResponse, error)
	ContainerRemove(ctx context.Context, id string, options container.RemoveOptions) error
	ContainerLogs(ctx context.Context, id string, options container.LogsOptions) (io.ReadCloser, error)
	ImageInspect(ctx context.Context, reference string, options ...client.ImageInspectOption) (image.InspectResponse, error)
	ImageLoad(ctx context.Context, archive io.Reader, options ...client.ImageLoadOption) (image.LoadResponse, error)
	ImageRemove(ctx context.Context, reference string, options image.RemoveOptions) ([]image.DeleteResponse, error)
	ImageTag(ctx context.Context, reference, tag string) error
}

var (
	_ Engine           = (*client.Client)(nil)
	_ agentrt.Replacer = (*Replacer)(nil)
)

// Replacer replaces the agent's own container.
type Replacer struct {
	engine Engine
	self   string
}

// New returns a Replacer of the container with the id, which this process runs
// in; see Container.
func New(engine Engine, id string) *Replacer { return &Replacer{engine: engine, self: id} }

// The mounts that an engine makes for every container, such as the one on
// /etc/hostname, come from a folder named after it.
var ownMount = regexp.MustCompile(`/containers/([0-9a-f]{64})/(?:hostname|hosts|resolv\.conf) /etc/(?:hostname|hosts|resolv\.conf) `)

// Container returns the id of the container that this process runs in, as its
// mounts tell it; "" when it is in none.
func Container() string {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	return containerIn(string(mounts))
}

func containerIn(mountinfo string) string {
	if found := ownMount.FindStringSubmatch(mountinfo); found != nil {
		return found[1]
	}
	return ""
}

// Self returns the container's id. Unsupported when it publishes ports, which
// two containers can't do at once, or is removed by its engine when it ends.
func (r *Replacer) Self(ctx context.Context) (string, error) {
	own, err := r.engine.ContainerInspect(ctx, r.self)
	if err != nil {
		return "", engineError(err, "find the agent's own container")
	}
	switch {
	case len(own.HostConfig.PortBindings) > 0:
		return "", apperr.New(apperr.Unsupported, "the agent's container publishes ports, so that no other can run beside it: run the install script on the node")
	case own.HostConfig.AutoRemove:
		return "", apperr.New(apperr.Unsupported, "the agent's container is removed when it ends, so that it can't stand by for another: run the install script on the node")
	}
	return own.ID, nil
}

// Start loads the build and starts a container of it.
func (r *Replacer) Start(ctx context.Context, b agentrt.Build) error {
	own, err := r.engine.ContainerInspect(ctx, r.self)
	if err != nil {
		return engineError(err, "find the agent's own container")
	}
	loaded, err := r.load(ctx, b.Archive)
	if err != nil {
		return err
	}
	old, err := r.engine.ImageInspect(ctx, own.Image)
	if err != nil && !errdefs.IsNotFound(err) {
		return engineError(err, "look at the agent's own image")
	}
	name := strings.TrimPrefix(own.Name, "/") + suffix
	err = r.makeRoom(ctx, name)
	var created container.CreateResponse
	if err == nil {
		config, host, networks := candidate(own, old, loaded.name, b)
		created, err = r.engine.ContainerCreate(ctx, config, host, networks, nil, name)
	}
	if err != nil {
		r.forget(context.WithoutCancel(ctx), loaded.id, loaded.name)
		return errors.Join(engineError(err, "make the new agent's container"), r.ownName(context.WithoutCancel(ctx)))
	}
	return engineError(r.engine.ContainerStart(ctx, created.ID, container.StartOptions{}), "start the new agent's container")
}

// loaded is an image that was brought to the engine.
type loaded struct{ id, name string }

// load brings the build's image to the engine.
func (r *Replacer) load(ctx context.Context, archive string) (l loaded, err error) {
	if l.name, err = tagIn(archive); err != nil {
		return l, err
	}
	file, err := os.Open(archive)
	if err != nil {
		return l, fmt.Errorf("read the new agent's archive: %w", err)
	}
	defer func() { _ = file.Close() }() // only read from
	answer, err := r.engine.ImageLoad(ctx, file, client.ImageLoadWithQuiet(true))
	if err != nil {
		return l, engineError(err, "load the new agent's image")
	}
	_, err = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close() // it was read to its end
	if err != nil {
		return l, engineError(err, "load the new agent's image")
	}
	image, err := r.engine.ImageInspect(ctx, l.name)
	if err != nil { // the engine tells of a broken archive in words only
		return l, apperr.Wrap(apperr.Invalid, err, "the engine did not take the new agent's image %s", l.name)
	}
	l.id = image.ID
	return l, nil
}

// makeRoom removes a container that an earlier update left under the name.
func (r *Replacer) makeRoom(ctx context.Context, name string) error {
	left, err := r.engine.ContainerInspect(ctx, name)
	switch {
	case errdefs.IsNotFound(err):
		return nil
	case err != nil:
		return engineError(err, "look for %s", name)
	case left.Config.Labels[labelUpdate] == "":
		return apperr.New(apperr.Conflict, "a container named %s is in the way and is not of an update: rename or remove it", name)
	}
	return engineError(r.engine.ContainerRemove(ctx, left.ID, container.RemoveOptions{Force: true}), "remove %s", name)
}

// Look tells how the candidate does.
func (r *Replacer) Look(ctx context.Context, id string) (agentrt.Look, error) {
	found, err := r.find(ctx, id)
	if err != nil {
		return agentrt.Look{}, err
	}
	if found == nil {
		return agentrt.Look{Words: "its container is gone"}, nil
	}
	state := found.State
	words := fmt.Sprintf("its container is %s, exit code %d", state.Status, state.ExitCode)
	if state.Error != "" {
		words += ", " + state.Error
	}
	if said := r.lastWords(ctx, found.ID); said != "" {
		words += "; it said last: " + said
	}
	return agentrt.Look{Alive: state.Running || state.Restarting, Restarts: found.RestartCount, Words: words}, nil
}

// Discard removes the candidate and its image, and gives a name that the image
// took back to the agent's own.
func (r *Replacer) Discard(ctx context.Context, id string) error {
	found, err := r.find(ctx, id)
	if err != nil || found == nil {
		return err
	}
	if err := r.remove(ctx, found.ID); err != nil {
		return err
	}
	r.forget(ctx, found.Image, found.Config.Image)
	return r.ownName(ctx)
}

// ownName gives the agent's image its name back, if another one has it.
func (r *Replacer) ownName(ctx context.Context) error {
	own, err := r.engine.ContainerInspect(ctx, r.self)
	if err != nil {
		return engineError(err, "find the agent's own container")
	}
	if named, err := r.engine.ImageInspect(ctx, own.Config.Image); err == nil && named.ID == own.Image || strings.HasPrefix(own.Config.Image, "sha256:") {
		return nil
	}
	if err := r.engine.ImageTag(ctx, own.Image, own.Config.Image); err != nil && !errdefs.IsNotFound(err) {
		return engineError(err, "name the agent's image")
	}
	return nil
}

// Keep has the candidate started again whenever it ends: also after a crash of
// the engine, which takes what it ends then for stopped by somebody.
func (r *Replacer) Keep(ctx context.Context, id string) error {
	found, err := r.must(ctx, id)
	if err != nil {
		return err
	}
	_, err = r.engine.ContainerUpdate(ctx, found.ID, container.UpdateConfig{
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyAlways},
	})
	return engineError(err, "have the new agent's container started again when it ends")
}

// Succeed removes the incumbent and takes its name.
func (r *Replacer) Succeed(ctx context.Context, id, incumbent string) error {
	found, err := r.must(ctx, id)
	if err != nil {
		return err
	}
	old, err := r.engine.ContainerInspect(ctx, incumbent)
	if err == nil {
		if err := r.remove(ctx, old.ID); err != nil {
			return err
		}
		if old.Image != found.Image {
			r.forget(ctx, old.Image, old.Config.Image)
		}
	} else if !errdefs.IsNotFound(err) {
		return engineError(err, "find the old agent's container")
	}
	name := strings.TrimPrefix(found.Name, "/")
	final, isNext := strings.CutSuffix(name, suffix)
	if !isNext {
		return nil
	}
	return engineError(r.engine.ContainerRename(ctx, found.ID, final), "give the new agent's container the name %s", final)
}

// Leave removes the agent's own container, and this process with it. Should the
// engine not come to the end of that, it does not start the container again.
func (r *Replacer) Leave(ctx context.Context) error {
	_, err := r.engine.ContainerUpdate(ctx, r.self, container.UpdateConfig{
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled},
	})
	if err != nil {
		return engineError(err, "have the agent's own container not started again")
	}
	return engineError(r.engine.ContainerRemove(ctx, r.self, container.RemoveOptions{Force: true}), "remove the agent's own container")
}

// remove stops a container, so that it can say good-bye, and removes it.
func (r *Replacer) remove(ctx context.Context, id string) error {
	grace := stopGrace
	if err := r.engine.ContainerStop(ctx, id, container.StopOptions{Timeout: &grace}); err != nil && !errdefs.IsNotFound(err) {
		return engineError(err, "stop the container %.12s", id)
	}
	if err := r.engine.ContainerRemove(ctx, id, container.RemoveOptions{Force: true}); err != nil && !errdefs.IsNotFound(err) {
		return engineError(err, "remove the container %.12s", id)
	}
	return nil
}

// forget removes an image by its name while that is its own, so that it goes
// unless something else has it: then it stays, and that is well.
func (r *Replacer) forget(ctx context.Context, id, name string) {
	if named, err := r.engine.ImageInspect(ctx, name); err == nil && named.ID == id {
		id = name
	}
	_, _ = r.engine.ImageRemove(ctx, id, image.RemoveOptions{PruneChildren: true})
}

// must is find for a container that has to be there.
func (r *Replacer) must(ctx context.Context, id string) (*container.InspectResponse, error) {
	found, err := r.find(ctx, id)
	if err == nil && found == nil {
		err = apperr.New(apperr.NotFound, "the container of the update %s is gone", id)
	}
	return found, err
}

// find returns the candidate's container; nil when there is none.
func (r *Replacer) find(ctx context.Context, id string) (*container.InspectResponse, error) {
	list, err := r.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", labelUpdate+"="+id))})
	if err != nil {
		return nil, engineError(err, "look for the new agent's container")
	}
	for _, c := range list {
		found, err := r.engine.ContainerInspect(ctx, c.ID)
		if errdefs.IsNotFound(err) {
			continue
		}
		return &found, engineError(err, "look at the new agent's container")
	}
	return nil, nil
}

// lastWords returns what a container wrote last; "" when that can't be had.
func (r *Replacer) lastWords(ctx context.Context, id string) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	log, err := r.engine.ContainerLogs(ctx, id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: lastLines})
	if err != nil {
		return ""
	}
	defer func() { _ = log.Close() }()
	return demultiplex(log)
}

func engineError(err error, format string, args ...any) error {
	switch {
	case err == nil:
		return nil
	case client.IsErrConnectionFailed(err):
		return apperr.Wrap(apperr.Unavailable, err, format, args...)
	case errdefs.IsInvalidArgument(err):
		return apperr.Wrap(apperr.Invalid, err, format, args...)
	default:
		return apperr.Wrap(apperr.Internal, err, format, args...)
	}
}
