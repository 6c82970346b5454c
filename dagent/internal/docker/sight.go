package docker

import (
	"context"
	"fmt"
	"slices"
	"sync"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"golang.org/x/sync/errgroup"

	"fairlead.dev/shared/spec"
)

// parallelLooks is how many questions the engine is asked at once.
const parallelLooks = 8

// sight is what there is on the engine for one prefix: all that a plan is made
// from.
type sight struct {
	// owned are the containers of ours under the prefix.
	owned []owned
	// hooks are the containers of hooks, of this release and of others.
	hooks []owned
	// others are the engine names that are taken by containers which are not
	// ours under the prefix, with whose they are.
	others map[string]string
	// ports are those of the host that others have.
	ports []publishedPort
	// candidates are the containers to be adopted that have not been yet, by
	// the ids of their instances.
	candidates map[string]*candidate
	// facts are what the engine makes of what a container does not say.
	facts engineFacts
	// unlimited is true when the engine has no means to limit what a container
	// takes, and leaves limits out without a word.
	unlimited bool
	// gone are the ids of adopted containers that are not there any more.
	gone []string
	// details are inspections of those in owned that may end.
	details map[string]container.InspectResponse
	// images is what the references stand for that were asked for.
	images map[string]picture
}

// look sees what there is for a deployment. Images are resolved for workloads
// that resolve picks.
func (d *Driver) look(ctx context.Context, dep spec.Deployment, resolve func(spec.Workload, sight) bool) (sight, error) {
	all, err := d.engine.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return sight{}, engineError(err, "list the containers")
	}
	seen := sight{others: map[string]string{}, details: map[string]container.InspectResponse{}, images: map[string]picture{}}
	for _, c := range all {
		o, ours := ownedBy(c)
		switch {
		case ours && o.prefix == dep.Prefix && o.hook != "":
			seen.hooks = append(seen.hooks, o)
		case ours && o.prefix == dep.Prefix:
			seen.owned = append(seen.owned, o)
		default:
			seen.others[engineName(c)] = whose(o, ours)
			seen.ports = append(seen.ports, portsHeldBy(c)...)
		}
	}
	seen.ports = append(seen.ports, d.portsHeldOutside(ctx, dep, all)...)
	seen.owned = settled(seen.owned)
	if slices.ContainsFunc(dep.Workloads, func(w spec.Workload) bool { return asksForLimits(w.Container) }) {
		info, err := d.engine.Info(ctx)
		if err != nil {
			return sight{}, engineError(err, "ask the docker engine about itself")
		}
		seen.unlimited = info.CgroupDriver == noControlGroups
	}
	if slices.ContainsFunc(dep.Workloads, func(w spec.Workload) bool { return w.Container.ConfigContainer != nil }) {
		if err := d.requireCopies(ctx); err != nil {
			return sight{}, err
		}
	}
	seen.gone = d.adoptedAndGone(all)
	if err := d.lookAtCandidates(ctx, dep, &seen); err != nil {
		return sight{}, err
	}
	if err := d.resolveAll(ctx, dep, &seen, resolve); err != nil {
		return sight{}, err
	}
	return seen, d.inspectEnding(ctx, dep, &seen)
}

func whose(o owned, ours bool) string {
	if !ours {
		return "was not made by this agent"
	}
	return fmt.Sprintf("belongs to deployment %s under prefix %s", o.deployment, o.prefix)
}

// settled is what is left of containers once an interrupted Apply has been put
// right; see settle.
func settled(found []owned) []owned {
	interrupted := slices.ContainsFunc(found, owned.isNext)
	stopped := stoppedFor(found)
	var left []owned
	for _, o := range found {
		if stopped[o.id] {
			o.state = container.StateRunning // it is started again
		}
		switch {
		case o.leftOver(), o.isNew(found), o.place == placePrevious && !interrupted && o.isReplaced(found):
			continue
		case o.place == placePrevious:
			o.place = placeServing
		}
		left = append(left, o)
	}
	return left
}

// resolveAll finds out what the images of workloads stand for.
func (d *Driver) resolveAll(ctx context.Context, dep spec.Deployment, seen *sight, resolve func(spec.Workload, sight) bool) error {
	var group errgroup.Group
	group.SetLimit(parallelLooks)
	var mu sync.Mutex
	asked := map[string]bool{}
	ask := func(image spec.Image) {
		if asked[image.Reference] {
			return
		}
		asked[image.Reference] = true
		group.Go(func() error {
			p, err := d.resolve(ctx, image)
			mu.Lock()
			defer mu.Unlock()
			seen.images[image.Reference] = p
			return err
		})
	}
	for _, w := range dep.Workloads {
		if !resolve(w, *seen) {
			continue
		}
		ask(w.Image)
		for _, other := range otherImages(w.Container) {
			ask(otherImage(w, other))
		}
	}
	return group.Wait()
}

// inspectEnding looks closer at the containers that may end with the deployment.
func (d *Driver) inspectEnding(ctx context.Context, dep spec.Deployment, seen *sight) error {
	stays := map[string]bool{}
	for _, s := range decide(dep, *seen, d.planRoutes).slots {
		if s.kept {
			stays[s.old.id] = true
		}
	}
	var group errgroup.Group
	group.SetLimit(parallelLooks)
	var mu sync.Mutex
	for _, o := range seen.owned {
		if stays[o.id] || o.place == placeFailed {
			continue
		}
		group.Go(func() error {
			detail, err := d.engine.ContainerInspect(ctx, o.id)
			if cerrdefs.IsNotFound(err) {
				return nil
			}
			if err != nil {
				return engineError(err, "look at container %s", o.engineName)
			}
			mu.Lock()
			defer mu.Unlock()
			seen.details[o.id] = detail
			return nil
		})
	}
	return group.Wait()
}
