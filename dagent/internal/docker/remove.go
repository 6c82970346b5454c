package docker

import (
	"context"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"fairlead.dev/shared/workload"
)

// Remove stops and removes every container of ours under the prefix, and the
// networks made for it that nobody uses any more. Volumes with a name stay.
func (d *Driver) Remove(ctx context.Context, prefix string, report workload.Reporter) error {
	s := &story{report: report, now: d.options.Now}
	defer s.end()
	err := d.reach(ctx)
	var found []owned
	if err == nil {
		found, err = d.ownedOf(ctx, prefix)
	}
	if err == nil {
		err = d.endAll(ctx, found, s)
	}
	if err == nil {
		err = d.pruneNetworks(ctx, prefix)
	}
	if err != nil {
		return &workload.Failure{Step: workload.StepRemove, Err: err}
	}
	return nil
}

// end stops a container and removes it. One that is gone is fine.
func (d *Driver) end(ctx context.Context, o owned) error {
	if err := d.stop(ctx, o.id); err != nil && !cerrdefs.IsNotFound(err) {
		return engineError(err, "stop container %s", o.engineName)
	}
	if err := d.discard(ctx, o.id); err != nil {
		return engineError(err, "remove container %s", o.engineName)
	}
	return nil
}

// discard removes a container with its anonymous volumes, which nothing else
// can reach. One that is gone, or going, is fine.
func (d *Driver) discard(ctx context.Context, id string) error {
	err := d.engine.ContainerRemove(ctx, id, container.RemoveOptions{RemoveVolumes: true, Force: true})
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	return err
}
