package docker_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
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

// rootless is an engine that runs without root and without control groups.
type rootless struct{ *client.Client }

func (r rootless) Info(ctx context.Context) (system.Info, error) {
	info, err := r.Client.Info(ctx)
	info.SecurityOptions = append(info.SecurityOptions, "name=rootless")
	info.CgroupDriver = "none"
	return info, err
}

// An engine that runs without root leaves limits out without a word, and gives
// containers other users than they see.
func TestWhatAnEngineWithoutRootCannotDoIsTold(t *testing.T) {
	t.Parallel()
	options := quick()
	options.Secrets, _, _ = vault(t)
	s := newSite(t, options)
	s.driver = docker.New(rootless{s.engine}, options)
	if failure := s.applyFails(s.release(1, web(token1))); !apperr.Is(failure, apperr.Unsupported) || !strings.Contains(failure.Error(), "without root") {
		t.Errorf("secrets as files: %v", failure)
	}
	limited := func(release int64) spec.Deployment {
		return s.release(release, web(func(c *spec.Container) {
			c.ResourceConfig = &spec.ResourceConfig{Limits: &spec.Resources{Memory: "64Mi"}}
		}), named("db"))
	}
	plan, err := s.driver.Plan(t.Context(), limited(2))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false} {
		notes := plan.Workloads[i].Notes
		if slices.ContainsFunc(notes, func(n string) bool { return strings.HasPrefix(n, "resourceConfig has no effect") }) != want {
			t.Errorf("the plan notes of workload %d %v, that it is not limited should be in it: %v", i, notes, want)
		}
	}
	s.apply(limited(2))
	if story := s.story(); !strings.Contains(story, "limits nothing") {
		t.Errorf("the story does not tell of it:\n%s", story)
	}
}
