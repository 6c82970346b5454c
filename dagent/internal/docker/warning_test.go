package docker_test

import (
	"context"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"fairlead.dev/dagent/internal/docker"
)

// limitless is an engine without control groups, as a rootless one often is.
type limitless struct{ *client.Client }

func (l limitless) ContainerCreate(ctx context.Context, config *container.Config, host *container.HostConfig, networking *network.NetworkingConfig, platform *ocispec.Platform, name string) (container.CreateResponse, error) {
	made, err := l.Client.ContainerCreate(ctx, config, host, networking, platform, name)
	made.Warnings = append(made.Warnings, "Your kernel does not support memory limit capabilities. Limitation discarded.")
	return made, err
}

// What an engine leaves out of what it was asked for is told.
func TestWhatTheEngineWarnsOfIsTold(t *testing.T) {
	t.Parallel()
	s := newSite(t, quick())
	s.driver = docker.New(limitless{s.engine}, quick())
	s.apply(s.release(1, web()))
	if story := s.story(); !strings.Contains(story, "warn instance-web") || !strings.Contains(story, "Limitation discarded") {
		t.Errorf("the story does not tell of it:\n%s", story)
	}
}
