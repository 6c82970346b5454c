package docker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/client"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/bucket/buckettest"
	"fairlead.dev/shared/spec"
)

// store is a bucket that only the robot reads.
type store struct{ *buckettest.Store }

func newStore(t *testing.T) store {
	t.Helper()
	return store{buckettest.New(t, "127.0.0.1")}
}

// from fills the volume data of a container from the store.
func (s store) from(bucket string) change {
	return func(c *spec.Container) {
		c.Volumes = []spec.Volume{{Name: "data", Path: "/data", Type: spec.VolumeReadOnly}}
		c.Storage = &spec.Storage{
			StorageID: "storage", Path: "data", Bucket: bucket, URL: s.URL, Keys: &spec.StorageKeys{Access: buckettest.AccessKey, Secret: "hunter2"},
		}
	}
}

func filling(t *testing.T) docker.Options {
	t.Helper()
	connect(t) // compiles the program
	options := quick()
	options.Policy.LocalStorage = true
	options.Filler = docker.Filler{Program: *programFile.Load(), Words: []string{"fill"}}
	return options
}

func TestVolumeIsFilledFromAStorage(t *testing.T) {
	st := newStore(t)
	st.Put(t, "site/index.html", "one")
	st.Put(t, "site/img/logo", "picture")
	st.Put(t, "other", "not asked for")
	s := newSite(t, filling(t))
	s.apply(s.release(1, web(st.from("assets/site"), args("cat", "/data/index.html"))))
	if log := s.log("web"); !slices.Contains(log, "one") {
		t.Errorf("the container sees %q", log)
	}
	if got := st.Fetched(); !slices.Equal(got, []string{"site/img/logo", "site/index.html"}) {
		t.Errorf("fetched %q", got)
	}
	for name := range s.containers() {
		if name != "web" {
			t.Errorf("left over: %s", name)
		}
	}

	// What has not changed is not fetched again; what is gone, goes.
	st.Put(t, "site/index.html", "two")
	s.apply(s.release(2, web(st.from("assets/site"), greet("again"), args("cat", "/data/index.html"))))
	if log := s.log("web"); !slices.Contains(log, "two") {
		t.Errorf("the container sees %q", log)
	}
	if got := st.Fetched(); !slices.Equal(got, []string{"site/index.html"}) {
		t.Errorf("fetched %q", got)
	}
	if text := s.story(); strings.Contains(text, "hunter2") {
		t.Errorf("the story tells the key: %s", text)
	}
}

// A storage that fails leaves the old release and the volume as they are.
func TestFillingThatFailsChangesNothing(t *testing.T) {
	st := newStore(t)
	st.Put(t, "index", "one")
	s := newSite(t, filling(t))
	s.apply(s.release(1, web(st.from("assets"), args("cat", "/data/index"))))
	before := s.inspect("web").ID
	for name, test := range map[string]struct {
		spoil change
		kind  apperr.Kind
		says  string
	}{
		"another bucket": {st.from("nowhere"), apperr.NotFound, "nowhere"},
		"a wrong key": {func(c *spec.Container) {
			st.from("assets")(c)
			c.Storage.Keys = &spec.StorageKeys{Access: "thief", Secret: "x"}
		},
			apperr.Forbidden, "assets"},
		"no server":     {func(c *spec.Container) { st.from("assets")(c); c.Storage.URL = "http://127.0.0.1:1" }, apperr.Unavailable, "assets"},
		"not a storage": {func(c *spec.Container) { st.from("assets")(c); c.Storage.URL = "ftp://host" }, apperr.Invalid, "ftp://host"},
	} {
		t.Run(name, func(t *testing.T) {
			failure := s.applyFails(s.release(2, web(test.spoil, greet("x"))))
			if !apperr.Is(failure, test.kind) || !strings.Contains(failure.Error(), test.says) || !failure.RolledBack {
				t.Errorf("failure %v, rolled back %t, want %v naming %s", failure, failure.RolledBack, test.kind, test.says)
			}
			if s.inspect("web").ID != before || !s.inspect("web").State.Running {
				t.Error("the old container does not serve")
			}
		})
	}
}

func TestKeysThatLeadOutOfAVolumeAreRefused(t *testing.T) {
	for _, key := range []string{"../escape", "a/../../escape", "a//b", ".fairlead-storage.json"} {
		t.Run(key, func(t *testing.T) {
			st := newStore(t)
			st.Put(t, key, "x")
			s := newSite(t, filling(t))
			if failure := s.applyFails(s.release(1, web(st.from("assets")))); !apperr.Is(failure, apperr.Invalid) || !strings.Contains(failure.Error(), "assets") {
				t.Errorf("failure %v", failure)
			}
		})
	}
}

// What listens on the node for the node alone is not the agent's to call for
// others.
func TestAddressesOfTheNodeAreNotCalled(t *testing.T) {
	st := newStore(t)
	st.Put(t, "index", "one")
	options := filling(t)
	options.Policy.LocalStorage = false
	s := newSite(t, options)
	if failure := s.applyFails(s.release(1, web(st.from("assets")))); !apperr.Is(failure, apperr.Unsupported) || !strings.Contains(failure.Error(), "allow-local-storage") {
		t.Errorf("failure %v, want it to name the setting", failure)
	}
}

// configured has a folder of an image that is in the volume of a container.
func configured(image string, keep bool) change {
	return func(c *spec.Container) {
		c.Volumes = []spec.Volume{{Name: "data", Path: "/data"}}
		c.ConfigContainer = &spec.ConfigContainer{Image: image, Volume: "data", Path: "/conf", KeepFiles: keep}
	}
}

func TestConfigContainerFillsAVolume(t *testing.T) {
	s := newSite(t, filling(t))
	one := s.imageWith("conf/app.conf", "one")
	two := s.imageWith("conf/app.conf", "two")
	s.apply(s.release(1, web(configured(one, false), args("cat", "/data/app.conf"))))
	if log := s.log("web"); !slices.Contains(log, "one") {
		t.Errorf("the container sees %q", log)
	}
	s.apply(s.release(2, web(configured(one, false), args("keep", "/data/own", "mine"))))

	s.apply(s.release(3, web(configured(two, true), args("cat", "/data/app.conf", "/data/own"))))
	if log := s.log("web"); !slices.Contains(log, "two") || !slices.Contains(log, "mine") {
		t.Errorf("with keepFiles the container sees %q", log)
	}
	failure := s.applyFails(s.release(4, web(configured(two, false), args("cat", "/data/own"))))
	if !strings.Contains(strings.Join(failure.LogTail, "\n"), "no such file") {
		t.Errorf("without keepFiles the file is still there: %v %q", failure, failure.LogTail)
	}
	if left := s.volumes(context.WithoutCancel(t.Context())); len(left) != 1 {
		t.Errorf("volumes are %q", left)
	}
}

// podman is an engine that says it is Podman.
type podman struct{ *client.Client }

func (p podman) ServerVersion(ctx context.Context) (types.Version, error) {
	version, err := p.Client.ServerVersion(ctx)
	version.Components = append(version.Components, types.ComponentVersion{Name: "Podman Engine"})
	return version, err
}

func TestConfigContainerIsRefusedOnPodman(t *testing.T) {
	s := newSite(t, filling(t))
	s.driver = docker.New(podman{s.engine}, filling(t))
	release := s.release(1, web(configured(s.imageWith("conf/app.conf", "one"), false)))
	if failure := s.applyFails(release); !apperr.Is(failure, apperr.Unsupported) || !strings.Contains(failure.Error(), "configContainer") || len(s.containers()) != 0 {
		t.Errorf("failure %v, want it to refuse configContainer before anything is made", failure)
	}
	if _, err := s.driver.Plan(t.Context(), release); !apperr.Is(err, apperr.Unsupported) {
		t.Errorf("it is planned: %v", err)
	}
}

func TestConfigContainerWithALinkToTheFolder(t *testing.T) {
	s := newSite(t, filling(t))
	image := s.imageWithLink("conf", "etc/app", "etc/app/app.conf", "linked")
	s.apply(s.release(1, web(configured(image, false), args("cat", "/data/app.conf"))))
	if log := s.log("web"); !slices.Contains(log, "linked") {
		t.Errorf("the container sees %q", log)
	}
}

// What the volume holds is not given up for a folder that is not there.
func TestConfigContainerWithoutTheFolder(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"a file":  {"conf", "/conf of image %s is no folder"},
		"missing": {"config/app.conf", "image %s has no folder /conf"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, filling(t))
			image := s.imageWith(c.file, "content")
			s.apply(s.release(1, web(configured(s.imageWith("conf/app.conf", "one"), false))))
			if failure := s.applyFails(s.release(2, web(configured(image, false), greet("two")))); !apperr.Is(failure, apperr.Invalid) || !strings.Contains(failure.Error(), fmt.Sprintf(c.want, image)) {
				t.Errorf("failure %v, want it to name the folder", failure)
			}
			s.apply(s.release(3, web(func(c *spec.Container) { c.Volumes = []spec.Volume{{Name: "data", Path: "/data"}} }, args("cat", "/data/app.conf"))))
			if log := s.log("web"); !slices.Contains(log, "one") {
				t.Errorf("the volume holds %q", log)
			}
		})
	}
}
