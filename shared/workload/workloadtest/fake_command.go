package workloadtest

import (
	"context"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Start starts a container of the driver's own making.
func (f *FakeDriver) Start(ctx context.Context, id workload.ContainerID) error {
	return f.command(ctx, "start", id, func(c *fakeContainer) {
		if c.State != spec.StateRunning {
			c.run(f.options.Now())
		}
	})
}

// Stop stops a container of the driver's own making.
func (f *FakeDriver) Stop(ctx context.Context, id workload.ContainerID) error {
	return f.command(ctx, "stop", id, func(c *fakeContainer) {
		if c.State == spec.StateRunning {
			c.exit(0, f.options.Now())
		}
	})
}

// Restart restarts a container of the driver's own making.
func (f *FakeDriver) Restart(ctx context.Context, id workload.ContainerID) error {
	return f.command(ctx, "restart", id, func(c *fakeContainer) {
		if c.State == spec.StateRunning {
			c.exit(0, f.options.Now())
		}
		c.run(f.options.Now())
	})
}

// Delete removes a container of the driver's own making.
func (f *FakeDriver) Delete(ctx context.Context, id workload.ContainerID) error {
	return f.command(ctx, "delete", id, func(*fakeContainer) {
		delete(f.containers, spec.ContainerName(id.Prefix, id.Name))
	})
}

func (f *FakeDriver) command(ctx context.Context, verb string, id workload.ContainerID, act func(*fakeContainer)) error {
	name := spec.ContainerName(id.Prefix, id.Name)
	if err := f.do(ctx, Op{Name: verb, Container: name}); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.containers[name]
	if !ok || c.Managed && !c.under(id.Prefix) {
		return apperr.New(apperr.NotFound, "%s container %s: there is none of that name", verb, name)
	}
	if !c.Managed {
		return apperr.New(apperr.Forbidden, "%s container %s: it was not made by this driver", verb, name)
	}
	act(c)
	f.notify()
	return nil
}
