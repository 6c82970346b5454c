package route

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
)

// archived makes an image that holds a text, and returns it as an archive, which
// the engine does not have any more.
func archived(t *testing.T, engine *client.Client, tag, text string) []byte {
	t.Helper()
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	if err := w.WriteHeader(&tar.Header{Name: "file", Mode: 0o755, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	read := func(stream io.ReadCloser, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(stream)
		if err := errors.Join(err, stream.Close()); err != nil {
			t.Fatal(err)
		}
		return content
	}
	read(engine.ImageImport(t.Context(), image.ImportSource{Source: &files, SourceName: "-"}, tag, image.ImportOptions{Changes: []string{`CMD ["/file"]`}}))
	archive := read(engine.ImageSave(t.Context(), []string{tag}))
	if _, err := engine.ImageRemove(t.Context(), tag, image.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	return archive
}

// Updates of the agent bring an image of the edge each. The last two stay, and
// those that a container uses or somebody else wants.
func TestImagesOfEarlierEdgesAreRemoved(t *testing.T) {
	if testing.Short() {
		t.Skip("not with -short: this needs a Docker Engine")
	}
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = engine.Close() }()
	repository := "fairlead-test/edge-" + strings.ToLower(rand.Text()[:8])
	archives := map[string][]byte{}
	versions := []string{"1", "2", "3", "4", "5"}
	for _, v := range versions {
		archives["sha256:"+v] = archived(t, engine, repository+":"+v, repository+v)
	}
	folder := t.TempDir()
	ids := map[string]string{}
	update := func(version string) {
		t.Helper()
		e := NewEdge(engine, Options{StateDir: folder, Artifact: "sha256:" + version, Fetch: func(_ context.Context, digest, path string) error {
			return os.WriteFile(path, archives[digest], 0o600)
		}})
		id, err := e.ensureImage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ids[version] = id
		t.Cleanup(func() {
			_, _ = engine.ImageRemove(context.WithoutCancel(t.Context()), id, image.RemoveOptions{Force: true})
		})
	}
	there := func() (found string) {
		t.Helper()
		for _, v := range versions {
			if _, err := engine.ImageInspect(t.Context(), ids[v]); ids[v] != "" && err == nil {
				found += v
			}
		}
		return found
	}
	want := func(what, want string) {
		t.Helper()
		if got := there(); got != want {
			t.Errorf("%s, the engine has the images %s, want %s", what, got, want)
		}
	}
	update("1")
	used, err := engine.ContainerCreate(t.Context(), &container.Config{Image: ids["1"]}, nil, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = engine.ContainerRemove(context.WithoutCancel(t.Context()), used.ID, container.RemoveOptions{Force: true})
	}()
	update("2")
	want("after an update", "12")
	if err := engine.ImageTag(t.Context(), ids["2"], repository+":mine"); err != nil {
		t.Fatal(err)
	}
	update("3")
	update("4")
	want("with a container of the first, and another tag of the second", "1234")
	update("5")
	want("after another update", "1245")
	if err := engine.ContainerRemove(t.Context(), used.ID, container.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	update("4")
	want("when the container is gone and the agent went back", "245")
}
