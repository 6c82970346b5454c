package docker

import (
	"context"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/volume"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// ensureVolume makes a named volume. Volumes belong to prefix and name, not to
// a deployment: they outlive it, and a later one of the same name finds them.
func (a *applying) ensureVolume(ctx context.Context, name string, w spec.Workload) error {
	a.making.Lock()
	defer a.making.Unlock()
	found, err := a.engine.VolumeInspect(ctx, name)
	switch {
	case err == nil && found.Labels[labelManaged] != "true" && !a.isAdoptedVolume(name):
		return apperr.New(apperr.Conflict, "a volume named %s is already there and was not made by this agent; remove it, or rename the volume", name)
	case err == nil && (found.Driver != "local" || len(found.Options) > 0):
		return apperr.New(apperr.Unsupported,
			"volumes: the volume %s was made with a driver or options that may lead to the host; remove it, and the agent makes it without", name)
	case err == nil:
		return nil
	case !cerrdefs.IsNotFound(err):
		return engineError(err, "look at volume %s", name)
	}
	_, err = a.engine.VolumeCreate(ctx, volume.CreateOptions{Name: name, Labels: map[string]string{
		labelManaged: "true", labelNamespace: a.dep.Prefix, labelName: w.Name(),
	}})
	if err != nil {
		return engineError(err, "create volume %s", name)
	}
	return nil
}
