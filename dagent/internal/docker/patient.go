package docker

import (
	"context"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// answerPatience is how long a call that changes something is waited for, on
// top of the grace period of a stop, once its context has ended.
const answerPatience = 10 * time.Second

// patient is an engine whose changing calls are not cut off with their context
// but answered first. The engine goes on with a call nobody waits for: a stop
// that was cut off would take effect after whoever came next had looked.
type patient struct {
	Engine
	patience time.Duration
}

// calm returns the context of one call. A context that has ended begins none.
func (p patient) calm(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx.Err() != nil {
		return ctx, func() {}
	}
	calm, cancel := context.WithCancel(context.WithoutCancel(ctx))
	quit := context.AfterFunc(ctx, func() { time.AfterFunc(p.patience, cancel) })
	return calm, func() { quit(); cancel() }
}

func (p patient) ContainerCreate(ctx context.Context, config *container.Config, host *container.HostConfig, networking *network.NetworkingConfig, platform *ocispec.Platform, name string) (container.CreateResponse, error) {
	ctx, cancel := p.calm(ctx)
	defer cancel()
	return p.Engine.ContainerCreate(ctx, config, host, networking, platform, name)
}

func (p patient) ContainerStart(ctx context.Context, id string, options container.StartOptions) error {
	ctx, cancel := p.calm(ctx)
	defer cancel()
	return p.Engine.ContainerStart(ctx, id, options)
}

func (p patient) ContainerStop(ctx context.Context, id string, options container.StopOptions) error {
	ctx, cancel := p.calm(ctx)
	defer cancel()
	return p.Engine.ContainerStop(ctx, id, options)
}

func (p patient) ContainerRestart(ctx context.Context, id string, options container.StopOptions) error {
	ctx, cancel := p.calm(ctx)
	defer cancel()
	return p.Engine.ContainerRestart(ctx, id, options)
}

func (p patient) ContainerRename(ctx context.Context, id, name string) error {
	ctx, cancel := p.calm(ctx)
	defer cancel()
	return p.Engine.ContainerRename(ctx, id, name)
}

func (p patient) ContainerUpdate(ctx context.Context, id string, config container.UpdateConfig) (container.UpdateResponse, error) {
	ctx, cancel := p.calm(ctx)
	defer cancel()
	return p.Engine.ContainerUpdate(ctx, id, config)
}

func (p patient) ContainerRemove(ctx context.Context, id string, options container.RemoveOptions) error {
	ctx, cancel := p.calm(ctx)
	defer cancel()
	return p.Engine.ContainerRemove(ctx, id, options)
}

func (p patient) NetworkCreate(ctx context.Context, name string, options network.CreateOptions) (network.CreateResponse, error) {
	ctx, cancel := p.calm(ctx)
	defer cancel()
	return p.Engine.NetworkCreate(ctx, name, options)
}

func (p patient) NetworkConnect(ctx context.Context, name, id string, settings *network.EndpointSettings) error {
	ctx, cancel := p.calm(ctx)
	defer cancel()
	return p.Engine.NetworkConnect(ctx, name, id, settings)
}

func (p patient) NetworkDisconnect(ctx context.Context, name, id string, force bool) error {
	ctx, cancel := p.calm(ctx)
	defer cancel()
	return p.Engine.NetworkDisconnect(ctx, name, id, force)
}

func (p patient) NetworkRemove(ctx context.Context, id string) error {
	ctx, cancel := p.calm(ctx)
	defer cancel()
	return p.Engine.NetworkRemove(ctx, id)
}

func (p patient) VolumeCreate(ctx context.Context, options volume.CreateOptions) (volume.Volume, error) {
	ctx, cancel := p.calm(ctx)
	defer cancel()
	return p.Engine.VolumeCreate(ctx, options)
}
