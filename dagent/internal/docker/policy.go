package docker

import (
	"path"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	"fairlead.dev/shared/apperr"
)

// permit decides what a container may have of the host. It looks at the final
// object that the engine would get, so that no way of asking goes round it.
func permit(host *container.HostConfig, allowHostPaths []string) []error {
	var refused []error
	for _, m := range host.Mounts {
		if m.Type == mount.TypeBind && !allowed(m.Source, allowHostPaths) {
			refused = append(refused, apperr.New(apperr.Unsupported,
				"volumes: this node does not let containers mount the host folder %s; its administrator can allow it with the agent's allowHostPaths setting", m.Source))
		}
	}
	if len(host.Binds) > 0 || len(host.VolumesFrom) > 0 {
		refused = append(refused, apperr.New(apperr.Unsupported, "volumes: only mounts are allowed"))
	}
	if host.Privileged || host.PidMode.IsHost() || host.IpcMode.IsHost() || host.UsernsMode.IsHost() || host.UTSMode.IsHost() ||
		host.NetworkMode.IsContainer() || len(host.Devices)+len(host.CapAdd)+len(host.SecurityOpt) > 0 {
		refused = append(refused, apperr.New(apperr.Unsupported, "containers get no privileges on this node"))
	}
	return refused
}

// allowed reports whether a host folder is one of the roots or below one.
func allowed(folder string, roots []string) bool {
	folder = path.Clean(folder)
	for _, root := range roots {
		root = path.Clean(root)
		if folder == root || strings.HasPrefix(folder, strings.TrimSuffix(root, "/")+"/") {
			return true
		}
	}
	return false
}
