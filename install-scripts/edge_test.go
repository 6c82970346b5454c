package installscripts_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"fairlead.dev/shared/ociimage"
)

// engine runs the docker command, which must succeed.
func engine(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (w *world) there(t *testing.T, kind, name string) bool {
	t.Helper()
	return exec.CommandContext(t.Context(), "docker", kind, "inspect", name).Run() == nil
}

// proxy is what an agent's proxy is on an engine.
type proxy struct{ container, network string }

// newProxy makes a proxy with this label, as the agent of that folder would.
func (w *world) newProxy(t *testing.T, name, folder, imageID string) proxy {
	t.Helper()
	p := proxy{w.params.ContainerName + "-" + name, w.params.ContainerName + "-" + name}
	t.Cleanup(func() {
		_ = exec.Command("docker", "rm", "--force", "--volumes", p.container).Run()
		_ = exec.Command("docker", "network", "rm", p.network).Run()
	})
	label := "dev.fairlead.edge=" + folder
	engine(t, "network", "create", "--label", label, p.network)
	engine(t, "create", "--name", p.container, "--network", p.network, "--label", label, imageID)
	return p
}

// proxyImage loads an image that nobody else has and returns its id.
func (w *world) proxyImage(t *testing.T) string {
	t.Helper()
	binary, err := fakeAgent()
	if err != nil {
		t.Fatal(err)
	}
	image, err := ociimage.Build(ociimage.Spec{
		Platform:   "linux/" + runtime.GOARCH,
		Files:      []ociimage.File{{Path: "/agent", Content: binary, Mode: 0o755}},
		Env:        []string{"OF=" + w.params.ContainerName},
		Entrypoint: []string{"/agent"},
	})
	if err != nil {
		t.Fatal(err)
	}
	tag := w.params.ContainerName + "-proxy:1"
	var archive bytes.Buffer
	if err := ociimage.WriteArchive(&archive, tag, image); err != nil {
		t.Fatal(err)
	}
	load := exec.CommandContext(t.Context(), "docker", "load", "--quiet")
	load.Stdin = &archive
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("load the proxy's image: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("docker", "image", "rm", "--force", tag).Run() })
	return engine(t, "image", "inspect", "--format", "{{.Id}}", tag)
}

// importFiller makes the image that the fake agent would fill volumes with.
func importFiller(t *testing.T) string {
	t.Helper()
	binary, err := fakeAgent()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(binary)
	reference := "fairlead/filler:" + hex.EncodeToString(sum[:8])
	var packed bytes.Buffer
	archive := tar.NewWriter(&packed)
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	load := exec.CommandContext(t.Context(), "docker", "import", "-", reference)
	load.Stdin = &packed
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("import the filler: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("docker", "image", "rm", "--force", reference).Run() })
	return reference
}

// The proxy goes with its agent: its container, network, image and files. That
// of another agent stays.
func TestUninstallRemovesTheAgentsProxyAndNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.must(t, dash)
	folder := filepath.Join(w.params.RootPath, "edge")
	image := w.proxyImage(t)
	own := w.newProxy(t, "own", folder, image)
	neighbour := w.newProxy(t, "neighbour", folder+"2", w.field(t, "{{.Image}}"))
	filler := importFiller(t)
	// What an agent that has seen everything leaves in its folder.
	for _, name := range []string{
		"edge/certificates/key.pem", "edge/admin.sock", "edge-image.json", "edge.tar", "edge.tar.part", "begun.json", "images.json", ".images-1", "logs/web.log.gz",
		"secrets/key", "release-keys.new", "update.json", "update.tar", "assignments.pb", "results.json", ".new-123", "spool/1",
	} {
		file := filepath.Join(w.params.RootPath, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, fmt.Appendf(nil, `{"artifact":"sha256:%064d","image":%q}`, 1, image), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	if out := w.must(t, dash, "--uninstall", "--dry-run"); !strings.Contains(out, "would remove the proxy's container "+own.container) {
		t.Errorf("the dry run does not name the proxy:\n%s", out)
	}
	if !w.there(t, "container", own.container) || !w.there(t, "network", own.network) || !w.there(t, "image", image) {
		t.Fatal("the dry run removed something of the proxy")
	}

	out := w.must(t, dash, "--uninstall")
	for kind, name := range map[string]string{"container": own.container, "network": own.network} {
		if w.there(t, kind, name) {
			t.Errorf("the proxy's %s is still there:\n%s", kind, out)
		}
	}
	if w.there(t, "image", image) {
		t.Errorf("the proxy's image is still there:\n%s", out)
	}
	if w.there(t, "image", filler) {
		t.Errorf("the image that volumes were filled with is still there:\n%s", out)
	}
	if !w.there(t, "container", neighbour.container) || !w.there(t, "network", neighbour.network) {
		t.Errorf("the proxy of another agent is gone:\n%s", out)
	}
	if left, err := os.ReadDir(w.params.RootPath); err == nil {
		t.Errorf("left in the agent's folder: %v", left)
	}
}

// Containers that keep running stay in the proxy's network, and an image that
// the agent did not load is not its own.
func TestUninstallLeavesWhatOthersUseOfTheProxy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.must(t, dash)
	image := w.proxyImage(t)
	own := w.newProxy(t, "own", filepath.Join(w.params.RootPath, "edge"), image)
	state := t.TempDir()
	if err := os.WriteFile(filepath.Join(state, "identity"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	app := w.params.ContainerName + "-app"
	t.Cleanup(func() {
		_ = exec.Command("docker", "rm", "--force", "--volumes", app).Run()
		_ = exec.Command("docker", "network", "rm", own.network).Run()
	})
	socket := engine(t, "container", "inspect", "--format", `{{range .Mounts}}{{if eq .Destination "/var/run/docker.sock"}}{{.Source}}{{end}}{{end}}`, w.params.ContainerName)
	engine(t, "run", "--detach", "--name", app, "--network", own.network, "--env", "FAIRLEAD_STATE_DIR="+state,
		"--volume", state+":"+state, "--volume", socket+":/var/run/docker.sock", w.params.Image)

	out := w.must(t, dash, "--uninstall")
	if !strings.Contains(out, "the network "+own.network+" stays") || !w.there(t, "network", own.network) {
		t.Errorf("the network that is in use:\n%s", out)
	}
	if got := engine(t, "container", "inspect", "--format", "{{.State.Status}} {{len .NetworkSettings.Networks}}", app); got != "running 1" {
		t.Errorf("the deployed container is %q", got)
	}
	if w.there(t, "container", own.container) || !w.there(t, "image", image) {
		t.Errorf("the proxy is there, or the image is gone that the agent did not load:\n%s", out)
	}
}
