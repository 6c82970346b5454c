package docker

import (
	"context"
	"sync"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/image"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Disk is where the engine keeps images.
type Disk interface {
	// Admit returns a Precondition error that says what to do when there is too
	// little room to pull anything more, and nil when there is enough or nobody
	// can know.
	Admit(ctx context.Context) error
}

// intake is what has to be done once when the images of a deployment are
// pulled, if any has to be.
type intake struct {
	*Driver
	story *workload.Story

	once sync.Once
	// refused is why nothing may be pulled.
	refused error
	// before are the images that the node has had before; nil when the engine
	// did not say.
	before map[string]bool
}

// begin comes before each pull.
func (d *intake) begin(ctx context.Context, ref string) error {
	d.once.Do(func() {
		if d.options.Disk != nil {
			if d.refused = d.options.Disk.Admit(ctx); d.refused != nil {
				return
			}
		}
		if d.options.Images == nil {
			return
		}
		list, err := d.engine.ImageList(ctx, image.ListOptions{All: true})
		if err != nil {
			d.options.Logger.Warn("list the images of the node; what is pulled now is never pruned", "image", ref, "error", err)
			return
		}
		d.before = map[string]bool{}
		for _, i := range list {
			d.before[i.ID] = true
		}
	})
	return d.refused
}

// brought notes that an image was pulled. One that the node had before, by
// whichever name, belongs to somebody else, unless it was noted then.
func (d *intake) brought(ref, id string) {
	if d.before == nil {
		return
	}
	if d.before[id] && !d.options.Images.Has(id) {
		return
	}
	if err := d.options.Images.Bring(id, ref); err != nil {
		d.options.Logger.Warn("note a pulled image, which is never pruned without that", "image", ref, "error", err)
	}
}

// current returns the image that the node has for a reference, if that is what
// the reference stands for as far as anybody can tell now.
func (d *intake) current(ctx context.Context, named reference.Named, r request) (local image.InspectResponse, ok bool) {
	local, err := d.engine.ImageInspect(ctx, named.String())
	if err != nil {
		return local, false
	}
	p, err := d.resolve(ctx, spec.Image{Reference: r.reference, Auth: r.auth})
	switch {
	case err != nil:
		return local, false
	case p.doubt != nil:
		return local, p.id == local.ID && apperr.Is(p.doubt, apperr.Unavailable)
	}
	return local, p.digest == digestOf(pin(named, local))
}
