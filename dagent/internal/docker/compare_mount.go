package docker

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
)

// anonymous is how the engine names volumes that nobody has named.
var anonymous = regexp.MustCompile(`^[0-9a-f]{64}$`)

// mounted is what a container has mounted, one line each.
func mounted(seen container.InspectResponse, asked []mount.Mount) []string {
	var all []string
	for _, m := range seen.Mounts {
		var what string
		switch m.Type {
		case mount.TypeVolume:
			what = "volume " + m.Name
			if anonymous.MatchString(m.Name) {
				what = "volume"
			}
			if m.Driver != "" && m.Driver != "local" {
				what += " of driver " + m.Driver
			}
		case mount.TypeBind:
			what = "folder " + m.Source
			if m.Propagation != "" && m.Propagation != mount.PropagationRPrivate {
				what += " with propagation " + string(m.Propagation)
			}
		case mount.TypeTmpfs:
			what = "memory"
		default:
			what = string(m.Type)
		}
		all = append(all, mountLine(m.Destination, what, !m.RW, memoryAt(asked, m.Destination)))
	}
	slices.Sort(all)
	return all
}

// planned is what a container would have mounted.
func planned(b blueprint, ofImage map[string]struct{}) []string {
	var all []string
	asked := map[string]bool{}
	for _, m := range b.host.Mounts {
		what := map[mount.Type]string{mount.TypeVolume: "volume " + m.Source, mount.TypeBind: "folder " + m.Source, mount.TypeTmpfs: "memory"}[m.Type]
		asked[m.Target] = true
		all = append(all, mountLine(m.Target, strings.TrimSpace(what), m.ReadOnly, memoryAt(b.host.Mounts, m.Target)))
	}
	for target := range ofImage {
		if !asked[target] {
			all = append(all, mountLine(target, "volume", false, 0))
		}
	}
	slices.Sort(all)
	return all
}

func mountLine(target, what string, readOnly bool, size int64) string {
	line := target + ": " + what
	if size > 0 {
		line += fmt.Sprintf(" of %d bytes", size)
	}
	if readOnly {
		line += ", read only"
	}
	return line
}

// memoryAt is the limit of what is in memory at a place.
func memoryAt(list []mount.Mount, target string) int64 {
	for _, m := range list {
		if m.Target == target && m.TmpfsOptions != nil {
			return m.TmpfsOptions.SizeBytes
		}
	}
	return 0
}
