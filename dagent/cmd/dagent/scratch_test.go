package main_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/agentrt/agentrttest"
)

const scratchImage = "fairlead-test/dagent-scratch:latest"

// TestTheAgentNeedsNothingButItself runs the static binary in an image that
// holds nothing else, on the real engine: it enrols, connects, reports the
// node's containers, answers the health check and leaves when it is stopped.
func TestTheAgentNeedsNothingButItself(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	engine := connect(ctx, t)
	importBinary(ctx, t, engine)

	controller := agentrttest.Start(t)
	state := t.TempDir()
	controller.WriteEnrolment(t, state, "token")
	id := startAgent(ctx, t, engine, state)

	session := controller.Welcome(t)
	if name := session.Hello.GetAgent().GetEngineName(); name != "docker" {
		t.Errorf("the engine is called %q", name)
	}
	session.Await(t, "the list of containers with the agent in it", func(m *agentv1.AgentMessage) bool {
		for _, c := range m.GetStatus().GetContainers().GetContainers() {
			if c.GetEngineId() == id {
				return true
			}
		}
		return false
	})
	if _, err := os.Stat(filepath.Join(state, "enrolled")); err != nil {
		t.Error(err)
	}
	for healthcheck(ctx, t, engine, id) != 0 { // the first heartbeat may be on its way
		if ctx.Err() != nil {
			t.Fatal("the health check does not succeed")
		}
	}

	if err := engine.ContainerStop(ctx, id, container.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	session.Await(t, "leaving", func(m *agentv1.AgentMessage) bool { return m.GetLeaving() != nil })
	info, err := engine.ContainerInspect(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	if info.State.ExitCode != 0 {
		t.Errorf("asked to stop, the agent ended with %d", info.State.ExitCode)
	}
}

// importBinary builds dagent and makes an image of it alone.
func importBinary(ctx context.Context, t *testing.T, engine *client.Client) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dagent")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "dagent", Mode: 0o755, Size: int64(len(binary))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(binary); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	answer, err := engine.ImageImport(ctx, image.ImportSource{Source: &archive, SourceName: "-"}, scratchImage, image.ImportOptions{
		Changes: []string{`ENTRYPOINT ["/dagent"]`},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, answer); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = answer.Close()
		_, _ = engine.ImageRemove(context.WithoutCancel(ctx), scratchImage, image.RemoveOptions{})
	})
}

// startAgent runs the image as the install script does.
func startAgent(ctx context.Context, t *testing.T, engine *client.Client, state string) (id string) {
	t.Helper()
	created, err := engine.ContainerCreate(ctx,
		&container.Config{Image: scratchImage, Env: []string{"FAIRLEAD_STATE_DIR=" + state, "DAGENT_LOG_LEVEL=debug"}},
		&container.HostConfig{NetworkMode: "host", Binds: []string{state + ":" + state, socket() + ":/var/run/docker.sock"}},
		nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(ctx)
		if t.Failed() {
			if log, err := engine.ContainerLogs(ctx, created.ID, container.LogsOptions{ShowStderr: true, ShowStdout: true}); err == nil {
				_, _ = io.Copy(t.Output(), log)
				_ = log.Close()
			}
		}
		_ = engine.ContainerRemove(ctx, created.ID, container.RemoveOptions{Force: true})
	})
	if err := engine.ContainerStart(ctx, created.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	return created.ID
}

// healthcheck runs the agent's health check in its container, as an image's
// HEALTHCHECK does, and returns its exit code.
func healthcheck(ctx context.Context, t *testing.T, engine *client.Client, id string) int {
	t.Helper()
	created, err := engine.ContainerExecCreate(ctx, id, container.ExecOptions{
		Cmd: []string{"/dagent", "healthcheck"}, AttachStdout: true, AttachStderr: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	attached, err := engine.ContainerExecAttach(ctx, created.ID, container.ExecAttachOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer attached.Close()
	if _, err := io.Copy(io.Discard, attached.Reader); err != nil { // until it ends
		t.Fatal(err)
	}
	result, err := engine.ContainerExecInspect(ctx, created.ID)
	if err != nil {
		t.Fatal(err)
	}
	return result.ExitCode
}
