package main_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/agentrt/agentrttest"
	"fairlead.dev/shared/ociimage"
	"fairlead.dev/shared/release"
)

// yard builds agents of several versions and runs one on the real engine, as
// the install script does.
type yard struct {
	*client.Client
	controller *agentrttest.Controller
	key        ed25519.PrivateKey
	state      string
	name       string
}

// agents are dagent as several versions, each compiled and packed once for all
// tests.
var agents sync.Map

type agent struct {
	binary []byte
	image  v1.Image
}

func agentOf(ctx context.Context, t *testing.T, version string) agent {
	t.Helper()
	kept, _ := agents.LoadOrStore(version, sync.OnceValues(func() (agent, error) {
		folder, err := os.MkdirTemp("", "dagent")
		if err != nil {
			return agent{}, err
		}
		defer func() { _ = os.RemoveAll(folder) }()
		path := filepath.Join(folder, "dagent")
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-X fairlead.dev/shared/buildinfo.version="+version, "-o", path, ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return agent{}, fmt.Errorf("%w\n%s", err, out)
		}
		binary, err := os.ReadFile(path)
		if err != nil {
			return agent{}, err
		}
		image, err := packed(binary)
		return agent{binary, image}, err
	}))
	a, err := kept.(func() (agent, error))()
	if err != nil {
		t.Fatalf("build %s: %v", version, err)
	}
	return a
}

// packed is the image of a program as the agent.
func packed(program []byte) (v1.Image, error) {
	return ociimage.Build(ociimage.Spec{
		Platform: "linux/" + runtime.GOARCH, Entrypoint: []string{"/dagent"},
		Files: []ociimage.File{{Path: "/dagent", Content: program, Mode: 0o755}},
	})
}

// connect returns a client of the engine that runs the agents.
func connect(ctx context.Context, t *testing.T) *client.Client {
	t.Helper()
	if testing.Short() {
		t.Skip("not with -short: this test builds agents and runs them beside a Docker Engine; make test runs them all")
	}
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	if _, err := engine.Ping(ctx); err != nil {
		t.Fatalf("this test needs a Docker Engine: start one, or set DOCKER_HOST: %v", err)
	}
	return engine
}

func newYard(ctx context.Context, t *testing.T) *yard {
	t.Helper()
	engine := connect(ctx, t)
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	y := &yard{
		Client: engine, controller: agentrttest.Start(t), key: private, state: filepath.Join(t.TempDir(), "agent"),
		name: fmt.Sprintf("fairlead-update-test-%d", os.Getpid()),
	}
	t.Cleanup(func() { y.clear(context.WithoutCancel(ctx), t) })
	y.controller.WriteEnrolment(t, y.state, "token")
	if err := os.WriteFile(filepath.Join(y.state, "release-keys"), release.EncodeKeys([]ed25519.PublicKey{public}), 0o600); err != nil {
		t.Fatal(err)
	}
	return y
}

// clear removes everything of the yard from the engine.
func (y *yard) clear(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, c := range y.containers(ctx, t) {
		if log, err := exec.CommandContext(ctx, "docker", "logs", "--tail", "30", c.ID).CombinedOutput(); err == nil && t.Failed() {
			t.Logf("%v:\n%s", c.Names, log)
		}
		_ = y.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true})
	}
	images, _ := y.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("reference", y.name))})
	for _, i := range images {
		_, _ = y.ImageRemove(ctx, i.ID, image.RemoveOptions{Force: true})
	}
	_ = y.Close()
}

func (y *yard) containers(ctx context.Context, t *testing.T) []container.Summary {
	t.Helper()
	list, err := y.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("name", y.name))})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// build makes an image archive of dagent as a version; the entrypoint is changed
// for one that is broken.
func (y *yard) build(ctx context.Context, t *testing.T, version string, entrypoint ...string) []byte {
	t.Helper()
	made := agentOf(ctx, t, version).image
	if entrypoint != nil {
		var err error
		if made, err = mutate.Config(made, v1.Config{Entrypoint: entrypoint}); err != nil {
			t.Fatal(err)
		}
	}
	return y.archive(t, version, made)
}

func (y *yard) archive(t *testing.T, version string, image v1.Image) []byte {
	t.Helper()
	var archive bytes.Buffer
	if err := ociimage.WriteArchive(&archive, y.name+":"+version, image); err != nil {
		t.Fatal(err)
	}
	return archive.Bytes()
}

// install runs an archive as the agent.
func (y *yard) install(ctx context.Context, t *testing.T, archive []byte, version string) {
	t.Helper()
	answer, err := y.ImageLoad(ctx, bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil { // until it is loaded
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	created, err := y.ContainerCreate(ctx,
		&container.Config{
			Image: y.name + ":" + version, Env: []string{"FAIRLEAD_STATE_DIR=" + y.state, "DAGENT_LOG_LEVEL=debug", "KEPT=with 'care'"},
			Labels: map[string]string{"dev.fairlead.agent": "a node"},
		},
		&container.HostConfig{
			NetworkMode: "host", Binds: []string{y.state + ":" + y.state, socket() + ":/var/run/docker.sock"},
			RestartPolicy: container.RestartPolicy{Name: "always"}, SecurityOpt: []string{"label=disable"},
		}, nil, nil, y.name)
	if err == nil {
		err = y.ContainerStart(ctx, created.ID, container.StartOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// socket is the path of the engine's socket.
func socket() string {
	if path, is := strings.CutPrefix(os.Getenv("DOCKER_HOST"), "unix://"); is {
		return path
	}
	return "/var/run/docker.sock"
}

// update orders an archive as a version and returns the answer.
func (y *yard) update(t *testing.T, s *agentrttest.Session, id, version string, archive []byte, change func(*agentv1.Update)) *agentv1.CommandResult {
	t.Helper()
	sum := sha256.Sum256(archive)
	a := release.Artifact{Path: "/a.tar", Version: version, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(archive))}
	y.controller.ServeArtifact("sha256:"+a.SHA256, archive)
	order := &agentv1.Update{Version: version, Digest: "sha256:" + a.SHA256, Size: uint64(a.Size), Path: a.Path, Signature: a.Sign(y.key)}
	if change != nil {
		change(order)
	}
	s.Send(t, &agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Command{Command: &agentv1.Command{Id: id, Act: &agentv1.Command_Update{Update: order}}}})
	return s.Await(t, "the answer", func(m *agentv1.AgentMessage) bool { return m.GetCommandResult().GetId() == id }).GetCommandResult()
}

// TestTheAgentsContainerReplacesItself on the real engine, with real builds:
// first by ones that are no good, then by one that is.
func TestTheAgentsContainerReplacesItself(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	y := newYard(ctx, t)
	y.install(ctx, t, y.build(ctx, t, "1.0.0"), "1.0.0")
	first := y.controller.Welcome(t)
	before := y.containers(ctx, t)
	good := y.build(ctx, t, "1.1.0")

	t.Run("what is refused at once", func(t *testing.T) {
		for name, c := range map[string]struct {
			kind   string
			change func(*agentv1.Update)
		}{
			"wrong signature": {"forbidden", func(u *agentv1.Update) { u.Signature[0] ^= 1 }},
			"unsigned":        {"forbidden", func(u *agentv1.Update) { u.Signature = nil }},
			"older": {"precondition", func(u *agentv1.Update) {
				u.Version = "0.9.0"
				u.Signature = release.Artifact{Path: u.GetPath(), Version: u.GetVersion(), SHA256: u.GetDigest()[7:], Size: int64(u.GetSize())}.Sign(y.key)
			}},
		} {
			if r := y.update(t, first, name, "1.1.0", good, c.change); r.GetErrorKind() != c.kind {
				t.Errorf("%s: %v", name, r)
			}
		}
	})
	for name, c := range map[string]struct {
		archive []byte
		says    string
	}{
		"it exits at once":     {y.build(ctx, t, "1.1.0", "/dagent", "version"), "ended before it proved itself"},
		"it does not start":    {y.build(ctx, t, "1.1.0", "/nothing"), "start the new agent"},
		"it is another agent":  {y.build(ctx, t, "1.0.0"), "says that it is"},
		"it is no archive":     {[]byte("not an archive at all"), "broken"},
		"the archive was cut":  {good[:len(good)/2], "archive is broken"},
		"it is another folder": {y.build(ctx, t, "1.1.0", "/dagent", "run", "--state-dir", "/tmp/x"), "ended before it proved itself"},
	} {
		t.Run(name, func(t *testing.T) {
			if r := y.update(t, first, name, "1.1.0", c.archive, nil); r.GetError() != "" {
				t.Fatal(r)
			}
			said := first.Await(t, "its end", func(m *agentv1.AgentMessage) bool {
				return m.GetUpdate().GetId() == name && m.GetUpdate().GetPhase() == agentv1.UpdatePhase_UPDATE_PHASE_FAILED
			}).GetUpdate()
			if !strings.Contains(said.GetError(), c.says) {
				t.Errorf("it says %q, want %q", said.GetError(), c.says)
			}
			if now := y.containers(ctx, t); len(now) != 1 || now[0].ID != before[0].ID || now[0].State != "running" {
				t.Errorf("left on the engine: %v", now)
			}
			if own, err := y.ContainerInspect(ctx, before[0].ID); err != nil || own.RestartCount != 0 {
				t.Errorf("the agent was restarted: %v", err)
			}
		})
	}

	if r := y.update(t, first, "good", "1.1.0", good, nil); r.GetError() != "" {
		t.Fatal(r)
	}
	second := y.controller.Welcome(t)
	if v := second.Hello.GetAgent().GetVersion(); v != "1.1.0" || second.AgentID != first.AgentID {
		t.Errorf("version %s, agent %s", v, second.AgentID)
	}
	second.Await(t, "success", func(m *agentv1.AgentMessage) bool {
		return m.GetUpdate().GetPhase() == agentv1.UpdatePhase_UPDATE_PHASE_SUCCESSFUL
	})
	now := y.containers(ctx, t)
	if len(now) != 1 || now[0].Names[0] != "/"+y.name || now[0].ID == before[0].ID {
		t.Fatalf("on the engine: %v", now)
	}
	config, err := y.ContainerInspect(ctx, now[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(config.HostConfig.RestartPolicy.Name, " ", config.HostConfig.NetworkMode, " ", config.HostConfig.Binds, " ",
		config.HostConfig.SecurityOpt, " ", config.Config.Labels["dev.fairlead.agent"], " ", config.Config.Image)
	want := fmt.Sprint("always host [", y.state, ":", y.state, " ", socket(), ":/var/run/docker.sock] [label=disable] a node ", y.name, ":1.1.0")
	if got != want {
		t.Errorf("the new container is\n%s\nwant\n%s", got, want)
	}
	if env := strings.Join(config.Config.Env, " "); !strings.Contains(env, "KEPT=with 'care'") || !strings.Contains(env, "FAIRLEAD_STATE_DIR="+y.state) {
		t.Errorf("its environment is %s", env)
	}
	if _, err := y.ImageInspect(ctx, y.name+":1.0.0"); err == nil {
		t.Error("the image of the old agent is still there")
	}

	// A new agent that ends after it took over: its engine does not start it
	// again, the old one takes back.
	later := y.build(ctx, t, "1.2.0")
	if r := y.update(t, second, "killed", "1.2.0", later, nil); r.GetError() != "" {
		t.Fatal(r)
	}
	third := y.controller.Accept(t) // not welcomed
	if v := third.Hello.GetAgent().GetVersion(); v != "1.2.0" {
		t.Fatalf("version %s", v)
	}
	if out, err := exec.CommandContext(ctx, "docker", "kill", y.name+"-next").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	back := y.controller.Welcome(t)
	if u := back.Hello.GetUpdate(); back.Hello.GetAgent().GetVersion() != "1.1.0" || !strings.Contains(u.GetError(), "ended after it took over") {
		t.Errorf("%s says %v", back.Hello.GetAgent().GetVersion(), u)
	}
	if now := y.containers(ctx, t); len(now) != 1 {
		t.Errorf("on the engine: %v", now)
	}
}
