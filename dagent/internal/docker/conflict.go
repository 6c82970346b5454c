package docker

import (
	"fmt"

	"github.com/docker/go-connections/nat"
)

// conflicts reports whether a container that ends keeps a new one from
// starting.
func conflicts(name string, b blueprint, r *retiree) bool { return conflict(name, b, r) != "" }

// why says in the plan why a container must stop before its successor starts.
func why(s *slot, r *retiree) string {
	reason := conflict(s.Name(), s.blueprint, r)
	if r.name != s.Name() {
		reason += ", and " + s.base + " needs it"
	}
	return reason
}

// conflict says what a container that ends holds and a new one needs: a host
// port, or, being its predecessor, the host's network or a volume that only
// one may have. It is empty when there is nothing.
func conflict(name string, b blueprint, r *retiree) string {
	if r.seen.ContainerJSONBase == nil || r.seen.HostConfig == nil {
		return ""
	}
	if port, taken := sharedPort(b.host.PortBindings, r.seen.HostConfig.PortBindings); taken {
		return fmt.Sprintf("host port %s is published by %s", port, r.base)
	}
	if r.name != name {
		return ""
	}
	if b.host.NetworkMode.IsHost() && r.seen.HostConfig.NetworkMode.IsHost() {
		return fmt.Sprintf("%s is on the host's network", r.base)
	}
	if source := sharedVolume(b, r); source != "" {
		return fmt.Sprintf("volume %s may be mounted by one container at a time", source)
	}
	return ""
}

// sharedPort finds a port of the host that both publish.
func sharedPort(wanted, taken nat.PortMap) (port string, shared bool) {
	for inside, list := range wanted {
		for otherInside, others := range taken {
			if inside.Proto() != otherInside.Proto() {
				continue
			}
			for _, w := range list {
				for _, t := range others {
					// The least of several, so that a plan says the same each time.
					if text := w.HostPort + "/" + inside.Proto(); w.HostPort == t.HostPort && (!shared || text < port) {
						port, shared = text, true
					}
				}
			}
		}
	}
	return port, shared
}

// sharesVolume reports whether a container's predecessor has a volume that only
// one may have.
func sharesVolume(name string, b blueprint, r *retiree) bool {
	return r.name == name && sharedVolume(b, r) != ""
}

func sharedVolume(b blueprint, r *retiree) string {
	for _, source := range b.exclusive {
		for _, m := range r.seen.Mounts {
			if m.Name == source || m.Name == "" && m.Source == source {
				return source
			}
		}
	}
	return ""
}
