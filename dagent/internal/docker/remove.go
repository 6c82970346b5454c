package docker

import (
	"context"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"fairlead.dev/shared/workload"
)

// Remove stops and removes every container of ours under the prefix, and the
// networks made for it that nobody uses any more. Volumes with a name stay.
func (d *Driver) Remove(ctx context.Context, prefix string, report workload.Reporter) error {
	s := workload.NewStory(report, d.options.Now)
	defer s.End()
	err := d.reach(ctx)
	var found []owned
	if err == nil {
		lock := d.changing.of(prefix)
		lock.Lock()
		defer lock.Unlock()
		err = d.routeTo(ctx, prefix, func(owned) bool { return false })
	}
	if err == nil {
		found, err = d.ownedOf(ctx, prefix)
	}
	if err == nil {
		err = d.endAll(ctx, found, s)
	}
	if err == nil {
		err = d.pruneNetworks(ctx, prefix)
	}
	if err == nil {
		err = d.dropSecrets(ctx)
	}
	if err == nil && d.options.Images != nil {
		err = d.options.Images.ForgetPrefix(prefix) // what ran under it is pruned with the next release, or in time
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
	d.keepLog(ctx, o)
	if err := d.discard(ctx, o.id); err != nil {
		return engineError(err, "remove container %s", o.engineName)
	}
	return nil
}

// removalPatience is how long a removal that somebody else began may take.
const removalPatience = 30 * time.Second

// discard removes a container with its anonymous volumes, which nothing else
// can reach. One that is gone is fine, and so is one that is going, as after an
// agent that died while it removed it: that one is waited for.
//
// The anonymous volumes of one that was adopted stay: somebody else made them,
// and may know them by their ids.
func (d *Driver) discard(ctx context.Context, id string) error {
	adopted := d.isAdopted(id)
	err := d.engine.ContainerRemove(ctx, id, container.RemoveOptions{RemoveVolumes: !adopted, Force: true})
	switch {
	case cerrdefs.IsNotFound(err):
		err = nil
	case cerrdefs.IsConflict(err): // a removal is in progress already
		err = d.awaitGone(ctx, id, err)
	}
	if err == nil && adopted {
		err = d.options.Adoptions.Release(id)
	}
	return err
}

// awaitGone waits until a container is gone; when it stays, it returns why it
// should have gone.
func (d *Driver) awaitGone(ctx context.Context, id string, why error) error {
	expired := time.NewTimer(removalPatience)
	defer expired.Stop()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		_, err := d.engine.ContainerInspect(ctx, id)
		if cerrdefs.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-expired.C:
			return why
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
