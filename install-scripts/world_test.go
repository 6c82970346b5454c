package installscripts_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	installscripts "fairlead.dev/install-scripts"
	"fairlead.dev/shared/ociimage"
)

// scriptPath is where a controller serves a node's script.
const scriptPath = "/api/acme/nodes/n1/script"

// world is a controller that serves one agent, and a place for one node on
// this machine's real Docker Engine.
type world struct {
	params installscripts.Params
	url    string
	// image is that of the agent which is served.
	image v1.Image

	mu      sync.Mutex
	served  map[string][]byte
	fetched []string
	// edit changes the script before it is run; nil leaves it.
	edit func(script []byte) []byte
	// date is what the controller's clock says; nil is the truth.
	date func() time.Time
}

var worlds atomic.Int64

// fakeAgent compiles the fake agent once for all tests.
var fakeAgent = sync.OnceValues(func() ([]byte, error) {
	folder, err := os.MkdirTemp("", "fakeagent")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	binary := filepath.Join(folder, "fakeagent")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "./testdata/fakeagent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile the fake agent: %w\n%s", err, out)
	}
	return os.ReadFile(binary)
})

// agentImages are the images of the fake agent, by how it behaves: to compress
// one takes longer than most that is done with it.
var agentImages sync.Map

func agentImage(mode string) (v1.Image, error) {
	build := sync.OnceValues(func() (v1.Image, error) {
		binary, err := fakeAgent()
		if err != nil {
			return nil, err
		}
		return packAgent(binary, mode)
	})
	kept, _ := agentImages.LoadOrStore(mode, build)
	return kept.(func() (v1.Image, error))()
}

func packAgent(binary []byte, mode string) (v1.Image, error) {
	return ociimage.Build(ociimage.Spec{
		Platform:   "linux/" + runtime.GOARCH,
		Files:      []ociimage.File{{Path: "/dagent", Content: binary, Mode: 0o755}},
		Entrypoint: []string{"/dagent"},
		Env:        []string{"FAKE_MODE=" + mode},
	})
}

// newWorld makes a world whose agent behaves as mode says (see fakeagent) and
// removes everything of it from the engine in the end.
func newWorld(t *testing.T, mode string) *world {
	t.Helper()
	requireDocker(t)
	w := emptyWorld(t)
	name := w.params.ContainerName
	w.publish(t, mode)
	t.Cleanup(func() {
		for _, container := range []string{name, name + "-previous"} {
			_ = exec.Command("docker", "rm", "--force", container).Run()
		}
		images, _ := exec.Command("docker", "images", "--quiet", name).Output()
		for id := range strings.FieldsSeq(string(images)) {
			_ = exec.Command("docker", "image", "rm", "--force", id).Run()
		}
		_ = os.RemoveAll(filepath.Join("/run", name)) // where the agent keeps secret files
	})
	return w
}

// emptyWorld makes a world whose controller has no agent yet.
func emptyWorld(t *testing.T) *world {
	t.Helper()
	name := fmt.Sprintf("fairlead-install-test-%d-%d", os.Getpid(), worlds.Add(1))
	w := &world{served: map[string][]byte{"/livez": []byte("ok\n")}}
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	w.url = server.URL
	w.params = installscripts.Params{
		NodeID:        "2f1c9d6e-0000-4000-8000-000000000001",
		NodeName:      "Büro's \"node\" $(id)",
		ControllerURL: server.URL,
		AgentAddr:     "127.0.0.1:8443",
		RootSHA256:    strings.Repeat("ab", 32),
		Token:         "one-time-token-0123456789",
		Expires:       time.Now().Add(10 * time.Minute),
		RootPath:      filepath.Join(t.TempDir(), "agent state"),
		ContainerName: name,
		Image:         name + ":1.0.0",
		Version:       "1.0.0",
	}
	return w
}

// publish replaces the agent the controller serves by one of this mode and
// signs it with a new key.
func (w *world) publish(t *testing.T, mode string) {
	t.Helper()
	image, err := agentImage(mode)
	if err != nil {
		t.Fatal(err)
	}
	w.publishImage(t, image)
}

// publishImage is publish for an image.
func (w *world) publishImage(t *testing.T, image v1.Image) {
	t.Helper()
	var archive bytes.Buffer
	if err := ociimage.WriteArchive(&archive, w.params.Image, image); err != nil {
		t.Fatal(err)
	}
	w.publishArchive(t, archive.Bytes())
	manifest, digestErr := image.Digest()
	config, idErr := image.ConfigName()
	if err := errors.Join(digestErr, idErr); err != nil {
		t.Fatal(err)
	}
	w.params.Artifacts[0].ImageDigest, w.params.Artifacts[0].ImageID = manifest.String(), config.String()
	w.image = image
}

// publishStamped has the controller serve an agent that has its version and mode
// after the end of its program: services, to which an image says nothing, take
// them from there, and no other world's image is the same.
func (w *world) publishStamped(t *testing.T, version, mode string) {
	t.Helper()
	binary, err := fakeAgent()
	if err != nil {
		t.Fatal(err)
	}
	image, err := packAgent(fmt.Appendf(bytes.Clone(binary), "\nstamp %s %s", version, mode), mode)
	if err != nil {
		t.Fatal(err)
	}
	w.params.Version, w.params.Image = version, w.params.ContainerName+":"+version
	w.publishImage(t, image)
}

// publishArchive has the controller serve an archive, signed with a new key.
func (w *world) publishArchive(t *testing.T, archive []byte) {
	t.Helper()
	sum := sha256.Sum256(archive)
	artifact := installscripts.Artifact{
		Arch:   runtime.GOARCH,
		Path:   "/artifacts/dagent/" + w.params.Version + "/linux-" + runtime.GOARCH + ".tar",
		SHA256: hex.EncodeToString(sum[:]),
		Size:   int64(len(archive)),
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	w.params.Artifacts = []installscripts.Artifact{artifact}
	w.params.ReleaseKey = public
	w.serve(artifact.Path, archive)
	w.serve(artifact.Path+".sig", installscripts.Sign(private, artifact, w.params.Version))
}

func (w *world) artifact() installscripts.Artifact { return w.params.Artifacts[0] }

func (w *world) serve(path string, content []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.served[path] = content
}

// forget makes the controller forget what it was asked for so far.
func (w *world) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fetched = nil
}

func (w *world) wasFetched(path string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, fetched := range w.fetched {
		if fetched == path {
			return true
		}
	}
	return false
}

func (w *world) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fetched = append(w.fetched, r.URL.Path)
	if w.date != nil {
		out.Header().Set("Date", w.date().UTC().Format(http.TimeFormat))
	}
	content, found := w.served[r.URL.Path]
	if !found {
		http.NotFound(out, r)
		return
	}
	_, _ = out.Write(content)
}

// script renders the world's script.
func (w *world) script(t *testing.T) []byte {
	t.Helper()
	script, err := installscripts.Render(w.params)
	if err != nil {
		t.Fatal(err)
	}
	if w.edit != nil {
		return w.edit(script)
	}
	return script
}

// shell is one shell, with the options that make it one.
type shell []string

var dash = shell{"dash"}

// run runs the world's script, and returns what it said and whether it was
// content. env is added to the environment.
func (w *world) run(t *testing.T, sh shell, env []string, options ...string) (output string, ok bool) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "install.sh")
	if err := os.WriteFile(file, w.script(t), 0o600); err != nil {
		t.Fatal(err)
	}
	return execute(t, env, append(append(sh[1:len(sh):len(sh)], file), options...), sh[0])
}

func execute(t *testing.T, env, args []string, name string) (output string, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, name, args...)
	command.Env = append(os.Environ(), env...)
	out, err := command.CombinedOutput()
	if err != nil && command.ProcessState == nil {
		t.Fatalf("run %s: %v", name, err)
	}
	return string(out), err == nil
}

// must runs the script and fails the test when the script fails.
func (w *world) must(t *testing.T, sh shell, options ...string) string {
	t.Helper()
	out, ok := w.run(t, sh, nil, options...)
	if !ok {
		t.Fatalf("%v %v failed:\n%s", sh, options, out)
	}
	return out
}

// refused runs the script, which must fail and say want.
func (w *world) refused(t *testing.T, env []string, want string, options ...string) {
	t.Helper()
	out, ok := w.run(t, dash, env, options...)
	if ok || !strings.Contains(out, want) {
		t.Errorf("%v: ok %t, want a refusal with %q:\n%s", options, ok, want, out)
	}
}

func requireDocker(t *testing.T) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "docker", "version").CombinedOutput(); err != nil {
		t.Fatalf("this test needs a running Docker Engine (scripts/ensure-docker.sh starts one): %v\n%s", err, out)
	}
}

// field gives one field of the world's agent container; empty when there is
// no container.
func (w *world) field(t *testing.T, format string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "docker", "container", "inspect", "--format", format, w.params.ContainerName).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// runsThePinned reports whether the container runs the image that the script
// pins. An engine knows it by its configuration's digest, or by its manifest's
// where containerd keeps the images.
func (w *world) runsThePinned(t *testing.T) bool {
	t.Helper()
	id := w.field(t, "{{.Image}}")
	return id != "" && (id == w.artifact().ImageID || id == w.artifact().ImageDigest)
}

// snapshot describes everything of this world that a run could change.
func (w *world) snapshot(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, args := range [][]string{
		{"ps", "--all", "--no-trunc", "--filter", "name=" + w.params.ContainerName, "--format", "{{.ID}} {{.Names}} {{.State}}"},
		{"images", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}", w.params.ContainerName},
	} {
		out, err := exec.CommandContext(t.Context(), "docker", args...).Output()
		if err != nil {
			t.Fatal(err)
		}
		all.Write(out)
	}
	_ = filepath.WalkDir(filepath.Dir(w.params.RootPath), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		content, _ := os.ReadFile(path)
		fmt.Fprintf(&all, "%s %v %x\n", path, entry.Type(), sha256.Sum256(content))
		return nil
	})
	return all.String()
}

// tools makes a folder with links to the given programs, for use as PATH.
func tools(t *testing.T, names ...string) (path string) {
	t.Helper()
	folder := t.TempDir()
	for _, name := range names {
		target, err := exec.LookPath(name)
		if err != nil {
			t.Fatalf("this test needs %s: %v", name, err)
		}
		if err := os.Symlink(target, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// coreutils is what the script uses besides docker, curl, wget and openssl.
var coreutils = []string{
	"sh", "cat", "cp", "cut", "date", "df", "dirname", "grep", "head", "id", "mkdir", "mktemp", "mv", "rm", "rmdir",
	"sed", "sha256sum", "sleep", "tail", "tr",
}
