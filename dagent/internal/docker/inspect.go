package docker

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// hidden stands in place of what may be a secret.
const hidden = "(hidden)"

// maxProbesInspected is how many of the last health probes Inspect tells of.
const maxProbesInspected = 3

// Inspect returns what the engine knows of a container as the engine's own
// JSON, with secrets taken out.
func (d *Driver) Inspect(ctx context.Context, id workload.ContainerID) ([]byte, error) {
	seen, err := d.find(ctx, id)
	if err != nil {
		return nil, err
	}
	name := spec.ContainerName(id.Prefix, id.Name)
	if !bears(seen, id) {
		return nil, apperr.New(apperr.NotFound, "inspect container %s: there is none of that name", name)
	}
	redact(&seen)
	text, err := json.Marshal(seen)
	if err != nil {
		return nil, fmt.Errorf("inspect container %s: %w", name, err)
	}
	return text, nil
}

// redact takes out of an inspection what may be a secret: the values of
// variables, of the options of drivers for logs, volumes and networks, and of
// labels that are called like one.
func redact(seen *container.InspectResponse) {
	if c := seen.Config; c != nil {
		for i, variable := range c.Env {
			name, _, _ := strings.Cut(variable, "=")
			c.Env[i] = name + "=" + hidden
		}
		for label := range c.Labels {
			if secretName.MatchString(label) {
				c.Labels[label] = hidden
			}
		}
	}
	if base := seen.ContainerJSONBase; base != nil {
		redactHost(base.HostConfig)
		if base.State != nil && base.State.Health != nil {
			log := base.State.Health.Log
			base.State.Health.Log = log[max(0, len(log)-maxProbesInspected):]
		}
	}
	if seen.NetworkSettings != nil {
		for _, endpoint := range seen.NetworkSettings.Networks {
			if endpoint != nil {
				hideValues(endpoint.DriverOpts)
			}
		}
	}
}

// secretName matches names of labels whose values are better not shown, such as
// the users of a proxy's password check.
var secretName = regexp.MustCompile(`(?i)passw|secret|token|credential|private|apikey|api[-_.]key|auth|users$`)

func redactHost(host *container.HostConfig) {
	if host == nil {
		return
	}
	hideValues(host.LogConfig.Config)
	hideValues(host.StorageOpt)
	for _, m := range host.Mounts {
		redactVolume(m.VolumeOptions)
	}
}

func redactVolume(options *mount.VolumeOptions) {
	if options != nil && options.DriverConfig != nil {
		hideValues(options.DriverConfig.Options)
	}
}

func hideValues(m map[string]string) {
	for key := range maps.Keys(m) {
		m[key] = hidden
	}
}
