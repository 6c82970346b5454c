package docker

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"

	"fairlead.dev/shared/apperr"
)

// Policy is what deployments may ask of this node's host. The zero value
// permits nothing that reaches it. There is no setting for privileged
// containers, devices, runtimes and the namespaces of others: no key of a
// configuration asks for them, and they are refused whoever asks.
type Policy struct {
	// HostPaths are the host folders that containers may mount, with all below
	// them. Folders of the system below one of them, and the engine's socket,
	// have to be named themselves.
	HostPaths []string
	// HostNetwork lets containers share the host's network.
	HostNetwork bool
	// Capabilities may be added beyond those that every container of the
	// engine has; "ALL" is all.
	Capabilities []string
	// LocalStorage lets volumes be filled from storages whose address is this
	// host's own or only on its link.
	LocalStorage bool
	// Private are the agent's own folders, which no container gets.
	Private []string
}

// permit decides what a container may have of its host. It looks at the final
// objects that the engine would get, and clears from a copy what it knows to
// be harmless: whatever is left over is refused, also what this version does
// not know. own is the folder of secret files that the agent made for the
// container itself, empty for none.
func (p Policy) permit(config *container.Config, host *container.HostConfig, networking *network.NetworkingConfig, own string) []error {
	r := refusal{}
	p.permitMounts(&r, host.Mounts, own)
	p.permitNetwork(&r, host.NetworkMode)
	p.permitCapabilities(&r, host.CapAdd)
	permitLog(&r, host.LogConfig)

	rest := *host
	rest.Mounts, rest.NetworkMode, rest.CapAdd, rest.LogConfig = nil, "", nil, container.LogConfig{}
	rest.CapDrop, rest.PortBindings, rest.RestartPolicy = nil, nil, container.RestartPolicy{}
	rest.NanoCPUs, rest.Memory, rest.MemoryReservation, rest.CPUShares = 0, 0, 0, 0
	r.leftOver("HostConfig", reflect.ValueOf(rest))

	about := *config
	about.Hostname, about.User, about.Tty, about.WorkingDir, about.Image = "", "", false, "", ""
	about.Env, about.Cmd, about.Entrypoint, about.Labels, about.ExposedPorts = nil, nil, nil, nil, nil
	about.Healthcheck, about.StopSignal, about.StopTimeout = nil, "", nil
	r.leftOver("Config", reflect.ValueOf(about))

	if networking != nil {
		for name, endpoint := range networking.EndpointsConfig {
			if endpoint != nil {
				rest := *endpoint
				rest.Aliases, rest.Links = nil, nil // names, looked up when they are used
				r.leftOver("EndpointsConfig["+name+"]", reflect.ValueOf(rest))
			}
		}
	}
	return r.errors
}

// refusal collects why a node does not let a container have something.
type refusal struct{ errors []error }

func (r *refusal) add(format string, args ...any) {
	r.errors = append(r.errors, apperr.New(apperr.Unsupported, format, args...))
}

// leftOver refuses every field that says something.
func (r *refusal) leftOver(path string, v reflect.Value) {
	for i := range v.NumField() {
		field, name := v.Field(i), v.Type().Field(i)
		switch {
		case name.Anonymous || field.Kind() == reflect.Struct:
			r.leftOver(path+"."+name.Name, field)
		case isSaid(field):
			r.add("%s.%s is not for containers of this agent", path, name.Name)
		}
	}
}

func isSaid(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() > 0
	default:
		return !v.IsZero()
	}
}

func (p Policy) permitMounts(r *refusal, mounts []mount.Mount, own string) {
	for _, m := range mounts {
		kind, volume, tmpfs := m.Type, m.VolumeOptions, m.TmpfsOptions
		m.Type, m.Source, m.Target, m.ReadOnly, m.TmpfsOptions = "", "", "", false, nil
		switch {
		case !reflect.ValueOf(m).IsZero() || volume != nil:
			r.add("volumes: options of the engine's mounts are not for containers of this agent")
		case kind == mount.TypeTmpfs && (tmpfs == nil || len(tmpfs.Options) == 0), kind == mount.TypeVolume, kind == mount.TypeBind:
		default:
			r.add("volumes: mounts of type %q are not for containers of this agent", kind)
		}
	}
	for _, m := range mounts {
		switch {
		case m.Type == mount.TypeBind && own != "" && m.Source == own && m.ReadOnly:
		case m.Type == mount.TypeBind:
			if err := p.permitFolder(m.Source); err != nil {
				r.errors = append(r.errors, err)
			}
		case m.Type == mount.TypeVolume && strings.ContainsAny(m.Source, `/\`):
			r.add("volumes: %q is not the name of a volume", m.Source)
		}
	}
}

// systemPaths are the host's own; what lies below them may be the agent's
// undoing. A folder that is permitted does not bring them along.
func systemPaths() []string {
	return []string{
		"/proc", "/sys", "/dev", "/etc", "/boot", "/run", "/var/run", "/root",
		"/run/docker.sock", "/var/run/docker.sock", "/run/docker", "/var/run/docker", "/run/containerd", "/var/run/containerd",
		"/run/podman", "/var/run/podman", "/run/user", "/run/systemd", "/run/dbus",
		"/var/lib/docker", "/var/lib/containerd", "/var/lib/containers",
	}
}

// permitFolder decides about a folder of the host.
func (p Policy) permitFolder(folder string) error {
	if p.isPrivate(folder) {
		return apperr.New(apperr.Unsupported, "volumes: the host folder %s is or holds the agent's own, which no container gets", folder)
	}
	// A spelling with "..", "." or "//" is none of an allowed folder.
	if strings.HasPrefix(folder, "/") && (path.Clean(folder) == folder || path.Clean(folder) == strings.TrimSuffix(folder, "/")) {
		folder = path.Clean(folder)
		for _, root := range p.HostPaths {
			if root = path.Clean(root); covers(root, folder) {
				return straight(root, folder)
			}
		}
	}
	return apperr.New(apperr.Unsupported,
		"volumes: this node does not let containers mount the host folder %s; its administrator can allow it with the agent's allow-host-paths setting", folder)
}

func (p Policy) isPrivate(folder string) bool {
	return slices.ContainsFunc(p.Private, func(private string) bool {
		return within(private, path.Clean(folder)) || within(path.Clean(folder), private)
	})
}

// covers reports whether allowing root allows folder.
func covers(root, folder string) bool {
	if root == folder {
		return true
	}
	return within(root, folder) && !slices.ContainsFunc(systemPaths(), func(s string) bool {
		return root != s && within(root, s) && (within(s, folder) || within(folder, s))
	})
}

// within reports whether folder is root or lies below it.
func within(root, folder string) bool {
	return folder == root || strings.HasPrefix(folder, strings.TrimSuffix(root, "/")+"/")
}

// straight refuses a folder below an allowed one that is reached over a symbolic
// link: whoever may write there could point it anywhere. The engine follows
// links, and does it anew at every start; so where the agent can't see the host,
// only the allowed folders themselves can be mounted.
func straight(root, folder string) error {
	for step := folder; step != root; step = path.Dir(step) {
		info, err := os.Lstat(step)
		switch {
		case err != nil:
			return apperr.Wrap(apperr.Unsupported, err,
				"volumes: the agent can't see the host folder %s, so it can't tell where it leads; mount %s into the agent's container or allow %s itself", folder, root, folder)
		case info.Mode()&fs.ModeSymlink != 0:
			return apperr.New(apperr.Unsupported, "volumes: the host folder %s is reached over the symbolic link %s; name the folder it leads to", folder, step)
		}
	}
	return nil
}

func (p Policy) permitNetwork(r *refusal, mode container.NetworkMode) {
	switch {
	case mode.IsHost() && !p.HostNetwork:
		r.add("networkMode: this node does not let containers share the host's network; its administrator can allow it with the agent's allow-host-network setting")
	case strings.Contains(string(mode), ":"):
		r.add("networkMode: %q is the network of something else on this node: name networks under networks", mode)
	}
}

func (p Policy) permitCapabilities(r *refusal, add []string) {
	for _, name := range add {
		name = capability(name)
		if slices.Contains(ordinaryCapabilities(), name) ||
			slices.ContainsFunc(p.Capabilities, func(allowed string) bool {
				return capability(allowed) == name || capability(allowed) == allCapabilities
			}) {
			continue
		}
		r.add("capabilities: this node does not let containers add %s; its administrator can allow it with the agent's allow-capabilities setting", name)
	}
}

// String says what is permitted, for the agent's log.
func (p Policy) String() string {
	return fmt.Sprintf("host paths %v, host network %t, capabilities %v, local storage %t", p.HostPaths, p.HostNetwork, p.Capabilities, p.LocalStorage)
}
