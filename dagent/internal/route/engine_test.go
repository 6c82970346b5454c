package route_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/dagent/internal/route"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Images of this test run. Nothing listens on port 1, so the engine finds at
// once that their registry cannot be reached.
var (
	serverImage = "127.0.0.1:1/fairlead-test-" + token() + ":1"
	edgeImage   = "127.0.0.1:1/fairlead-test-" + token() + ":1"
)

var loadImages = sync.OnceValue(func() error {
	engine, err := docker.Connect("")
	if err != nil {
		return err
	}
	defer func() { _ = engine.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if _, err := engine.Ping(ctx); err != nil {
		return fmt.Errorf("these tests need a running Docker Engine, start one or set DOCKER_HOST: %w", err)
	}
	if err := importProgram(ctx, engine, serverImage, ".", "./testdata/server"); err != nil {
		return err
	}
	return importProgram(ctx, engine, edgeImage, "../../../edge", "./cmd/edge")
})

// importProgram compiles a program and makes an image that holds nothing else.
func importProgram(ctx context.Context, engine *client.Client, reference, dir, pkg string) error {
	folder, err := os.MkdirTemp("", "program")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	file := filepath.Join(folder, "program")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, pkg)
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	archive := tar.NewWriter(&packed)
	if err := archive.WriteHeader(&tar.Header{Name: "program", Mode: 0o755, Size: int64(len(content))}); err != nil {
		return err
	}
	if _, err := archive.Write(content); err != nil {
		return err
	}
	if err := archive.Close(); err != nil {
		return err
	}
	stream, err := engine.ImageImport(ctx, image.ImportSource{Source: &packed, SourceName: "-"}, reference,
		image.ImportOptions{Changes: []string{`ENTRYPOINT ["/program"]`}})
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, stream)
	return errors.Join(err, stream.Close())
}

func TestMain(m *testing.M) {
	code := m.Run()
	if engine, err := docker.Connect(""); err == nil {
		for _, reference := range []string{serverImage, edgeImage} {
			_, _ = engine.ImageRemove(context.Background(), reference, image.RemoveOptions{Force: true})
		}
	}
	os.Exit(code)
}

// node is an engine with a driver that routes.
type node struct {
	testing.TB
	engine      *client.Client
	driver      *docker.Driver
	edge        *route.Edge
	options     route.Options
	http, https int
	prefix      string
	mu          sync.Mutex
	story       strings.Builder
}

func newNode(t testing.TB, change func(*route.Options)) *node {
	t.Helper()
	if testing.Short() {
		t.Skip("not with -short: these tests start containers and build the edge; make test runs them all")
	}
	if err := loadImages(); err != nil {
		t.Fatal(err)
	}
	engine, err := docker.Connect("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	n := &node{TB: t, engine: engine, http: freePort(t), https: freePort(t), prefix: "t" + token()}
	n.options = route.Options{
		StateDir: t.TempDir(), HTTPPort: n.http, HTTPSPort: n.https, Image: edgeImage, DrainTime: 20 * time.Second,
	}
	if change != nil {
		change(&n.options)
	}
	n.start()
	t.Cleanup(n.clean)
	return n
}

// start makes driver and router anew, as an agent that starts does.
func (n *node) start() {
	n.edge = route.NewEdge(n.engine, n.options)
	n.useRouter(n.edge)
}

// useRouter makes the driver anew.
func (n *node) useRouter(router docker.Router) {
	n.driver = docker.New(n.engine, docker.Options{
		StabilityWindow: 300 * time.Millisecond, HealthTimeout: 60 * time.Second, StopGrace: 2 * time.Second, Router: router,
	})
}

func (n *node) clean() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(n.Context()), 2*time.Minute)
	defer cancel()
	if n.Failed() {
		n.Logf("the edge wrote:\n%s\nstory:\n%s", n.edgeLog(ctx), n.story.String())
	}
	for _, prefix := range []string{n.prefix, n.prefix + "b"} {
		if err := n.driver.Remove(ctx, prefix, n); err != nil {
			n.Errorf("clean up: %v", err)
		}
	}
	if err := n.edge.Tidy(ctx); err != nil {
		n.Errorf("clean up: %v", err)
	}
	if name, there := n.edgeContainer(ctx); there {
		n.Errorf("the edge %s is there though nothing asks for routes", name)
		_ = n.engine.ContainerRemove(ctx, name, container.RemoveOptions{Force: true})
	}
	// The edge's files are another user's.
	_ = os.RemoveAll(n.options.StateDir)
}

func (n *node) edgeContainer(ctx context.Context) (name string, there bool) {
	list, err := n.engine.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		n.Fatal(err)
	}
	for _, c := range list {
		if c.Labels["dev.fairlead.edge"] == filepath.Join(n.options.StateDir, "edge") {
			return strings.TrimPrefix(c.Names[0], "/"), true
		}
	}
	return "", false
}

func (n *node) edgeLog(ctx context.Context) string {
	name, there := n.edgeContainer(ctx)
	if !there {
		return "(there is none)"
	}
	stream, err := n.engine.ContainerLogs(ctx, name, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: "40"})
	if err != nil {
		return err.Error()
	}
	defer func() { _ = stream.Close() }()
	text, _ := io.ReadAll(stream)
	return string(text)
}

// Report keeps the story for a test that fails.
func (n *node) Report(e workload.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprintf(&n.story, "%s %s %v\n", e.Level, e.InstanceID, e.Lines)
}

// web is a routed deployment of one container.
func (n *node) web(release int64, domain string, changes ...func(*spec.Container)) spec.Deployment {
	n.Helper()
	return n.deployment(n.prefix, release, domain, changes...)
}

func (n *node) deployment(prefix string, release int64, domain string, changes ...func(*spec.Container)) spec.Deployment {
	n.Helper()
	name, expose := "web", spec.ExposePlain
	c := spec.Container{
		Name: &name, Expose: &expose, Routing: &spec.Routing{Domain: domain, Port: 8080},
		Environment: []spec.KeyValue{{Key: "RELEASE", Value: fmt.Sprint(release)}},
	}
	for _, change := range changes {
		change(&c)
	}
	d := spec.Normalize(spec.Deployment{ID: "deployment-" + prefix, Prefix: prefix, Release: release, Workloads: []spec.Workload{
		{InstanceID: "instance", Image: spec.Image{Reference: serverImage}, Container: c},
	}})
	if err := spec.Validate(d).Err(); err != nil {
		n.Fatal(err)
	}
	for i, w := range d.Workloads {
		d.Workloads[i].Hash = spec.Hash(w)
	}
	return d
}

func (n *node) apply(d spec.Deployment) {
	n.Helper()
	if err := n.driver.Apply(n.Context(), d, n); err != nil {
		n.Fatalf("apply %s: %v", d, err)
	}
}

func (n *node) address() string { return fmt.Sprintf("127.0.0.1:%d", n.http) }

func freePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port
}

func token() string {
	raw := make([]byte, 4)
	_, _ = rand.Read(raw) // never fails
	return hex.EncodeToString(raw)
}
