//go:build linux

package kubetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
)

const (
	// stageVariable tells a process of this program which part it plays:
	// outside the namespaces (unset), their first process, or the tests.
	stageVariable = "FAIRLEAD_KUBETEST_STAGE"
	stageInit     = "init"
	stageTests    = "tests"
	// dirVariable names the folder of the run, clusterVariable the folder of
	// the cluster that runs.
	dirVariable     = "FAIRLEAD_KUBETEST_DIR"
	clusterVariable = "FAIRLEAD_KUBETEST_CLUSTER"
)

// processFile holds the number that the machine knows the first process by.
const processFile = "process"

// outside prepares what namespaces do not contain, runs the program again in
// them, and clears away.
func outside() (int, error) {
	if err := missing(); err != nil {
		return 1, err
	}
	sweep()
	dir, err := os.MkdirTemp("", dirPattern(os.Getpid()))
	if err != nil {
		return 1, fmt.Errorf("make a folder for the cluster: %w", err)
	}
	defer removeAll(dir)
	if err := makeControlGroups(dir); err != nil {
		return 1, err
	}
	defer removeControlGroups(dir)

	// The death signal comes when the thread ends that started the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	child := exec.CommandContext(context.Background(), "/proc/self/exe", os.Args[1:]...)
	child.Env = append(os.Environ(), stageVariable+"="+stageInit, dirVariable+"="+dir)
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true,
	}
	if err := child.Start(); err != nil {
		return 1, fmt.Errorf("enter namespaces of our own: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, processFile), []byte(strconv.Itoa(child.Process.Pid)), 0o600); err != nil {
		return 1, errors.Join(fmt.Errorf("write down the cluster's first process: %w", err), child.Process.Kill(), child.Wait())
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	defer signal.Stop(told)
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	for {
		select {
		case s := <-told:
			if err := child.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return 1, fmt.Errorf("pass %s on: %w", s, err)
			}
		case err := <-ended:
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				return 1, fmt.Errorf("wait for the tests: %w", err)
			}
			return child.ProcessState.ExitCode(), nil
		}
	}
}

// reap is the first process of the namespaces: it makes them fit for a
// cluster, starts the tests, and waits for every process that lost its parent.
func reap() (int, error) {
	dir := os.Getenv(dirVariable)
	if err := mountOwn(dir); err != nil {
		return 1, err
	}
	if err := linkUp(); err != nil {
		return 1, err
	}
	if err := os.Setenv(stageVariable, stageTests); err != nil {
		return 1, fmt.Errorf("tell the tests what they are: %w", err)
	}
	tests, err := syscall.ForkExec("/proc/self/exe", os.Args, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
	if err != nil {
		return 1, fmt.Errorf("start the tests: %w", err)
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	go func() {
		for s := range told {
			if number, ok := s.(syscall.Signal); ok {
				_ = syscall.Kill(tests, number) // it may have ended just now
			}
		}
	}()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 1, fmt.Errorf("wait for the tests: %w", err)
		case pid == tests && status.Signaled():
			return 128 + int(status.Signal()), nil
		case pid == tests:
			return status.ExitStatus(), nil
		}
	}
}

// ownPaths are the places where kubelet, containerd and network plugins write
// whatever they are told.
func ownPaths() []string {
	return []string{
		"/var/lib/kubelet", "/var/lib/cni", "/var/log/containers", "/var/log/pods", "/run/netns", "/etc/cni",
		"/run/containerd", "/run/nri", "/opt/containerd",
	}
}

// tunables are the settings of the kernel that kubelet wants and that belong
// to the machine: it is shown them as it wants them.
func tunables() map[string]string {
	return map[string]string{
		"vm/overcommit_memory":      "1",
		"vm/panic_on_oom":           "0",
		"kernel/panic":              "10",
		"kernel/panic_on_oops":      "1",
		"kernel/keys/root_maxkeys":  "1000000",
		"kernel/keys/root_maxbytes": "25000000",
	}
}

func mountOwn(dir string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to ourselves: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for _, path := range ownPaths() {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return fmt.Errorf("make room for the cluster: %w", err)
		}
		if err := syscall.Mount("tmpfs", path, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("mount a tmpfs on %s: %w", path, err)
		}
	}
	for name, value := range tunables() {
		shown := filepath.Join(dir, "sysctl", name)
		if err := os.MkdirAll(filepath.Dir(shown), 0o700); err != nil {
			return fmt.Errorf("make room for settings of the kernel: %w", err)
		}
		if err := os.WriteFile(shown, []byte(value+"\n"), 0o600); err != nil {
			return fmt.Errorf("write settings of the kernel: %w", err)
		}
		if err := syscall.Mount(shown, "/proc/sys/"+name, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("show kubelet its setting %s: %w", name, err)
		}
	}
	return nil
}
