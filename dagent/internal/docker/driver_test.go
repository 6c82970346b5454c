package docker_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"github.com/docker/docker/api/types/image"
	"io"
	"net"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/go-connections/nat"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
	"fairlead.dev/shared/workload/workloadtest"
)

func TestDriverKeepsTheContract(t *testing.T) {
	workloadtest.Run(t, func(t *testing.T) workloadtest.Subject {
		t.Helper()
		engine := connect(t)
		return workloadtest.Subject{
			Driver:       docker.New(engine, quick()),
			Image:        programImage,
			Program:      "/program",
			MissingImage: missingImage,
			Unsupported: func(c *spec.Container) string {
				c.Routing = &spec.Routing{Domain: "web.test"}
				return "routing"
			},
			AddForeign: func(t *testing.T, name string) {
				t.Helper()
				addForeign(t, engine, name)
			},
		}
	})
}

// publish adds published TCP ports, "host:container".
func publish(t *testing.T, config *container.Config, host *container.HostConfig, ports ...string) {
	t.Helper()
	exposed, bindings, err := nat.ParsePortSpecs(ports)
	if err != nil {
		t.Fatal(err)
	}
	config.ExposedPorts, host.PortBindings = exposed, bindings
}

// freePort returns a port that nothing listens on.
func freePort(t *testing.T) int32 {
	t.Helper()
	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return int32(listener.Addr().(*net.TCPAddr).Port)
}

func publishes(port int32) change {
	return func(c *spec.Container) { c.Ports = []spec.Port{{Internal: 80, External: &port}} }
}

func mapping(port int32) string { return fmt.Sprintf("%d:80", port) }

// volumes are the named volumes of the deployment.
func (s *site) volumes(ctx context.Context) (names []string) {
	s.Helper()
	found, err := s.engine.VolumeList(ctx, volume.ListOptions{Filters: filters.NewArgs(filters.Arg("label", "dev.fairlead.prefix="+s.prefix))})
	if err != nil {
		s.Fatal(err)
	}
	for _, v := range found.Volumes {
		names = append(names, v.Name)
	}
	return names
}

// makeForeignVolume makes a volume that the driver did not make.
func (s *site) makeForeignVolume(name string) {
	s.Helper()
	if _, err := s.engine.VolumeCreate(s.Context(), volume.CreateOptions{Name: name}); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := s.engine.VolumeRemove(context.WithoutCancel(s.Context()), name, true); err != nil {
			s.Errorf("clean up: %v", err)
		}
	})
}

// log returns what a container has written to standard output and error.
func (s *site) log(name string) (lines []string) {
	s.Helper()
	err := s.driver.Logs(s.Context(), workload.ContainerID{Prefix: s.prefix, Name: name}, workload.LogOptions{Tail: -1},
		func(l workload.LogLine) error { lines = append(lines, l.Text); return nil })
	if err != nil {
		s.Fatal(err)
	}
	return lines
}

// imageWith makes an image that holds one file.
func (s *site) imageWith(name, content string) string {
	s.Helper()
	return s.imageOf(tar.Header{Name: name}, content)
}

// imageWithLink is like imageWith with a link beside the file.
func (s *site) imageWithLink(link, target, name, content string) string {
	s.Helper()
	return s.imageOf(tar.Header{Name: name}, content, tar.Header{Name: link, Typeflag: tar.TypeSymlink, Linkname: target})
}

func (s *site) imageOf(file tar.Header, content string, more ...tar.Header) string {
	s.Helper()
	var packed bytes.Buffer
	archive := tar.NewWriter(&packed)
	file.Mode, file.Size = 0o644, int64(len(content))
	err := archive.WriteHeader(&file)
	if err == nil {
		_, err = archive.Write([]byte(content))
	}
	for _, header := range more {
		err = errors.Join(err, archive.WriteHeader(&header))
	}
	reference := "127.0.0.1:1/fairlead-test-" + token() + ":1"
	if err == nil {
		err = archive.Close()
	}
	var stream io.ReadCloser
	if err == nil {
		stream, err = s.engine.ImageImport(s.Context(), image.ImportSource{Source: &packed, SourceName: "-"}, reference, image.ImportOptions{})
	}
	if err == nil {
		_, err = io.Copy(io.Discard, stream)
	}
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		_, _ = s.engine.ImageRemove(context.WithoutCancel(s.Context()), reference, image.RemoveOptions{Force: true})
	})
	return reference
}
