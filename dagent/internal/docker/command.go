package docker

import (
	"context"
	"time"

	"github.com/docker/docker/api/types/container"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Start starts a container of the driver's own making.
func (d *Driver) Start(ctx context.Context, id workload.ContainerID) error {
	return d.act(ctx, "start", id, func(engineID string) error {
		if err := d.engine.ContainerStart(ctx, engineID, container.StartOptions{}); err != nil {
			return d.startError(ctx, spec.ContainerName(id.Prefix, id.Name), err)
		}
		return nil
	})
}

// Stop stops a container of the driver's own making.
func (d *Driver) Stop(ctx context.Context, id workload.ContainerID) error {
	return d.act(ctx, "stop", id, func(engineID string) error {
		d.runs.endWanted(engineID) // first: it holds also when the engine crashes over it
		return d.stop(ctx, engineID)
	})
}

// Restart stops a container of the driver's own making and starts it.
func (d *Driver) Restart(ctx context.Context, id workload.ContainerID) error {
	return d.act(ctx, "restart", id, func(engineID string) error {
		grace := int(d.options.StopGrace / time.Second)
		return d.engine.ContainerRestart(ctx, engineID, container.StopOptions{Timeout: &grace})
	})
}

// Delete stops a container of the driver's own making and removes it.
func (d *Driver) Delete(ctx context.Context, id workload.ContainerID) error {
	return d.act(ctx, "delete", id, func(engineID string) error {
		return d.end(ctx, owned{id: engineID, engineName: spec.ContainerName(id.Prefix, id.Name)})
	})
}

// act does something to a container that the driver made, and refuses others.
func (d *Driver) act(ctx context.Context, verb string, id workload.ContainerID, do func(engineID string) error) error {
	seen, err := d.findOurs(ctx, verb, id)
	if err != nil {
		return err
	}
	if err := do(seen.ID); err != nil {
		return engineError(err, "%s container %s", verb, spec.ContainerName(id.Prefix, id.Name))
	}
	return nil
}

// findOurs looks up a container that the driver made; others are refused.
func (d *Driver) findOurs(ctx context.Context, verb string, id workload.ContainerID) (container.InspectResponse, error) {
	name := spec.ContainerName(id.Prefix, id.Name)
	seen, err := d.find(ctx, id)
	if err != nil {
		return seen, engineError(err, "%s container %s", verb, name)
	}
	// The engine also finds containers by the beginning of their id.
	if !bears(seen, id) {
		return seen, apperr.New(apperr.NotFound, "%s container %s: there is none of that name", verb, name)
	}
	if !isManaged(seen) {
		return seen, apperr.New(apperr.Forbidden, "%s container %s: it was not made by this agent", verb, name)
	}
	return seen, nil
}
