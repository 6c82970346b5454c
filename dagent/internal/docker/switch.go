package docker

import (
	"context"

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
		return a.fail(ctx, workload.StepRetire, nil, "", err)
	}
	for _, s := range a.slots {
		if s.kept {
			continue
		}
		if s.old != nil {
			if err := a.rename(ctx, *s.old, s.base+suffixPrevious); err != nil {
				return a.fail(ctx, workload.StepRetire, s, "", err)
			}
		}
		if err := a.rename(ctx, owned{id: s.next, engineName: s.base + suffixNext}, s.base); err != nil {
			return a.fail(ctx, workload.StepRetire, s, "", err)
		}
	}
	a.inPlace = true
	return nil
}

// retire stops and removes what ends with this release.
func (a *applying) retire(ctx context.Context) *workload.Failure {
	var ending []owned
	for _, r := range a.retiring {
		ending = append(ending, r.owned)
	}
	a.drainRoutes(ctx, ending)
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
func (d *Driver) endAll(ctx context.Context, list []owned, s *story) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelEnds)
	for _, o := range list {
		group.Go(func() error {
			if err := d.end(ctx, o); err != nil {
				return err
			}
			s.info(o.instance, "removed the old container %s", o.base)
			return nil
		})
	}
	return group.Wait()
}
