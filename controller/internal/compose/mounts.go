package compose

import (
	"path"
	"strings"

	"fairlead.dev/shared/spec"
)

// mounts converts volumes and tmpfs.
func (c *conversion) mounts(s *section, service string, to *spec.Container) {
	shared := spec.VolumeReadWriteOnce
	if to.Replicas != nil && *to.Replicas > 1 {
		shared = spec.VolumeReadWriteMany
	}
	list, _ := s.take("volumes")
	all, _ := list.([]any)
	for i, item := range all {
		m := open(c.report, pointer(s.at("volumes"), i), item)
		v := spec.Volume{Path: target(m.text("target")), Type: shared}
		source, kind := m.text("source"), m.text("type")
		if readOnly, _ := m.flag("read_only"); readOnly {
			v.Type = spec.VolumeReadOnly
		}
		switch kind {
		case "volume":
			v.Name = source
			if source == "" {
				v.Name = nameOf(v.Path)
				c.note(m.path, "a volume without a name is called %q, and is kept", v.Name)
			} else if other, taken := c.volumes[source]; taken && other != service {
				c.refuse(m.path, "the volume %q is the service %s's too, and volumes belong to one container: each has its own", source, other)
			} else {
				c.volumes[source] = service
			}
			m.inner("volume").close(noCounterpart)
		case "bind":
			v.Name = source
			if !strings.HasPrefix(source, "/") {
				c.refuse(m.path, "%q is beside the Compose file, and a node has no such folder: name an absolute path", source)
				continue
			}
			c.note(m.path, "a folder of the host, which the node's policy must allow")
			b := m.inner("bind")
			b.only("create_host_path", "true")
			b.close(noCounterpart)
		case "tmpfs":
			v.Name, v.Type = nameOf(v.Path), spec.VolumeMemory
			t := m.inner("tmpfs")
			c.quantity(t, "size", &v.Size, memory)
			t.close(noCounterpart)
		default:
			c.refuse(m.path, "mounts of the type %q are not supported", kind)
			continue
		}
		m.close(noCounterpart)
		c.mount(m.path, v, to)
	}
	entries, _ := s.take("tmpfs")
	for i, written := range texts(entries) {
		where, options, _ := strings.Cut(written, ":")
		v := spec.Volume{Path: target(where), Type: spec.VolumeMemory}
		v.Name = nameOf(v.Path)
		at := pointer(s.at("tmpfs"), i)
		for _, option := range strings.Split(options, ",") {
			size, found := strings.CutPrefix(option, "size=")
			q, err := memory(size)
			switch {
			case found && err == nil:
				v.Size = q
			case option != "" && option != "rw":
				c.refuse(at, "the option %q has no counterpart", option)
			}
		}
		c.mount(at, v, to)
	}
}

// mount adds a volume that has neither the name nor the path of another one.
func (c *conversion) mount(at string, v spec.Volume, to *spec.Container) {
	for _, other := range to.Volumes {
		if other.Name == v.Name || other.Path == v.Path {
			c.refuse(at, "%s is mounted at %s already", other.Name, other.Path)
			return
		}
	}
	v.ID = id(len(to.Volumes))
	to.Volumes = append(to.Volumes, v)
}

func target(written string) string {
	if written == "" {
		return ""
	}
	return path.Clean(written)
}

// nameOf names a volume by where it is mounted.
func nameOf(target string) string {
	if name := label(target); name != "" {
		return name
	}
	return "root"
}

// attach converts networks and network_mode.
func (c *conversion) attach(s *section, service string, to *spec.Container) {
	if mode := s.text("network_mode"); mode != "" {
		m := spec.NetworkMode(mode)
		switch m {
		case spec.NetworkHost, spec.NetworkNone, spec.NetworkBridge:
			to.NetworkMode = &m
			if m == spec.NetworkHost {
				c.note(s.at("network_mode"), "the host's network, which the node's policy must allow")
			}
		default:
			c.refuse(s.at("network_mode"), "%q is not supported: the container gets the project's network", mode)
			to.Networks = []spec.Key{{ID: id(0), Key: c.networks["default"]}}
		}
		if _, said := s.take("networks"); said {
			c.refuse(s.at("networks"), "contradicts network_mode")
		}
		return
	}
	list := s.inner("networks")
	for _, key := range keys(list.values) {
		n := list.inner(key)
		aliases, _ := n.take("aliases")
		for i, alias := range texts(aliases) {
			if alias != service {
				c.refuse(pointer(n.at("aliases"), i), "a container is reached by the name of its service alone")
			}
		}
		n.close(noCounterpart)
		name, known := c.networks[key]
		if !known {
			c.refuse(n.path, "the file has no network %q", key)
			continue
		}
		to.Networks = append(to.Networks, spec.Key{ID: id(len(to.Networks)), Key: name})
	}
	if len(to.Networks) == 0 {
		to.Networks = []spec.Key{{ID: id(0), Key: c.networks["default"]}}
	}
}
