package installscripts_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"fairlead.dev/shared/ociimage"
)

// pulled is a registry that has a world's agent.
type pulled struct {
	// repository has the agent's image.
	repository string
	// asked counts what the registry was asked for.
	asked atomic.Int64
	// change, when there is one, answers in the place of the registry.
	change func(out http.ResponseWriter, r *http.Request, registry http.Handler)
}

// registryOf starts a registry and brings the world's agent there. Nothing of it
// is left on the engine in the end.
func (w *world) registryOf(t *testing.T) *pulled {
	t.Helper()
	p := &pulled{}
	handler := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)))
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		if p.change != nil {
			p.change(out, r, handler)
			return
		}
		handler.ServeHTTP(out, r)
	}))
	t.Cleanup(server.Close)
	p.repository = strings.TrimPrefix(server.URL, "http://") + "/fairlead/dagent"
	p.push(t, w.image)
	t.Cleanup(func() {
		for id := range strings.FieldsSeq(p.onEngine(t)) {
			_ = exec.Command("docker", "image", "rm", "--force", id).Run()
		}
	})
	return p
}

// push brings an image there, as controller artifacts push does.
func (p *pulled) push(t *testing.T, image v1.Image) {
	t.Helper()
	tag, err := name.NewTag(p.repository + ":any")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, image, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// onEngine is what the engine has by a name of the repository.
func (p *pulled) onEngine(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("docker", "images", "--all", "--digests", "--quiet", p.repository).Output()
	if err != nil {
		t.Error(err)
	}
	return string(out)
}

// TestInstallsOutOfARegistry: what is pulled is installed, kept, upgraded and
// removed like what the controller serves, which is asked for nothing but the time.
func TestInstallsOutOfARegistry(t *testing.T) {
	t.Parallel()
	busyboxShell, busyboxPath := busybox(t)
	for name, c := range map[string]struct {
		shell shell
		env   []string
	}{
		"dash":             {dash, nil},
		"bash":             {shell{"bash", "--posix"}, nil},
		"busybox only":     {busyboxShell, []string{"PATH=" + busyboxPath}},
		"nothing to fetch": {dash, []string{"PATH=" + tools(t, append([]string{"docker"}, coreutils...)...)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "")
			w.publishStamped(t, "1.0.0", name)
			first := w.params.Image
			p := w.registryOf(t)
			asked := p.asked.Load()
			before := w.snapshot(t)
			must := func(want string, options ...string) {
				t.Helper()
				if out, ok := w.run(t, c.shell, c.env, options...); !ok || !strings.Contains(out, want) {
					t.Fatalf("%v: ok %t, want %q:\n%s", options, ok, want, out)
				}
			}
			must("would have the engine pull "+p.repository+"@"+w.artifact().ImageDigest, "--image", p.repository, "--dry-run")
			if after := w.snapshot(t); after != before || p.asked.Load() != asked {
				t.Errorf("the dry run changed\n%s\ninto\n%s", before, after)
			}

			must("the image is the one that this script pins", "--image", p.repository)
			w.expectHandedOver(t)
			if got := w.field(t, "{{.Config.Image}} {{.State.Status}}"); got != first+" running" || !w.runsThePinned(t) {
				t.Errorf("the container is %q, of image %s", got, w.field(t, "{{.Image}}"))
			}
			asked = p.asked.Load()
			must("nothing to do", "--image", p.repository)
			if p.asked.Load() != asked {
				t.Error("the second run asked the registry")
			}
			engine(t, "kill", w.params.ContainerName)
			must("done: this machine is node", "--image", p.repository+":any")
			if got := w.field(t, "{{.State.Status}}"); got != "running" {
				t.Errorf("after the repair it is %s", got)
			}

			w.publishStamped(t, "1.1.0", name)
			p.push(t, w.image)
			must("done: this machine is node", "--image", p.repository+"@"+w.artifact().ImageDigest)
			w.expectHandedOver(t)
			if !w.runsThePinned(t) || w.there(t, "image", first) {
				t.Errorf("after the upgrade it runs %s, and the image before it is there: %t", w.field(t, "{{.Image}}"), w.there(t, "image", first))
			}
			if w.wasFetched(w.artifact().Path) || w.wasFetched(w.artifact().Path+".sig") {
				t.Errorf("the controller was asked for %v", w.fetched)
			}
			if left := p.onEngine(t); left != "" {
				t.Errorf("the engine calls an image by the registry's name: %s", left)
			}
			kept := filepath.Join(w.params.RootPath, "install.sh")
			if out, ok := execute(t, c.env, append(c.shell[1:len(c.shell):len(c.shell)], kept, "--uninstall"), c.shell[0]); !ok {
				t.Errorf("uninstall:\n%s", out)
			}
			if w.field(t, "{{.Id}}") != "" || strings.Contains(w.snapshot(t), w.params.ContainerName+":") ||
				w.there(t, "image", w.artifact().ImageID) || w.there(t, "image", w.artifact().ImageDigest) {
				t.Errorf("after the uninstall there is still\n%s", w.snapshot(t))
			}
		})
	}
}

// TestWhatARegistryServesInsteadIsRefused before anything runs.
func TestWhatARegistryServesInsteadIsRefused(t *testing.T) {
	t.Parallel()
	flipBlob := func(digest func(image v1.Image) (v1.Hash, error)) func(*testing.T, *world, *pulled) (env string) {
		return func(t *testing.T, w *world, p *pulled) string {
			changed, err := digest(w.image)
			if err != nil {
				t.Fatal(err)
			}
			p.change = func(out http.ResponseWriter, r *http.Request, registry http.Handler) {
				answer := httptest.NewRecorder()
				registry.ServeHTTP(answer, r)
				body := answer.Body.Bytes()
				if strings.HasSuffix(r.URL.Path, "/blobs/"+changed.String()) && len(body) > 0 {
					body[len(body)/2] ^= 1
				}
				for key, values := range answer.Header() {
					out.Header()[key] = values
				}
				out.WriteHeader(answer.Code)
				_, _ = out.Write(body)
			}
			return "A="
		}
	}
	for name, c := range map[string]struct {
		spoil func(t *testing.T, w *world, p *pulled) (env string)
		want  string
	}{
		"another image by that digest": {func(t *testing.T, w *world, p *pulled) string {
			other, err := ociimage.Build(ociimage.Spec{Platform: "linux/amd64", Entrypoint: []string{"/evil"}, Files: []ociimage.File{{Path: "/evil", Content: []byte("evil")}}})
			if err != nil {
				t.Fatal(err)
			}
			p.push(t, other)
			pinned := []byte(w.artifact().ImageDigest)
			digest, err := other.Digest()
			if err != nil {
				t.Fatal(err)
			}
			p.change = func(out http.ResponseWriter, r *http.Request, registry http.Handler) {
				r.URL.Path = string(bytes.ReplaceAll([]byte(r.URL.Path), pinned, []byte(digest.String())))
				answer := httptest.NewRecorder()
				registry.ServeHTTP(answer, r)
				for key := range answer.Header() {
					out.Header().Set(key, strings.ReplaceAll(answer.Header().Get(key), digest.String(), string(pinned)))
				}
				out.WriteHeader(answer.Code)
				_, _ = out.Write(answer.Body.Bytes())
			}
			return "A="
		}, "could not pull"},
		"a bit of the configuration": {flipBlob(v1.Image.ConfigName), "could not pull"},
		"a bit of the program": {flipBlob(func(image v1.Image) (v1.Hash, error) {
			layers, err := image.Layers()
			if err != nil {
				return v1.Hash{}, err
			}
			return layers[0].Digest()
		}), "could not pull"},
		"an engine that takes something else": {func(t *testing.T, _ *world, p *pulled) string {
			docker, err := exec.LookPath("docker")
			if err != nil {
				t.Fatal(err)
			}
			return stub(t, "docker", `case "$*" in *image\ inspect*'@sha256:'*) echo sha256:`+strings.Repeat("ee", 32)+` ;; *) exec `+docker+` "$@" ;; esac`)
		}, "it is not the agent this script is for; nothing was run"},
		"a digest that is not there": {func(_ *testing.T, w *world, _ *pulled) string {
			w.params.Artifacts[0].ImageDigest = "sha256:" + strings.Repeat("ab", 32)
			return "A="
		}, "controller artifacts push dagent"},
		"a repository that is not there": {func(_ *testing.T, _ *world, p *pulled) string {
			p.repository += "/elsewhere"
			return "A="
		}, "controller artifacts push dagent"},
		"a registry that wants a login": {func(t *testing.T, _ *world, p *pulled) string {
			p.change = func(out http.ResponseWriter, _ *http.Request, _ http.Handler) {
				out.Header().Set("WWW-Authenticate", `Basic realm="closed"`)
				http.Error(out, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			}
			return "DOCKER_CONFIG=" + t.TempDir()
		}, "docker login first"},
		"nobody": {func(_ *testing.T, _ *world, p *pulled) string {
			p.repository = "127.0.0.1:1/fairlead/dagent"
			return "A="
		}, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "")
			// What the engine has already, of another world, it does not pull.
			w.publishStamped(t, "1.0.0", name)
			p := w.registryOf(t)
			env := c.spoil(t, w, p)
			before := w.snapshot(t)
			w.refused(t, []string{env}, c.want, "--image", p.repository)
			if after := w.snapshot(t); after != before || p.onEngine(t) != "" {
				t.Errorf("it changed\n%s\ninto\n%s%s", before, after, p.onEngine(t))
			}
		})
	}
}

// TestImageIsOfContainersAndThisScripts says which words do not go together.
func TestImageIsOfContainersAndThisScripts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	before := w.snapshot(t)
	for want, options := range map[string][]string{
		"--image needs an image of a registry":     {"--image"},
		"like registry.example.org/fairlead":       {"--image", ""},
		"characters that do not belong there":      {"--image", "registry.example.org/$(id)"},
		"--image: -q has characters":               {"--image", "-q"},
		"is not the agent that this script is for": {"--image", "registry.example.org/dagent@sha256:" + strings.Repeat("ab", 32)},
		"--archive and --bundle are about its":     {"--image", "registry.example.org/dagent", "--archive", "agent.tar"},
		"say one":                                  {"--bundle", "node.sh", "--image", "registry.example.org/dagent"},
		"a service takes its program out of the":   {"--image", "registry.example.org/dagent", "--service"},
	} {
		w.refused(t, nil, want, options...)
	}
	// A controller's archive that holds no image can still be fetched.
	w.params.Artifacts[0].ImageDigest, w.params.Artifacts[0].ImageID = "", ""
	w.refused(t, nil, "this script pins no image to be pulled", "--image", "registry.example.org/dagent")
	if after := w.snapshot(t); after != before {
		t.Errorf("it changed\n%s\ninto\n%s", before, after)
	}
}
