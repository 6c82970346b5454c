package docker

import (
	"fmt"
	"strings"

	"github.com/docker/docker/api/types/mount"

	"fairlead.dev/shared/spec"
)

// volumeName is the engine's name of a volume. The separator cannot occur in a
// prefix or a name, so that no two workloads ever come to the same volume.
func volumeName(prefix, name, volume string) string {
	return prefix + "_" + name + "_" + volume
}

// mount adds the workload's volumes: named volumes, which outlive every
// container; host folders; memory; and anonymous volumes, which end with the
// container.
func (b *blueprint) mount(d spec.Deployment, w spec.Workload, p *problems) {
	for i, v := range w.Container.Volumes {
		field := fmt.Sprintf("volumes[%d]", i)
		if v.Type == spec.VolumeMemory {
			b.mountMemory(v, field, p)
			continue
		}
		if v.Type == spec.VolumeTemporary {
			if isHostPath(v.Name) {
				p.invalid(field+".type", "a host folder cannot be of type tmp")
				continue
			}
			b.host.Mounts = append(b.host.Mounts, mount.Mount{Type: mount.TypeVolume, Target: v.Path})
			continue
		}
		m := b.lasting(d, w, v, v.Path)
		if v.Type == spec.VolumeReadWriteOnce {
			b.exclusive = append(b.exclusive, m.Source)
		}
	}
}

func (b *blueprint) mountMemory(v spec.Volume, field string, p *problems) {
	if isHostPath(v.Name) {
		p.invalid(field+".type", "a host folder cannot be of type mem")
		return
	}
	m := mount.Mount{Type: mount.TypeTmpfs, Target: v.Path}
	if v.Size != "" {
		size, err := parseBytes(v.Size)
		if err != nil {
			p.invalid(field+".size", "%v", err)
			return
		}
		m.TmpfsOptions = &mount.TmpfsOptions{SizeBytes: size}
	}
	b.host.Mounts = append(b.host.Mounts, m)
}

// lasting mounts a named volume or a host folder at path.
func (b *blueprint) lasting(d spec.Deployment, w spec.Workload, v spec.Volume, path string) mount.Mount {
	m := mount.Mount{Type: mount.TypeBind, Source: v.Name, Target: path, ReadOnly: v.Type == spec.VolumeReadOnly}
	if !isHostPath(v.Name) {
		m.Type, m.Source = mount.TypeVolume, volumeName(d.Prefix, w.Name(), v.Name)
		b.volumes = append(b.volumes, m.Source)
	}
	b.host.Mounts = append(b.host.Mounts, m)
	return m
}

// link mounts volumes of the parent into its init container. A read-only
// volume is writable there: filling it is what an init container is for.
func (b *blueprint) link(d spec.Deployment, w spec.Workload, ic spec.InitContainer, p *problems) {
	for i, l := range ic.Volumes {
		field := fmt.Sprintf("initContainers.%s.volumes[%d].name", ic.Name, i)
		var found *spec.Volume
		for _, v := range w.Container.Volumes {
			if v.Name == l.Name {
				found = &v
			}
		}
		switch {
		case found == nil:
			p.invalid(field, "%q is not the name of one of the volumes", l.Name)
		case found.Type == spec.VolumeMemory || found.Type == spec.VolumeTemporary:
			p.unsupported(field, fmt.Sprintf("volume %q is of type %s and begins with its own container", l.Name, found.Type))
		default:
			v := *found
			if v.Type == spec.VolumeReadOnly && !isHostPath(v.Name) {
				v.Type = spec.VolumeReadWriteMany
			}
			b.lasting(d, w, v, l.Path)
		}
	}
}

// isHostPath reports whether a volume's name is a folder of the host.
func isHostPath(name string) bool { return strings.HasPrefix(name, "/") }
