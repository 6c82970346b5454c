package docker

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"fairlead.dev/shared/workload"
)

// parallelEnds is how many containers are stopped at once; they may each take
// their grace period.
const parallelEnds = 8

// switchOver moves the routes to the new containers and gives every one its
// workload's name. It begins when all are ready, and takes no time but that of
// the renames. The routes go first: until the names are changed the release can
// be taken back, and putBack takes the routes along.
func (a *applying) switchOver(ctx context.Context) *workload.Failure {
	if err := a.moveRoutes(ctx); err != nil {
		return a.fail(ctx, workload.StepSwitch, nil, "", err)
	}
	if err := a.takeOver(ctx); err != nil {
		return a.fail(ctx, workload.StepSwitch, nil, "", err)
	}
	var group errgroup.Group
	group.SetLimit(parallelBrings)
	for _, s := range a.slots {
		if s.kept {
			continue
		}
		group.Go(func() error {
			if s.old != nil {
				if err := a.rename(ctx, *s.old, s.base+suffixPrevious); err != nil {
					return a.fail(ctx, workload.StepSwitch, s, "", err)
				}
			}
			if err := a.rename(ctx, owned{id: s.next, engineName: s.base + suffixNext}, s.base); err != nil {
				return a.fail(ctx, workload.StepSwitch, s, "", err)
			}
			return nil
		})
	}
	if group.Wait() != nil {
		return a.failure
	}
	a.inPlace = true
	a.tellOfAdoptions()
	return nil
}

// drain lets the old containers finish what they are at: nothing new is led to
// them any more. They go on for the drain time of the policy, within which the
// requests that came by routes have to end; without one, those requests alone
// are waited for, as long as the router thinks right.
func (a *applying) drain(ctx context.Context) *workload.Failure {
	var busy []string
	for _, r := range a.retiring {
		if r.running() && !a.stoodBy(r.owned) {
			busy = append(busy, r.id)
		}
	}
	if len(busy) == 0 {
		return nil
	}
	within := time.Duration(a.dep.Policy.DrainSeconds) * time.Second
	drained := time.NewTimer(within)
	defer drained.Stop()
	if within > 0 {
		a.story.Info("", "draining the old containers for %d s", a.dep.Policy.DrainSeconds)
	}
	a.drainRoutes(ctx, busy, within)
	select {
	case <-drained.C:
		return nil
	case <-ctx.Done():
		return a.fail(ctx, workload.StepRetire, nil, "", engineError(ctx.Err(), "drain the old containers"))
	}
}

// retire stops and removes what ends with this release.
func (a *applying) retire(ctx context.Context) *workload.Failure {
	if len(a.retiring) == 0 {
		return nil
	}
	var ending []owned
	for _, r := range a.retiring {
		ending = append(ending, r.owned)
	}
	if err := a.endAll(ctx, ending, a.story); err != nil {
		return a.fail(ctx, workload.StepRetire, nil, "", err)
	}
	if err := a.pruneNetworks(ctx, a.dep.Prefix); err != nil {
		return a.fail(ctx, workload.StepRetire, nil, "", err)
	}
	if err := a.dropSecrets(ctx); err != nil {
		return a.fail(ctx, workload.StepRetire, nil, "", err)
	}
	return nil
}

// endAll stops and removes containers.
func (d *Driver) endAll(ctx context.Context, list []owned, s *workload.Story) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelEnds)
	for _, o := range list {
		group.Go(func() error {
			if err := d.end(ctx, o); err != nil {
				return err
			}
			s.Info(o.instance, "removed the old container %s", o.base)
			return nil
		})
	}
	return group.Wait()
}
