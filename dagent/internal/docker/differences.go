package docker

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"

	"fairlead.dev/shared/spec"
)

// differences are the keys of the configuration in which a container on the
// engine differs from the one that takes its place, as the API calls them.
// Values are not told: they may be secrets. Environment that the image brings
// along cannot be told from what was asked for, so what is only there now is
// not counted.
func differences(b blueprint, seen container.InspectResponse, sameSpec bool) []string {
	if b.config == nil || seen.ContainerJSONBase == nil || seen.Config == nil || seen.HostConfig == nil {
		return nil
	}
	if sameSpec {
		return []string{"image"} // its tag moved; nothing else can differ
	}
	keys := map[string]bool{}
	differs := func(key string, a, b any) {
		if !reflect.DeepEqual(a, b) {
			keys[key] = true
		}
	}
	if imageName(seen.Config.Image) != imageName(b.config.Image) {
		keys["image"] = true
	}
	now := variables(seen.Config.Env)
	for key, value := range variables(b.config.Env) {
		if is, there := now[key]; !there || is != value {
			keys["environment."+key] = true
		}
	}
	if len(b.config.Entrypoint) > 0 {
		differs("commands", []string(b.config.Entrypoint), []string(seen.Config.Entrypoint))
	}
	if len(b.config.Cmd) > 0 {
		differs("args", []string(b.config.Cmd), []string(seen.Config.Cmd))
	}
	if b.config.User != "" {
		differs("user", b.config.User, seen.Config.User)
	}
	if b.config.WorkingDir != "" {
		differs("workingDirectory", b.config.WorkingDir, seen.Config.WorkingDir)
	}
	differs("tty", b.config.Tty, seen.Config.Tty)
	differs("ports", slices.Sorted(maps.Keys(bindings(b.host))), slices.Sorted(maps.Keys(bindings(seen.HostConfig))))
	differs("volumes", mounts(b.host), mounts(seen.HostConfig))
	differs("networkMode", b.host.NetworkMode, seen.HostConfig.NetworkMode)
	differs("restartPolicy", b.host.RestartPolicy.Name, seen.HostConfig.RestartPolicy.Name)
	differs("resourceConfig", quantities(b.host.Resources), quantities(seen.HostConfig.Resources))
	if b.host.LogConfig.Type != "" {
		differs("logConfig", b.host.LogConfig.Type, seen.HostConfig.LogConfig.Type)
	}
	if seen.NetworkSettings != nil && len(b.networks) > 0 {
		differs("networks", slices.Sorted(slices.Values(b.networks)), slices.Sorted(maps.Keys(seen.NetworkSettings.Networks)))
	}
	return slices.Sorted(maps.Keys(keys))
}

// imageName is a reference without its digest: what was asked for.
func imageName(text string) string {
	name, _, _ := strings.Cut(text, "@")
	return name
}

func variables(list []string) map[string]string {
	all := map[string]string{}
	for _, entry := range list {
		key, value, _ := strings.Cut(entry, "=")
		all[key] = value
	}
	return all
}

func bindings(host *container.HostConfig) map[string]bool {
	all := map[string]bool{}
	for port, list := range host.PortBindings {
		for _, b := range list {
			all[fmt.Sprintf("%s %s:%s", port, b.HostIP, b.HostPort)] = true
		}
	}
	return all
}

func mounts(host *container.HostConfig) []string {
	var all []string
	for _, m := range host.Mounts {
		all = append(all, fmt.Sprintf("%s %s %s %v", m.Type, m.Source, m.Target, m.ReadOnly))
	}
	slices.Sort(all)
	return all
}

func quantities(r container.Resources) [4]int64 {
	return [4]int64{r.NanoCPUs, r.Memory, r.CPUShares, r.MemoryReservation}
}

// remarks are what the plan tells of a workload besides: what has no effect,
// and what could not be found out.
func remarks(w spec.Workload, seen sight) []string {
	list, images := notes(w.Container), seen.images
	if seen.unlimited && asksForLimits(w.Container) {
		list = append(list, limitsNote)
	}
	if doubt := images[w.Image.Reference].doubt; doubt != nil {
		list = append(list, fmt.Sprintf("image: %v", doubt))
	}
	for _, other := range otherImages(w.Container) {
		if doubt := images[other].doubt; doubt != nil && other != w.Image.Reference {
			list = append(list, fmt.Sprintf("image %s: %v", other, doubt))
		}
	}
	return list
}
