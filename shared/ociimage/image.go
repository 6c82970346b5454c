// Package ociimage builds container images from static binaries and files,
// without a container engine and without a network. The same inputs give the
// same bytes: entries are sorted, times are fixed and nothing about the
// building machine gets in.
//
// It is a module of its own so that the registry client it needs stays out of
// the dependencies of everything else that uses the shared module.
package ociimage

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// Spec says what is in an image and how it is started. The zero value of
// every field but Platform and Files is usable.
type Spec struct {
	// Platform is where the image runs, as os/architecture: "linux/amd64".
	Platform string
	// Files is everything in the image's file system. Parent folders are made.
	Files []File
	// Entrypoint is the program and its fixed arguments.
	Entrypoint []string
	// Cmd is the default for the arguments after Entrypoint.
	Cmd []string
	// Env holds KEY=value pairs.
	Env []string
	// Ports are the exposed ports as port/protocol; "8080" means "8080/tcp".
	Ports []string
	// Labels of the image, org.opencontainers.image.* among them.
	Labels map[string]string
	// User is the numeric uid, or uid:gid, that runs the entry point. There is
	// no /etc/passwd to look a name up in.
	User string
	// WorkingDir of the entry point; empty means /.
	WorkingDir string
	// Healthcheck, when not nil, lets the engine ask the container how it is.
	Healthcheck *Healthcheck
	// Created is when the image says it was made; the zero time means the Unix
	// epoch, so that an image depends on nothing but its content.
	Created time.Time
}

// Healthcheck is the image's own health probe.
type Healthcheck struct {
	// Command is run inside the container without a shell; exit code 0 is healthy.
	Command []string
	// Interval between probes, Timeout of one probe and StartPeriod, in which
	// failures do not count. Zero leaves the engine's default.
	Interval, Timeout, StartPeriod time.Duration
	// Retries is how many failures in a row make the container unhealthy.
	// Zero leaves the engine's default.
	Retries int
}

// Build makes the image. The error names the field that cannot be used.
func Build(spec Spec) (v1.Image, error) {
	platform, err := parsePlatform(spec.Platform)
	if err != nil {
		return nil, err
	}
	ports, err := exposedPorts(spec.Ports)
	if err != nil {
		return nil, err
	}
	for _, pair := range spec.Env {
		if key, _, found := strings.Cut(pair, "="); !found || key == "" {
			return nil, fmt.Errorf("env %q: must be KEY=value", pair)
		}
	}
	layer, err := newLayer(spec.Files)
	if err != nil {
		return nil, err
	}
	created := spec.Created
	if created.IsZero() {
		created = time.Unix(0, 0)
	}
	created = created.UTC().Truncate(time.Second)

	image, err := mutate.Append(empty.Image, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: created}, CreatedBy: "ociimage"},
	})
	if err != nil {
		return nil, fmt.Errorf("add the file layer: %w", err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read the image configuration: %w", err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Variant = platform.OS, platform.Architecture, platform.Variant
	file.Created = v1.Time{Time: created}
	file.Config = v1.Config{
		Entrypoint:   spec.Entrypoint,
		Cmd:          spec.Cmd,
		Env:          spec.Env,
		ExposedPorts: ports,
		Labels:       spec.Labels,
		User:         spec.User,
		WorkingDir:   spec.WorkingDir,
		Healthcheck:  spec.Healthcheck.config(),
	}
	image, err = mutate.ConfigFile(image, file)
	if err != nil {
		return nil, fmt.Errorf("set the image configuration: %w", err)
	}
	return image, nil
}

func (h *Healthcheck) config() *v1.HealthConfig {
	if h == nil {
		return nil
	}
	return &v1.HealthConfig{
		Test:        append([]string{"CMD"}, h.Command...),
		Interval:    h.Interval,
		Timeout:     h.Timeout,
		StartPeriod: h.StartPeriod,
		Retries:     h.Retries,
	}
}

func parsePlatform(text string) (*v1.Platform, error) {
	platform, err := v1.ParsePlatform(text)
	if err != nil {
		return nil, fmt.Errorf("platform %q: %w", text, err)
	}
	if platform.OS == "" || platform.Architecture == "" {
		return nil, fmt.Errorf("platform %q: must be os/architecture, like linux/amd64", text)
	}
	return platform, nil
}

func exposedPorts(ports []string) (map[string]struct{}, error) {
	if len(ports) == 0 {
		return nil, nil
	}
	exposed := make(map[string]struct{}, len(ports))
	for _, port := range ports {
		number, protocol, found := strings.Cut(port, "/")
		if !found {
			protocol = "tcp"
		}
		if n, err := strconv.ParseUint(number, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("port %q: must be 1 to 65535", port)
		}
		if !slices.Contains([]string{"tcp", "udp", "sctp"}, protocol) {
			return nil, fmt.Errorf("port %q: protocol must be tcp, udp or sctp", port)
		}
		exposed[number+"/"+protocol] = struct{}{}
	}
	return exposed, nil
}
