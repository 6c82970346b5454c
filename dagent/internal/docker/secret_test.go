package docker_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/dagent/internal/secretfile"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// vault is a place for secret files, and the two folders it has.
func vault(t *testing.T) (store *secretfile.Store, disk, memory string) {
	t.Helper()
	memory = filepath.Join("/dev/shm", "fairlead-test-"+rand.Text())
	if err := os.Mkdir(memory, 0o700); err != nil {
		t.Fatalf("these tests need a tmpfs at /dev/shm: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(memory) })
	disk = t.TempDir()
	store, err := secretfile.Open(disk, memory)
	if err != nil {
		t.Fatal(err)
	}
	return store, disk, memory
}

func token1(c *spec.Container) {
	c.Secrets = []spec.Secret{{Key: "/run/secrets/token", Value: "hunter2"}, {Key: "PLAIN", Value: "variable"}}
}

func TestSecretsAsFiles(t *testing.T) {
	store, disk, memory := vault(t)
	options := quick()
	options.Secrets = store
	s := newSite(t, options)
	user, always := int64(1234), spec.RestartAlways
	s.apply(s.release(1, web(token1, args("look", "/run/secrets/token"), func(c *spec.Container) { c.User, c.RestartPolicy = &user, &always })))
	if log := s.log("web"); !slices.Contains(log, "-r-------- of 1234: hunter2, writable false") {
		t.Errorf("the container sees %q", log)
	}
	if env := s.inspect("web").Config.Env; !slices.Contains(env, "PLAIN=variable") || strings.Contains(strings.Join(env, " "), "hunter2") {
		t.Errorf("the environment is %q", env)
	}
	id := workload.ContainerID{Prefix: s.prefix, Name: "web"}
	if text, err := s.driver.Inspect(t.Context(), id); err != nil || bytes.Contains(text, []byte("hunter2")) {
		t.Errorf("inspect: %v\n%s", err, text)
	}
	for _, path := range filesBelow(t, disk) {
		if content, err := os.ReadFile(path); err != nil || bytes.Contains(content, []byte("hunter2")) {
			t.Errorf("%s: %v, it holds the secret", path, err)
		}
	}

	// The engine starts the container again by itself.
	if err := s.driver.Restart(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	s.awaitLog("web", 2, "hunter2")

	// What is in nobody's use any more is gone.
	s.apply(s.release(2, web()))
	if left := filesBelow(t, memory); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
}

// Files stay for as long as a container has them mounted, whether it runs, is
// stopped, or is only being made, when something else makes the driver look for
// files in nobody's use.
func TestSecretFilesInUseStay(t *testing.T) {
	store, _, _ := vault(t)
	options := quick()
	options.Secrets = store
	s := newSite(t, options)
	removeOther := func() { _ = s.driver.Remove(context.WithoutCancel(t.Context()), "other-"+s.prefix, s) }
	making := &faulty{Client: s.engine, calls: 1, at: func() {
		removed := make(chan struct{})
		go func() {
			defer close(removed)
			removeOther()
		}()
		select { // it waits for the container; what does not wait is over by then
		case <-removed:
		case <-time.After(500 * time.Millisecond):
		}
	}}
	s.driver = docker.New(making, options)
	always := spec.RestartAlways
	look := func(c *spec.Container) { c.RestartPolicy = &always }
	s.apply(s.release(1, web(token1, args("look", "/run/secrets/token"), look), named("db", token1, args("look", "/run/secrets/token"), look)))
	if !strings.HasPrefix(making.happened, "create ") {
		t.Fatalf("the other removal came at %q", making.happened)
	}
	db := workload.ContainerID{Prefix: s.prefix, Name: "db"}
	if err := s.driver.Stop(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	removeOther()
	if err := s.driver.Restart(t.Context(), workload.ContainerID{Prefix: s.prefix, Name: "web"}); err != nil {
		t.Errorf("web, which ran: %v", err)
	}
	if err := s.driver.Start(t.Context(), db); err != nil {
		t.Errorf("db, which was stopped: %v", err)
	}
	s.awaitLog("web", 2, "hunter2")
	s.awaitLog("db", 2, "hunter2")
}

// A restart of the host takes the files, and the engine is up before the agent:
// it can't start the container. The agent makes the files again and starts it.
func TestSecretFilesComeBackAfterTheHost(t *testing.T) {
	store, disk, memory := vault(t)
	options := quick()
	options.Secrets = store
	s := newSite(t, options)
	always := spec.RestartAlways
	s.apply(s.release(1, web(token1, args("look", "/run/secrets/token"), func(c *spec.Container) { c.RestartPolicy = &always })))
	for _, folder := range foldersOf(t, memory) {
		if err := os.RemoveAll(folder); err != nil {
			t.Fatal(err)
		}
	}
	s.execIn("web", "/program", "end")
	s.awaitState("web", container.StateExited)

	again, err := secretfile.Open(disk, memory)
	if err != nil {
		t.Fatal(err)
	}
	options.Secrets = again
	s.watch(docker.New(s.engine, options))
	s.awaitLog("web", 2, "hunter2")
	s.awaitState("web", container.StateRunning)
}

// One that somebody stopped stays so.
func TestStoppedContainerStaysStopped(t *testing.T) {
	store, _, _ := vault(t)
	options := quick()
	options.Secrets = store
	s := newSite(t, options)
	s.apply(s.release(1, web(token1)))
	if err := s.driver.Stop(t.Context(), workload.ContainerID{Prefix: s.prefix, Name: "web"}); err != nil {
		t.Fatal(err)
	}
	s.watch(s.driver)
	if got := s.inspect("web").State; got.Running {
		t.Error("it was started")
	}
}

func TestSecretFilesThatCannotBeHad(t *testing.T) {
	s := newSite(t, quick())
	if failure := s.applyFails(s.release(1, web(token1))); !apperr.Is(failure, apperr.Unsupported) || !strings.Contains(failure.Error(), "secrets[0].key") {
		t.Errorf("without a place for files: %v", failure)
	}
}

func TestInitContainerSharesTheSecretsOfItsParent(t *testing.T) {
	store, _, _ := vault(t)
	options := quick()
	options.Secrets = store
	s := newSite(t, options)
	s.apply(s.release(1, web(token1, func(c *spec.Container) {
		c.Volumes = []spec.Volume{{Name: "data", Path: "/data"}}
		c.InitContainers = []spec.InitContainer{{
			Name: "first", Image: programImage, UseParentConfig: true, Args: keys("copy", "/run/secrets/token", "/in/seen"),
			Volumes: []spec.VolumeLink{{Name: "data", Path: "/in"}},
		}}
		c.Args = keys("cat", "/data/seen")
	})))
	if log := s.log("web"); !slices.Contains(log, "hunter2") {
		t.Errorf("the log is %q", log)
	}
}

// watch has a driver listen until it has begun to.
func (s *site) watch(d *docker.Driver) {
	s.Helper()
	listening := make(chan struct{}, 1)
	ended := make(chan error, 1)
	ctx := s.Context()
	go func() {
		ended <- d.Watch(ctx, func() {
			select {
			case listening <- struct{}{}:
			default:
			}
		})
	}()
	select {
	case <-listening:
	case err := <-ended:
		s.Fatalf("Watch: %v", err)
	case <-time.After(time.Minute):
		s.Fatal("Watch does not listen")
	}
}

// execIn has a container's own command run in it.
func (s *site) execIn(name string, command ...string) {
	s.Helper()
	made, err := s.engine.ContainerExecCreate(s.Context(), spec.ContainerName(s.prefix, name), container.ExecOptions{Cmd: command})
	if err == nil {
		err = s.engine.ContainerExecStart(s.Context(), made.ID, container.ExecStartOptions{})
	}
	if err != nil {
		s.Fatal(err)
	}
}

// awaitState waits until the engine calls a container's state so.
func (s *site) awaitState(name, state string) {
	s.Helper()
	for end := time.Now().Add(time.Minute); ; {
		seen := s.inspect(name).State
		if seen.Status == state {
			return
		}
		if time.Now().After(end) {
			s.Fatalf("%s is %s (%s), want %s", name, seen.Status, seen.Error, state)
		}
		select {
		case <-s.Context().Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// awaitLog waits until a container has said something so many times.
func (s *site) awaitLog(name string, times int, text string) {
	s.Helper()
	for end := time.Now().Add(time.Minute); ; {
		log := strings.Join(s.log(name), "\n")
		if strings.Count(log, text) >= times {
			return
		}
		if time.Now().After(end) {
			s.Fatalf("%q is not %d times in the log:\n%s", text, times, log)
		}
		select {
		case <-s.Context().Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func filesBelow(t *testing.T, folder string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func foldersOf(t *testing.T, folder string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, filepath.Join(folder, e.Name()))
	}
	return list
}
