package docker

import (
	"context"
	"slices"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// adoptedAndGone are the adopted containers that are not among all.
func (d *Driver) adoptedAndGone(all []container.Summary) (ids []string) {
	if d.options.Adoptions == nil {
		return nil
	}
	for _, id := range d.options.Adoptions.Containers() {
		if !slices.ContainsFunc(all, func(c container.Summary) bool { return c.ID == id }) {
			ids = append(ids, id)
		}
	}
	return ids
}

// forgetGone forgets adopted containers that somebody has removed.
func (d *Driver) forgetGone(ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	return d.options.Adoptions.Release(ids...)
}

func (d *Driver) isAdopted(id string) bool {
	if d.options.Adoptions == nil {
		return false
	}
	_, adopted := d.options.Adoptions.Labels(id)
	return adopted
}

func (d *Driver) isAdoptedVolume(name string) bool {
	return d.options.Adoptions != nil && d.options.Adoptions.HasVolume(name)
}

// findAdopted finds the adopted container that serves as the one of a workload,
// whatever it is called on the engine.
func (d *Driver) findAdopted(ctx context.Context, id workload.ContainerID) (seen container.InspectResponse, found bool, err error) {
	if d.options.Adoptions == nil || id.Prefix == "" {
		return seen, false, nil
	}
	for _, engineID := range d.options.Adoptions.Containers() {
		labels, _ := d.options.Adoptions.Labels(engineID)
		if labels[labelNamespace] != id.Prefix || labels[labelName] != id.Name {
			continue
		}
		seen, err := d.engine.ContainerInspect(ctx, engineID)
		switch {
		case cerrdefs.IsNotFound(err):
			continue
		case err != nil:
			return seen, false, engineError(err, "find container %s", spec.ContainerName(id.Prefix, id.Name))
		case bears(seen, id):
			return seen, true, nil
		}
	}
	return seen, false, nil
}

// bears reports whether a container has the name that the team API has for it:
// on the engine, or as an adopted one that serves.
func bears(seen container.InspectResponse, id workload.ContainerID) bool {
	name := strings.TrimPrefix(seen.Name, "/")
	if seen.Config != nil && id.Prefix != "" {
		l := seen.Config.Labels
		if l[labelAdopted] == name && name != "" && l[labelNamespace] == id.Prefix && l[labelName] == id.Name {
			return true
		}
	}
	return name == spec.ContainerName(id.Prefix, id.Name)
}
