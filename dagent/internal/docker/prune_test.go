package docker_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/dagent/internal/imageledger"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// pruning remembers images in the folder and keeps those of two releases.
func pruning(t *testing.T, folder string) docker.Options {
	t.Helper()
	ledger, err := imageledger.Open(filepath.Join(folder, "images.json"), 2)
	if err != nil {
		t.Fatal(err)
	}
	options := quick()
	options.Images = ledger
	return options
}

// pushVersions puts images of the test program into the registry, each another,
// and off the engine. It returns their references.
func (r *registry) pushVersions(s *site, n int) (references []string) {
	s.Helper()
	ctx := s.Context()
	made, err := s.engine.ContainerCreate(ctx, &container.Config{Image: programImage}, nil, nil, nil, "")
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = s.engine.ContainerRemove(ctx, made.ID, container.RemoveOptions{}) }()
	for v := range n {
		version := "127.0.0.1:1/fairlead-test-" + token() + ":1"
		_, err := s.engine.ContainerCommit(ctx, made.ID, container.CommitOptions{
			Reference: version, Changes: []string{"ENV VERSION=" + token() + strconv.Itoa(v)},
		})
		if err != nil {
			s.Fatal(err)
		}
		reference := r.address + "/team/program:" + strconv.Itoa(v)
		r.pushImage(s, version, reference)
		if _, err := s.engine.ImageRemove(ctx, version, image.RemoveOptions{}); err != nil {
			s.Fatal(err)
		}
		references = append(references, reference)
	}
	return references
}

// from is a workload with an image that wants the password.
func (r *registry) from(reference string) spec.Workload {
	w := web()
	w.Image = spec.Image{Reference: reference, Auth: &spec.RegistryAuth{Server: r.address, Username: "reader", Password: secret}}
	return w
}

// there tells which of the references the engine has images for.
func (s *site) there(references []string) (found []int) {
	s.Helper()
	for n, reference := range references {
		if _, err := s.engine.ImageInspect(s.Context(), reference); err == nil {
			found = append(found, n)
		}
	}
	return found
}

// sparing is an engine that notes which images it is asked to remove.
type sparing struct {
	*client.Client
	mu    sync.Mutex
	asked []string
}

func (e *sparing) ImageRemove(ctx context.Context, id string, o image.RemoveOptions) ([]image.DeleteResponse, error) {
	e.mu.Lock()
	e.asked = append(e.asked, id)
	e.mu.Unlock()
	return e.Client.ImageRemove(ctx, id, o)
}

func (s *site) prune() {
	s.Helper()
	if _, done, err := s.driver.PruneImages(s.Context()); err != nil || !done {
		s.Fatalf("prune images: done %v, %v", done, err)
	}
}

func TestImagesArePrunedThatOnlyWeWanted(t *testing.T) {
	r := startRegistry(t)
	folder := t.TempDir()
	s := newSite(t, pruning(t, folder))
	versions := r.pushVersions(s, 6)
	number := int64(0)
	deploy := func(version int, want ...int) {
		t.Helper()
		number++
		s.apply(s.release(number, r.from(versions[version])))
		if got := s.there(versions); !slices.Equal(got, want) {
			t.Errorf("release %d with version %d: versions %v are on the engine, want %v\n%s", number, version, got, want, s.story())
		}
	}
	deploy(0, 0)
	deploy(1, 0, 1)
	deploy(2, 1, 2)
	if !strings.Contains(s.story(), "removed 1 image(s)") || !strings.Contains(s.story(), versions[0]) {
		t.Errorf("the story does not tell what was removed:\n%s", s.story())
	}
	// The record outlives the agent.
	asks := &sparing{Client: s.engine}
	s.driver = docker.New(asks, pruning(t, folder))
	deploy(3, 2, 3)

	// What others use, tag or pulled themselves is theirs.
	ctx := t.Context()
	foreign, err := s.engine.ContainerCreate(ctx, &container.Config{Image: versions[2]}, nil, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	mine := "fairlead-test-" + token() + ":mine"
	if err := s.engine.ImageTag(ctx, versions[3], mine); err != nil {
		t.Fatal(err)
	}
	pull, err := s.engine.ImagePull(ctx, versions[4], image.PullOptions{RegistryAuth: r.auth(s)})
	if err != nil {
		t.Fatal(err)
	}
	drain(t, pull)
	idle := "idle-" + s.prefix
	if _, err := s.engine.VolumeCreate(ctx, volume.CreateOptions{Name: idle}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(ctx)
		_ = s.engine.ContainerRemove(ctx, foreign.ID, container.RemoveOptions{Force: true})
		_ = s.engine.VolumeRemove(ctx, idle, true)
		_, _ = s.engine.ImageRemove(ctx, mine, image.RemoveOptions{Force: true})
		for _, v := range versions {
			_, _ = s.engine.ImageRemove(ctx, v, image.RemoveOptions{Force: true})
		}
	})
	deploy(4, 2, 3, 4)
	deploy(0, 0, 2, 3, 4)
	deploy(5, 0, 2, 3, 4, 5)
	// The engine is not even asked: one of another kind might do it.
	if used, err := s.engine.ImageInspect(ctx, versions[2]); err != nil || slices.Contains(asks.asked, used.ID) {
		t.Errorf("%v, the engine was asked to remove an image that a container uses", err)
	}

	// Once the others are gone, so is the image that they used.
	if err := s.engine.ContainerRemove(ctx, foreign.ID, container.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	s.prune()
	if got := s.there(versions); !slices.Equal(got, []int{0, 3, 4, 5}) {
		t.Errorf("versions %v are on the engine, want 2 gone with the container that used it", got)
	}
	if err := s.driver.Remove(ctx, s.prefix, s); err != nil {
		t.Fatal(err)
	}
	s.prune()
	if got := s.there(versions); !slices.Equal(got, []int{3, 4}) {
		t.Errorf("without the deployment versions %v are on the engine, want what others want", got)
	}
	if _, err := s.engine.VolumeInspect(ctx, idle); err != nil {
		t.Errorf("a volume was removed: %v", err)
	}
}

func TestImagesStayWhileADeploymentIsApplied(t *testing.T) {
	r := startRegistry(t)
	s := newSite(t, pruning(t, t.TempDir()))
	version := r.pushVersions(s, 1)[0]
	pruned := make(chan bool, 1)
	report := workload.ReporterFunc(func(e workload.Event) {
		if strings.HasPrefix(strings.Join(e.Lines, ""), "pulled image") {
			_, done, err := s.driver.PruneImages(t.Context())
			pruned <- done || err != nil
		}
	})
	if err := s.driver.Apply(t.Context(), s.release(1, r.from(version)), report); err != nil {
		t.Fatal(err)
	}
	if <-pruned {
		t.Error("images were pruned between a pull and the container that needs it")
	}
}

// full is a disk without room.
type full struct{}

func (full) Admit(context.Context) error {
	return apperr.New(apperr.Precondition, "there is no room")
}

func TestFullDiskIsRefusedBeforeItHurts(t *testing.T) {
	r := startRegistry(t)
	s := newSite(t, quick())
	versions := r.pushVersions(s, 2)
	s.apply(s.release(1, r.from(versions[0])))
	before := s.containers()["web"]

	options := quick()
	options.Disk = full{}
	s.driver = docker.New(s.engine, options)
	failure := s.applyFails(s.release(2, r.from(versions[1])))
	if failure.Step != workload.StepPull || !apperr.Is(failure, apperr.Precondition) || !strings.Contains(failure.Error(), "no room") {
		t.Errorf("%v, want it refused before the pull", failure)
	}
	if got := s.there(versions); !slices.Equal(got, []int{0}) {
		t.Errorf("versions %v are on the engine, want nothing pulled", got)
	}
	if c := s.containers()["web"]; c.EngineID != before.EngineID || c.State != spec.StateRunning {
		t.Errorf("web is %+v, want the previous release's", c)
	}
	// What needs no room is not refused.
	w := r.from(versions[0])
	greet("two")(&w.Container)
	s.apply(s.release(3, w))
}

func TestRegistryCredentialsAreNotKept(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("DOCKER_CONFIG", filepath.Join(home, "config"))
	r := startRegistry(t)
	s := newSite(t, pruning(t, home))
	s.apply(s.release(1, r.from(r.pushVersions(s, 1)[0])))
	if entries, err := os.ReadDir(home); err != nil || len(entries) != 1 {
		t.Errorf("files at home are %v, %v, want the record of images", entries, err)
	}
	text, err := os.ReadFile(filepath.Join(home, "images.json"))
	if err != nil || strings.Contains(string(text), secret) || strings.Contains(string(text), "reader") {
		t.Errorf("the record of images: %v\n%s", err, text)
	}
	// Without the credentials the registry is closed again.
	again := r.from(r.address + "/team/program:none")
	again.Image.Auth = nil
	if failure := s.applyFails(s.release(2, again)); !apperr.Is(failure, apperr.Unauthenticated) {
		t.Errorf("%v, want the registry to ask for credentials", failure)
	}
}
