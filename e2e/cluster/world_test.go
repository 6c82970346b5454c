//go:build linux

package cluster_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fairlead.dev/crane/kubetest"
	"fairlead.dev/e2e/client"
)

const (
	adminEmail    = "admin@example.org"
	adminPassword = "correct horse battery staple"

	startPatience  = 2 * time.Minute
	nodePatience   = 3 * time.Minute
	deployPatience = 4 * time.Minute
)

// world is a controller and a cluster that reach each other.
type world struct {
	*client.Client
	cluster *kubetest.Cluster
	// path has kubectl in it.
	path string
	url  string
	// bin has the controller's program, artifacts the agents that it serves.
	bin, artifacts string
	args           []string
	log            string
	process        *exec.Cmd
	done           chan struct{}
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		cluster: kubetest.Running(t), url: "http://" + kubetest.NodeIP + ":18080",
		bin: binDir(), artifacts: filepath.Join(binDir(), "artifacts"),
	}
	tools := t.TempDir()
	must(t, os.Symlink(w.cluster.Program(), filepath.Join(tools, "kubectl")))
	w.path = tools + ":" + os.Getenv("PATH")

	// PostgreSQL's account has to reach it.
	state, err := os.MkdirTemp("", "fairlead-e2e-") //nolint:usetesting // folders of tests are closed to others
	must(t, err)
	must(t, os.Chmod(state, 0o711))
	t.Cleanup(func() {
		if err := os.RemoveAll(state); err != nil {
			t.Error(err)
		}
	})
	w.log = filepath.Join(state, "log")
	agents := kubetest.NodeIP + ":18443"
	w.args = []string{
		"serve", "--state-dir", filepath.Join(state, "state"),
		"--http-addr", strings.TrimPrefix(w.url, "http://"), "--public-url", w.url, "--agent-addr", agents, "--agent-public-addr", agents,
	}
	w.start(t)
	t.Cleanup(func() {
		_ = w.process.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-w.done:
		case <-time.After(time.Minute):
			t.Error("the controller did not end when asked")
		}
		if t.Failed() {
			text, _ := os.ReadFile(w.log)
			t.Logf("the controller's last lines:\n%s", lastLines(string(text), 40))
		}
	})
	return w
}

// start runs the controller, again too, and logs in.
func (w *world) start(t testing.TB) {
	t.Helper()
	output, err := os.OpenFile(w.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	defer func() { _ = output.Close() }() // the process has it
	w.process = exec.CommandContext(context.WithoutCancel(t.Context()), filepath.Join(w.bin, "controller"), append(w.args, "--artifact-dir", w.artifacts)...)
	w.process.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir(), "FAIRLEAD_ADMIN_EMAIL=" + adminEmail, "FAIRLEAD_ADMIN_PASSWORD=" + adminPassword,
	}
	w.process.Stdout, w.process.Stderr = output, output
	must(t, w.process.Start())
	done, process := make(chan struct{}), w.process
	w.done = done
	go func() {
		_ = process.Wait() // its log says how it ended
		close(done)
	}()
	w.Client = client.New(w.url)
	await(t, startPatience, "the controller to be ready", func() (bool, string, error) {
		select {
		case <-done:
			text, _ := os.ReadFile(w.log)
			return false, "", fmt.Errorf("it ended:\n%s", lastLines(string(text), 40))
		default:
		}
		err := w.Call(t.Context(), http.MethodGet, "/readyz", nil, nil)
		return err == nil, fmt.Sprint(err), nil
	})
	must(t, w.Login(t.Context(), adminEmail, adminPassword))
}

// kill ends the controller as kill -9 does.
func (w *world) kill(t testing.TB) {
	t.Helper()
	must(t, w.process.Process.Kill())
	<-w.done
}

// kubectl runs kubectl as the cluster's administrator.
func (w *world) kubectl(t testing.TB, args ...string) string {
	t.Helper()
	out, err := w.tryKubectl(t, args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (w *world) tryKubectl(t testing.TB, args ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(context.WithoutCancel(t.Context()), w.cluster.Program(), append([]string{"kubectl", "--kubeconfig", w.cluster.Kubeconfig()}, args...)...)
	out, err := command.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// sh runs a line as a person at a machine of the cluster pastes it.
func (w *world) sh(t testing.TB, line string) (string, error) {
	t.Helper()
	command := exec.CommandContext(context.WithoutCancel(t.Context()), "sh", "-c", line)
	command.Env = []string{
		"PATH=" + w.path, "HOME=" + t.TempDir(), "KUBECONFIG=" + w.cluster.Kubeconfig(), "CONTAINERD_ADDRESS=" + w.cluster.EngineSocket(),
	}
	out, err := command.CombinedOutput()
	return string(out), err
}

func lastLines(text string, n int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-n):], "\n")
}

func await(t testing.TB, patience time.Duration, what string, done func() (ok bool, seen string, err error)) {
	t.Helper()
	if err := client.Await(context.WithoutCancel(t.Context()), patience, what, done); err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
