// Package enginetest gives tests Docker Engines of their own: each with its own
// data, socket and bridge, in a network namespace of its own, as on another
// host. Several on one machine are several nodes.
//
// It needs root, the programs dockerd, ip and nsenter, and Linux.
package enginetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/client"
)

// patience is how long an engine may take to answer, or to end.
const patience = 2 * time.Minute

// Options choose what kind of engine is started. The zero value is an ordinary
// one.
type Options struct {
	// LiveRestore lets containers run on while the engine is away.
	LiveRestore bool
}

// Engine is a Docker Engine of one test.
type Engine struct {
	t         testing.TB
	options   Options
	folder    string
	namespace string
	process   *exec.Cmd
	exited    chan struct{} // closed when the process has ended
}

// Start starts an engine and ends it, with all its containers, when the test
// ends. With -short it skips the test.
func Start(t testing.TB, options Options) *Engine {
	t.Helper()
	if testing.Short() {
		t.Skip("not with -short: this starts a Docker Engine of its own; make test runs it")
	}
	// The path of a Unix socket is short, so the test's own folder is not used.
	folder, err := os.MkdirTemp("", "engine") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	e := &Engine{t: t, options: options, folder: folder, namespace: "fl-" + strings.ToLower(rand.Text()[:8])}
	t.Cleanup(e.remove)
	e.command("ip", "netns", "add", e.namespace)
	e.command("ip", "-n", e.namespace, "link", "set", "lo", "up")
	e.Resume()
	return e
}

// Host is the engine's address, as in DOCKER_HOST.
func (e *Engine) Host() string { return "unix://" + filepath.Join(e.folder, "docker.sock") }

// Command prepares a program that runs on the engine's host: in its network
// namespace, with DOCKER_HOST set.
func (e *Engine) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, "nsenter", append([]string{"--net=/run/netns/" + e.namespace, name}, args...)...)
	command.Env = append(os.Environ(), "DOCKER_HOST="+e.Host())
	return command
}

// Resume starts the engine's process and waits until it answers.
func (e *Engine) Resume() {
	e.t.Helper()
	log, err := os.OpenFile(filepath.Join(e.folder, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		e.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	args := []string{
		"--data-root", filepath.Join(e.folder, "data"), "--exec-root", filepath.Join(e.folder, "exec"),
		"--pidfile", filepath.Join(e.folder, "pid"), "-H", e.Host(),
	}
	if e.options.LiveRestore {
		args = append(args, "--live-restore")
	}
	e.process = e.Command(context.Background(), "dockerd", args...)
	e.process.Stdout, e.process.Stderr = log, log
	e.process.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := e.process.Start(); err != nil {
		e.t.Fatalf("start a docker engine: %v", err)
	}
	exited := make(chan struct{})
	e.exited = exited
	process := e.process
	go func() {
		_ = process.Wait() // that it ended is all that matters
		close(exited)
	}()
	e.await()
}

// await waits until the engine answers.
func (e *Engine) await() {
	e.t.Helper()
	engine, err := client.NewClientWithOpts(client.WithHost(e.Host()), client.WithAPIVersionNegotiation())
	if err != nil {
		e.t.Fatal(err)
	}
	defer func() { _ = engine.Close() }()
	expired := time.NewTimer(patience)
	defer expired.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err = engine.Ping(context.Background()); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-e.exited:
			e.t.Fatalf("the docker engine ended:\n%s", e.log())
		case <-expired.C:
			e.t.Fatalf("the docker engine does not answer: %v\n%s", err, e.log())
		}
	}
}

// Stop ends the engine as an update of its package does. With LiveRestore its
// containers run on.
func (e *Engine) Stop() {
	e.t.Helper()
	if err := e.process.Process.Signal(syscall.SIGTERM); err != nil {
		e.t.Fatalf("end the docker engine: %v", err)
	}
	select {
	case <-e.exited:
	case <-time.After(patience):
		e.t.Fatalf("the docker engine does not end:\n%s", e.log())
	}
}

// Kill ends the engine's process at once, as when it crashes. Its containers run
// on until it is back.
func (e *Engine) Kill() {
	e.t.Helper()
	if err := e.process.Process.Kill(); err != nil {
		e.t.Fatalf("kill the docker engine: %v", err)
	}
	<-e.exited
	// Its containerd goes with it. Where nobody reaps that, as in a container
	// without an init, the next engine would wait for it in vain.
	if err := os.Remove(filepath.Join(e.folder, "exec", "containerd", "containerd.pid")); err != nil && !errors.Is(err, os.ErrNotExist) {
		e.t.Fatalf("clear up after the killed docker engine: %v", err)
	}
}

// remove ends everything of the engine: its process, its containers, its
// namespace, its files.
func (e *Engine) remove() {
	if e.process != nil && e.process.Process != nil {
		_ = e.process.Process.Signal(syscall.SIGTERM)
		select {
		case <-e.exited:
		case <-time.After(patience):
			_ = e.process.Process.Kill()
		}
	}
	// What runs on without the engine is in its network namespace or below one
	// of its folders; both are this engine's alone.
	for _, pid := range e.survivors() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = exec.CommandContext(context.Background(), "ip", "netns", "delete", e.namespace).Run()
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], e.folder+"/") {
			_ = syscall.Unmount(fields[1], syscall.MNT_DETACH)
		}
	}
	if err := os.RemoveAll(e.folder); err != nil {
		e.t.Logf("remove the folder of a docker engine: %v", err)
	}
}

// survivors are the processes whose command line names the engine's folder: its
// containerd and the shims of containers that run on, which take those along.
func (e *Engine) survivors() (list []int) {
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range found {
		text, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(text), e.folder) {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(file, "/proc/%d/cmdline", &pid); err == nil && pid != os.Getpid() {
			list = append(list, pid)
		}
	}
	return list
}

func (e *Engine) command(name string, args ...string) {
	e.t.Helper()
	if out, err := exec.CommandContext(context.Background(), name, args...).CombinedOutput(); err != nil {
		e.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// log is the end of what the engine wrote.
func (e *Engine) log() string {
	text, err := os.ReadFile(filepath.Join(e.folder, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4096):])
}
