package docker

import (
	"context"
	"errors"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// create makes a container with its volumes and networks, and returns its id.
func (a *applying) create(ctx context.Context, b blueprint, name string, w spec.Workload) (string, error) {
	unlock, err := a.placeSecrets(ctx, &b, w)
	if err != nil {
		return "", err
	}
	defer unlock()
	if refused := a.permit(b); len(refused) > 0 {
		return "", errors.Join(refused...)
	}
	for _, v := range b.volumes {
		if err := a.ensureVolume(ctx, v, w); err != nil {
			return "", err
		}
	}
	if len(b.networks) > 0 {
		a.joining.RLock()
		defer a.joining.RUnlock()
	}
	for _, n := range b.networks {
		if err := a.ensureNetwork(ctx, n); err != nil {
			return "", err
		}
	}
	made, err := a.engine.ContainerCreate(ctx, b.config, b.host, b.networking(), nil, name)
	if cerrdefs.IsConflict(err) && a.discardLate(ctx, name) {
		made, err = a.engine.ContainerCreate(ctx, b.config, b.host, b.networking(), nil, name)
	}
	if err != nil {
		return "", engineError(err, "create container %s", name)
	}
	for _, warning := range made.Warnings {
		a.story.Warn(w.InstanceID, "the engine warns about %s: %s", name, warning) // such as of limits that it leaves out
	}
	for _, n := range b.networks[min(1, len(b.networks)):] {
		if err := a.engine.NetworkConnect(ctx, n, made.ID, b.endpoint(n)); err != nil {
			return "", engineError(err, "join container %s to network %s", name, n)
		}
	}
	return made.ID, a.joinRouted(ctx, b, name, made.ID)
}

// discardLate removes the container of a temporary name that an agent before this
// one asked for: it was killed, and the engine made the container after all had
// been put right.
func (a *applying) discardLate(ctx context.Context, name string) bool {
	seen, err := a.engine.ContainerInspect(ctx, name)
	if err != nil || !isManaged(seen) || seen.Config.Labels[labelNamespace] != a.dep.Prefix || seen.State.Status != container.StateCreated {
		return false
	}
	return a.discard(ctx, seen.ID) == nil
}

// ensureNetwork makes a bridge network if there is none of the name; one that
// is there is joined, whoever made it.
func (a *applying) ensureNetwork(ctx context.Context, name string) error {
	a.making.Lock()
	defer a.making.Unlock()
	found, err := a.networks(ctx, filters.Arg("name", name))
	if err != nil {
		return err
	}
	for _, n := range found {
		if n.Name == name && (n.Driver == "host" || n.Driver == "null") {
			return apperr.New(apperr.Unsupported, "networks: %s is no network of its own but the engine's %q; use networkMode", name, n.Driver)
		}
		if n.Name == name {
			return nil
		}
	}
	_, err = a.engine.NetworkCreate(ctx, name, network.CreateOptions{
		Driver: "bridge", Labels: map[string]string{
			labelManaged: "true", labelNamespace: a.dep.Prefix, labelDeployment: a.dep.ID,
		},
	})
	if err != nil {
		return engineError(err, "create network %s", name)
	}
	a.story.Info("", "created network %s", name)
	return nil
}

func (d *Driver) networks(ctx context.Context, args ...filters.KeyValuePair) ([]network.Summary, error) {
	found, err := d.engine.NetworkList(ctx, network.ListOptions{Filters: filters.NewArgs(args...)})
	if err != nil {
		return nil, engineError(err, "list the networks")
	}
	return found, nil
}

// pruneNetworks removes the networks made under a prefix that no container is
// joined to any more, whoever's it is.
func (d *Driver) pruneNetworks(ctx context.Context, prefix string) error {
	d.joining.Lock()
	defer d.joining.Unlock()
	found, err := d.networks(ctx, filters.Arg("label", labelManaged+"=true"), filters.Arg("label", labelNamespace+"="+prefix))
	if err != nil {
		return err
	}
	for _, n := range found {
		joined, err := d.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("network", n.ID))})
		if err != nil {
			return engineError(err, "list the containers of network %s", n.Name)
		}
		if len(joined) > 0 {
			continue
		}
		if err := d.engine.NetworkRemove(ctx, n.ID); err != nil && !cerrdefs.IsNotFound(err) {
			return engineError(err, "remove network %s", n.Name)
		}
	}
	return nil
}
