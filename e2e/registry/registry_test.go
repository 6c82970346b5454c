package registry_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"fairlead.dev/e2e/registry"
	"fairlead.dev/shared/ociimage"
)

func start(t *testing.T, config registry.Config) *registry.Registry {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	server, err := registry.Start(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// image is about the smallest there is: it can be pulled, not run.
func image(t *testing.T, content string) v1.Image {
	t.Helper()
	built, err := ociimage.Build(ociimage.Spec{
		Platform: "linux/" + runtime.GOARCH,
		Files:    []ociimage.File{{Path: "/content", Content: []byte(content)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return built
}

func docker(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "docker", args...).CombinedOutput()
	if err != nil && strings.Contains(string(out), "Cannot connect to the Docker daemon") || errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("this test needs a running Docker Engine (scripts/ensure-docker.sh starts one): %v %s", err, out)
	}
	return strings.TrimSpace(string(out)), err
}

func TestEnginePullsWhatWasPushed(t *testing.T) {
	tag := start(t, registry.Config{}).Addr() + "/team/app:1.0.0"
	digest, err := ociimage.Push(t.Context(), tag, image(t, t.Name()), ociimage.Credentials{})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := docker(t, "pull", "--quiet", tag); err != nil {
		t.Fatalf("docker pull: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("docker", "image", "rm", tag).Run() })
	got, err := docker(t, "image", "inspect", "--format", "{{join .RepoDigests \" \"}}", tag)
	if err != nil || !strings.Contains(got, "@"+digest) {
		t.Errorf("the engine pulled %s (%v), want %s", got, err, digest)
	}
}

func TestPasswordIsDemanded(t *testing.T) {
	tag := start(t, registry.Config{Username: "ann", Password: "s3cret"}).Addr() + "/app:1"
	built := image(t, t.Name())
	for name, credentials := range map[string]ociimage.Credentials{
		"nobody":         {},
		"wrong password": {Username: "ann", Password: "guess"},
	} {
		if _, err := ociimage.Push(t.Context(), tag, built, credentials); err == nil {
			t.Errorf("%s could push", name)
		}
	}
	if _, err := ociimage.Push(t.Context(), tag, built, ociimage.Credentials{Username: "ann", Password: "s3cret"}); err != nil {
		t.Errorf("the right password was refused: %v", err)
	}
	if out, err := docker(t, "pull", tag); err == nil {
		t.Errorf("the engine pulled without a password: %s", out)
	}
}

func TestGivenStorageOutlivesTheRegistry(t *testing.T) {
	storage := t.TempDir()
	first := start(t, registry.Config{Storage: storage})
	if _, err := ociimage.Push(t.Context(), first.Addr()+"/app:1", image(t, t.Name()), ociimage.Credentials{}); err != nil {
		t.Fatal(err)
	}
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	tag := start(t, registry.Config{Storage: storage}).Addr() + "/app:1"
	out, err := docker(t, "pull", tag)
	t.Cleanup(func() { _ = exec.Command("docker", "image", "rm", tag).Run() })
	if err != nil {
		t.Errorf("pull after a restart: %v\n%s", err, out)
	}
}

func TestStopIsComplete(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	server := start(t, registry.Config{})
	for range 2 {
		if err := server.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-server.Done():
	default:
		t.Error("the process has not ended")
	}
	left, err := os.ReadDir(temporary)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestWhatCannotStartSaysWhy(t *testing.T) {
	busy := start(t, registry.Config{}).Addr()
	for name, test := range map[string]struct {
		config registry.Config
		want   string
	}{
		"address in use":     {registry.Config{Addr: busy}, "address already in use"},
		"open to the world":  {registry.Config{Addr: "0.0.0.0:0"}, "loopback"},
		"not an address":     {registry.Config{Addr: "here"}, `addr "here"`},
		"user, no password":  {registry.Config{Username: "ann"}, "both or neither"},
		"storage not folder": {registry.Config{Storage: "/dev/null/x"}, "storage"},
	} {
		t.Run(name, func(t *testing.T) {
			server, err := registry.Start(t.Context(), test.config)
			if err == nil {
				_ = server.Stop()
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q, want %q in it", err, test.want)
			}
		})
	}
}

func TestMissingProgramNamesThePackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := registry.Start(t.Context(), registry.Config{})
	if !errors.Is(err, registry.ErrNotInstalled) || !strings.Contains(err.Error(), "docker-registry") {
		t.Errorf("Start without the program: %v", err)
	}
}
