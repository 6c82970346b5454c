package selfupdate

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/pkg/stdcopy"

	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/apperr"
)

// candidate returns what the new container is made of: what the own one was
// given, without what it has from its image, since the new image brings its own.
func candidate(own container.InspectResponse, old image.InspectResponse, reference string, b agentrt.Build) (*container.Config, *container.HostConfig, *network.NetworkingConfig) {
	config := *own.Config
	config.Image = reference
	config.Hostname, config.Domainname = "", "" // a network of its own names it after itself
	if from := old.Config; from != nil {
		config.Env = slices.DeleteFunc(slices.Clone(config.Env), func(e string) bool { return slices.Contains(from.Env, e) })
		if slices.Equal(config.Entrypoint, from.Entrypoint) {
			config.Entrypoint = nil
		}
		if slices.Equal(config.Cmd, from.Cmd) {
			config.Cmd = nil
		}
		if config.WorkingDir == from.WorkingDir {
			config.WorkingDir = ""
		}
		if config.User == from.User {
			config.User = ""
		}
		config.ExposedPorts, config.Volumes, config.Healthcheck = nil, nil, nil
	}
	config.Env = slices.DeleteFunc(slices.Clone(config.Env), func(e string) bool { return strings.HasPrefix(e, EnvUpdateID+"=") })
	config.Env = append(config.Env, EnvUpdateID+"="+b.ID)
	config.Labels = maps.Clone(own.Config.Labels)
	if config.Labels == nil {
		config.Labels = map[string]string{}
	}
	config.Labels[labelUpdate] = b.ID
	config.Labels[labelArtifact] = strings.TrimPrefix(b.Digest, "sha256:")

	host := *own.HostConfig
	host.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyDisabled}
	host.ContainerIDFile = ""

	networks := &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{}}
	if host.NetworkMode.IsUserDefined() && own.NetworkSettings != nil {
		for name, endpoint := range own.NetworkSettings.Networks {
			networks.EndpointsConfig[name] = &network.EndpointSettings{Links: endpoint.Links, DriverOpts: endpoint.DriverOpts}
		}
	}
	return &config, &host, networks
}

// tagIn returns the name that the image in an archive is loaded under.
func tagIn(archive string) (string, error) {
	broken := apperr.New(apperr.Invalid, "the new agent's archive is not one of an image")
	file, err := os.Open(archive)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }() // only read from
	entries := tar.NewReader(file)
	for {
		entry, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return "", broken
		}
		if err != nil {
			return "", apperr.Wrap(apperr.Invalid, err, "the new agent's archive is broken")
		}
		if entry.Name != "manifest.json" {
			continue
		}
		var images []struct{ RepoTags []string }
		const maxManifest = 1 << 20
		if err := json.NewDecoder(io.LimitReader(entries, maxManifest)).Decode(&images); err != nil {
			return "", apperr.Wrap(apperr.Invalid, err, "the new agent's archive is broken")
		}
		if len(images) != 1 || len(images[0].RepoTags) != 1 {
			return "", broken
		}
		return images[0].RepoTags[0], nil
	}
}

// demultiplex returns the text of a container's log, on one line and without
// what could play with a terminal.
func demultiplex(log io.Reader) string {
	var text strings.Builder
	_, _ = stdcopy.StdCopy(&text, &text, io.LimitReader(log, maxWords)) // what came of it
	plain := strings.Map(func(c rune) rune {
		if c == '\n' || unicode.IsPrint(c) {
			return c
		}
		return -1
	}, text.String())
	return strings.Join(strings.FieldsFunc(plain, func(c rune) bool { return c == '\n' }), " | ")
}
