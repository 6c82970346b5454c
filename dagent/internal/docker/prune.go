package docker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/go-units"
)

const (
	// pruneEvery is how often images are pruned without a release.
	pruneEvery = 24 * time.Hour
	// pruneAgain is when it is tried again after a deployment was under way.
	pruneAgain = 10 * time.Minute
	// namedPruned is how many images are named in a deployment's story.
	namedPruned = 10
)

// RunPruning prunes images once a day until ctx ends, the first time after ten
// minutes. It returns nil at once where no images are pruned.
func (d *Driver) RunPruning(ctx context.Context) error {
	if d.options.Images == nil {
		return nil
	}
	next := time.NewTimer(pruneAgain)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-next.C:
		}
		gone, done, err := d.PruneImages(ctx)
		if err != nil && ctx.Err() == nil {
			d.options.Logger.Warn("prune images", "error", err)
		}
		if len(gone) > 0 {
			d.options.Logger.Info("pruned images", "images", namesOf(gone), "bytes", sizeOf(gone))
		}
		next.Reset(pruneAgain)
		if done && err == nil {
			next.Reset(pruneEvery)
		}
	}
}

// Pruned is an image that was removed.
type Pruned struct {
	ID string
	// Reference is what the image was pulled by.
	Reference string
	// Size counts layers that other images may share, in bytes.
	Size int64
}

// PruneImages removes the images that the driver brought to the node, that none
// of the last releases runs and no container uses, whoever made it. It does
// nothing, and done is false, while a deployment is being applied.
func (d *Driver) PruneImages(ctx context.Context) (gone []Pruned, done bool, err error) {
	if d.options.Images == nil {
		return nil, true, nil
	}
	if err := d.reach(ctx); err != nil {
		return nil, false, err
	}
	if !d.imagesInUse.TryLock() {
		return nil, false, nil
	}
	defer d.imagesInUse.Unlock()
	unneeded := d.options.Images.Unneeded()
	if len(unneeded) == 0 {
		return nil, true, nil
	}
	there, err := d.engine.ImageList(ctx, image.ListOptions{All: true})
	if err != nil {
		return nil, false, engineError(err, "list the images")
	}
	containers, err := d.engine.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return nil, false, engineError(err, "list the containers")
	}
	used := map[string]bool{}
	for _, c := range containers {
		used[c.ImageID] = true
	}
	var errs []error
	forget := unneeded
	for _, i := range there {
		references, ours := unneeded[i.ID]
		if !ours {
			continue
		}
		removed := false
		if !used[i.ID] && ourNames(i, references) {
			removed, err = d.removeImage(ctx, i)
			errs = append(errs, err)
		}
		if removed {
			gone = append(gone, Pruned{ID: i.ID, Reference: references[len(references)-1], Size: i.Size})
		} else {
			delete(forget, i.ID)
		}
	}
	var ids []string
	for id := range forget {
		ids = append(ids, id)
	}
	errs = append(errs, d.options.Images.ForgetImages(ids))
	return gone, true, errors.Join(errs...)
}

// ourNames reports whether an image has no tag but those that it was pulled by.
// Another one means that somebody wants it.
func ourNames(i image.Summary, references []string) bool {
	for _, tag := range i.RepoTags {
		named, err := reference.ParseDockerRef(tag)
		if tag != "<none>:<none>" && (err != nil || !slices.Contains(references, named.String())) {
			return false
		}
	}
	return true
}

// removeImage removes an image. The engine has the last word: without force, and
// by its id, it removes none that a container uses, or that another image was
// built on.
func (d *Driver) removeImage(ctx context.Context, i image.Summary) (bool, error) {
	for n, tag := range i.RepoTags {
		if n == 0 || tag == "<none>:<none>" {
			continue // by its id an image can have one tag
		}
		if _, err := d.engine.ImageRemove(ctx, tag, image.RemoveOptions{}); err != nil && !cerrdefs.IsNotFound(err) && !cerrdefs.IsConflict(err) {
			return false, engineError(err, "remove image %s", tag)
		}
	}
	_, err := d.engine.ImageRemove(ctx, i.ID, image.RemoveOptions{PruneChildren: true})
	switch {
	case err == nil || cerrdefs.IsNotFound(err):
		return true, nil
	case cerrdefs.IsConflict(err):
		return false, nil
	}
	return false, engineError(err, "remove image %s", i.ID)
}

// useImages keeps the images of a deployment from being pruned until what it
// returns is called. That also notes which images the release runs when it is in
// place, and prunes those that no release needs any more.
func (a *applying) useImages(ctx context.Context) (end func()) {
	if a.options.Images == nil {
		return func() {}
	}
	a.imagesInUse.RLock()
	return func() {
		var err error
		if a.inPlace {
			err = a.options.Images.Release(a.dep.Prefix, a.dep.ID, a.dep.Release, a.imagesOfRelease())
		}
		a.imagesInUse.RUnlock()
		if !a.inPlace || a.failure != nil {
			return
		}
		if err != nil {
			a.story.Warn("", "%v; no images are removed", err)
			return
		}
		gone, _, err := a.PruneImages(ctx)
		if err != nil {
			a.story.Warn("", "not all images that nothing needs any more could be removed: %v", err)
		}
		if len(gone) > 0 {
			a.story.Info("", "removed %d image(s) that no container and none of the last %d releases uses, up to %s: %s",
				len(gone), a.options.Images.Keep(), units.HumanSize(float64(sizeOf(gone))), strings.Join(namesOf(gone), ", "))
		}
	}
}

// imagesOfRelease are the engine's ids of all images that the release runs,
// those of init containers included.
func (a *applying) imagesOfRelease() (ids []string) {
	for _, s := range a.slots {
		if s.kept {
			ids = append(ids, s.old.imageID)
		}
	}
	for _, r := range requests(a.dep.Workloads) {
		if p, pulled := a.pulled[r.reference]; pulled {
			ids = append(ids, p.id)
			continue
		}
		// Of a container that was kept: what its init containers ran.
		if named, err := reference.ParseDockerRef(r.reference); err == nil {
			ids = append(ids, a.options.Images.ByReference(named.String())...)
		}
	}
	return ids
}

func namesOf(gone []Pruned) (names []string) {
	for n, g := range gone {
		if n == namedPruned {
			return append(names, "...")
		}
		names = append(names, g.Reference)
	}
	return names
}

func sizeOf(gone []Pruned) (bytes int64) {
	for _, g := range gone {
		bytes += g.Size
	}
	return bytes
}
