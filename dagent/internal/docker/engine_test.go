package docker_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// images of this test run. Nothing listens on port 1, so the engine finds at
// once that their registry cannot be reached.
var (
	programImage = "127.0.0.1:1/fairlead-test-" + token() + ":1"
	healthImage  = "127.0.0.1:1/fairlead-test-" + token() + ":1"
	// The engine probes these first when the tests are long over.
	slowHealthImage  = "127.0.0.1:1/fairlead-test-" + token() + ":1"
	shellHealthImage = "127.0.0.1:1/fairlead-test-" + token() + ":1"
)

// programFile is the test program once it is compiled.
var programFile atomic.Pointer[string]

const missingImage = "127.0.0.1:1/fairlead-test/missing:1"

var loadImages = sync.OnceValue(func() error {
	engine, err := docker.Connect("")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := engine.Ping(ctx); err != nil {
		return fmt.Errorf("these tests need a running Docker Engine, start one or set DOCKER_HOST: %w", err)
	}
	return errors.Join(importImages(ctx, engine), engine.Close())
})

// archive is the test program as a file system.
var archive = sync.OnceValues(programArchive)

// importImages puts the test images on an engine.
func importImages(ctx context.Context, engine *client.Client) error {
	archive, err := archive()
	if err != nil {
		return err
	}
	for reference, changes := range map[string][]string{
		programImage: {`ENTRYPOINT ["/program"]`},
		healthImage: {
			`ENTRYPOINT ["/program"]`,
			`HEALTHCHECK --interval=100ms --timeout=5s --retries=2 CMD ["/program", "health"]`,
		},
		slowHealthImage: {
			`ENTRYPOINT ["/program"]`,
			`HEALTHCHECK --interval=1h --timeout=2s CMD ["/program", "health"]`,
		},
		shellHealthImage: {
			`ENTRYPOINT ["/program"]`,
			`HEALTHCHECK --interval=1h CMD /program health`,
		},
	} {
		source := image.ImportSource{Source: bytes.NewReader(archive), SourceName: "-"}
		stream, err := engine.ImageImport(ctx, source, reference, image.ImportOptions{Changes: changes})
		if err != nil {
			return fmt.Errorf("import the test image: %w", err)
		}
		_, err = io.Copy(io.Discard, stream)
		if err := errors.Join(err, stream.Close()); err != nil {
			return err
		}
	}
	return nil
}

// programArchive compiles the test program and packs it as a file system, in
// which it also is the shell.
func programArchive() ([]byte, error) {
	folder, err := os.MkdirTemp("", "program")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(folder, "program")
	programFile.Store(&file)
	build := exec.Command("go", "build", "-trimpath", "-o", file, "./testdata/program")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the test program: %w\n%s", err, out)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	archive := tar.NewWriter(&packed)
	if err := archive.WriteHeader(&tar.Header{Name: "program", Mode: 0o755, Size: int64(len(content))}); err != nil {
		return nil, err
	}
	if _, err := archive.Write(content); err != nil {
		return nil, err
	}
	shell := &tar.Header{Name: "bin/sh", Typeflag: tar.TypeSymlink, Linkname: "/program", Mode: 0o777}
	if err := archive.WriteHeader(shell); err != nil {
		return nil, err
	}
	return packed.Bytes(), archive.Close()
}

func TestMain(m *testing.M) {
	if file := os.Getenv(applyFile); file != "" {
		if err := applyInProcess(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if file := programFile.Load(); file != nil {
		_ = os.RemoveAll(filepath.Dir(*file))
	}
	if engine, err := docker.Connect(""); err == nil {
		for _, reference := range []string{programImage, healthImage, slowHealthImage, shellHealthImage} {
			_, _ = engine.ImageRemove(context.Background(), reference, image.RemoveOptions{Force: true})
		}
	}
	os.Exit(code)
}

// connect returns a client of the engine, on which the test images are.
func connect(t testing.TB) *client.Client {
	t.Helper()
	if testing.Short() {
		t.Skip("not with -short: these tests start containers for minutes; make test runs them all")
	}
	if err := loadImages(); err != nil {
		t.Fatal(err)
	}
	engine, err := docker.Connect("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	return engine
}

// quick makes waits short: the test program is ready as soon as it runs.
func quick() docker.Options {
	return docker.Options{
		StabilityWindow: 400 * time.Millisecond,
		HealthTimeout:   30 * time.Second,
		StopGrace:       2 * time.Second,
	}
}

// addForeign runs a container that the driver did not make.
func addForeign(t *testing.T, engine *client.Client, name string, ports ...string) {
	t.Helper()
	config, host := &container.Config{Image: programImage}, &container.HostConfig{}
	publish(t, config, host, ports...)
	made, err := engine.ContainerCreate(t.Context(), config, host, nil, nil, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = engine.ContainerRemove(context.WithoutCancel(t.Context()), made.ID, container.RemoveOptions{Force: true})
	})
	if err := engine.ContainerStart(t.Context(), made.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
}

// site is a deployment of one test.
type site struct {
	testing.TB
	engine *client.Client
	driver *docker.Driver
	id     string
	prefix string

	// onEvent is called with each event, when it is set.
	onEvent func(workload.Event)

	mu     sync.Mutex
	events []workload.Event
}

func newSite(t testing.TB, options docker.Options) *site {
	t.Helper()
	engine := connect(t)
	name := "t" + token()
	s := &site{TB: t, engine: engine, driver: docker.New(engine, options), id: "deployment-" + name, prefix: name}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		if err := docker.New(engine, quick()).Remove(ctx, s.prefix, workload.ReporterFunc(func(workload.Event) {})); err != nil {
			t.Errorf("clean up: %v", err)
		}
		s.removeVolumes(ctx)
	})
	return s
}

func (s *site) removeVolumes(ctx context.Context) {
	for _, v := range s.volumes(ctx) {
		if err := s.engine.VolumeRemove(ctx, v, true); err != nil {
			s.Errorf("clean up: %v", err)
		}
	}
}

func (s *site) Report(e workload.Event) {
	if s.onEvent != nil {
		s.onEvent(e)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

type change func(*spec.Container)

func greet(text string) change {
	return func(c *spec.Container) {
		c.Environment = append(c.Environment, spec.KeyValue{Key: "GREETING", Value: text})
	}
}

func args(words ...string) change {
	return func(c *spec.Container) { c.Args = keys(words...) }
}

func keys(words ...string) (list []spec.Key) {
	for _, word := range words {
		list = append(list, spec.Key{Key: word})
	}
	return list
}

func web(changes ...change) spec.Workload { return named("web", changes...) }

func named(name string, changes ...change) spec.Workload {
	c := spec.Container{Name: &name}
	for _, change := range changes {
		change(&c)
	}
	return spec.Workload{InstanceID: "instance-" + name, Image: spec.Image{Reference: programImage}, Container: c}
}

func (s *site) release(number int64, workloads ...spec.Workload) spec.Deployment {
	s.Helper()
	d := spec.Normalize(spec.Deployment{ID: s.id, Prefix: s.prefix, Release: number, Workloads: workloads})
	if err := spec.Validate(d).Err(); err != nil {
		s.Fatalf("the test made an invalid deployment: %v", err)
	}
	for i, w := range d.Workloads {
		d.Workloads[i].Hash = spec.Hash(w)
	}
	return d
}

func (s *site) apply(d spec.Deployment) {
	s.Helper()
	if err := s.driver.Apply(s.Context(), d, s); err != nil {
		s.Fatalf("Apply %s: %v\nevents: %s", d, err, s.story())
	}
}

func (s *site) applyFails(d spec.Deployment) *workload.Failure {
	s.Helper()
	err := s.driver.Apply(s.Context(), d, s)
	var failure *workload.Failure
	if !errors.As(err, &failure) {
		s.Fatalf("Apply %s: %v, want a failure card", d, err)
	}
	return failure
}

func (s *site) story() (text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		text += fmt.Sprintf("%s %s %v %s\n", e.Level, e.InstanceID, e.Lines, e.State)
	}
	return text
}

// containers returns the containers under the prefix by their names.
func (s *site) containers() map[string]workload.Container {
	s.Helper()
	list, err := s.driver.List(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	found := map[string]workload.Container{}
	for _, c := range list {
		if c.Managed && c.ID.Prefix == s.prefix {
			found[c.ID.Name] = c
		}
	}
	return found
}

func (s *site) inspect(name string) container.InspectResponse {
	s.Helper()
	seen, err := s.engine.ContainerInspect(s.Context(), spec.ContainerName(s.prefix, name))
	if err != nil {
		s.Fatal(err)
	}
	return seen
}

func token() string {
	raw := make([]byte, 4)
	_, _ = rand.Read(raw) // never fails
	return hex.EncodeToString(raw)
}
