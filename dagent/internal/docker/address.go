package docker

import (
	"context"
	"slices"

	"github.com/docker/docker/api/types/network"

	"fairlead.dev/shared/spec"
)

// Names on networks. A container is found under its engine name, which moves
// from the old container to the new one with the renames of the switch: at once,
// and without a connection being touched. While it is brought up beside what
// serves, it must not be found under that name; when nothing serves, it must,
// because others that are brought up may need it. An alias does that: given
// at creation, and not to be had later without leaving the network.
//
// Where a workload has several containers its name is an alias of them all. One
// that is brought up beside others gets it when it is healthy, by leaving the
// network and joining it again; it serves nobody yet.
//
// Within a deployment workloads also know each other by their short names.
// Those are links, which the engine looks up anew each time.

// address sets under which names a container is found and finds others.
func (b *blueprint) address(dep spec.Deployment, s *slot) {
	if !s.beside {
		b.aliases = []string{spec.ContainerName(dep.Prefix, s.Name())}
	} else if len(b.networks) > 0 {
		b.config.Hostname = "" // the engine makes an alias of it
	}
	b.know(dep, s.Workload)
}

// know makes the other workloads of the deployment known by their short names,
// and the workload itself.
func (b *blueprint) know(dep spec.Deployment, w spec.Workload) {
	b.links = map[string][]string{}
	for _, n := range b.networks {
		for _, other := range dep.Workloads {
			if other.Name() == w.Name() || slices.Contains(words(other.Container.Networks), n) {
				b.links[n] = append(b.links[n], spec.ContainerName(dep.Prefix, other.Name())+":"+other.Name())
			}
		}
	}
}

// endpoint is how the container joins one of its networks.
func (b *blueprint) endpoint(name string) *network.EndpointSettings {
	return &network.EndpointSettings{Aliases: b.aliases, Links: b.links[name]}
}

// announce gives a container of a workload that has several the name of them
// all.
func (a *applying) announce(ctx context.Context, s *slot) error {
	if s.replica == 0 || !s.beside {
		return nil
	}
	s.blueprint.aliases = []string{spec.ContainerName(a.dep.Prefix, s.Name())}
	for _, n := range s.blueprint.networks {
		if err := a.engine.NetworkDisconnect(ctx, n, s.next, false); err != nil {
			return engineError(err, "take container %s off network %s to give it its name", s.base, n)
		}
		if err := a.engine.NetworkConnect(ctx, n, s.next, s.blueprint.endpoint(n)); err != nil {
			return engineError(err, "join container %s to network %s under its name", s.base, n)
		}
	}
	return nil
}
