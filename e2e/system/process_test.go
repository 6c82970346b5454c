package system_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// process is a program under test. Its output goes to a file, so that the
// program never waits for a reader.
type process struct {
	command *exec.Cmd
	log     string
	done    chan struct{}
}

// start runs a program with nothing but env in its environment.
func start(t testing.TB, log string, env []string, program string, args ...string) *process {
	t.Helper()
	output, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	p := &process{command: exec.Command(program, args...), log: log, done: make(chan struct{})}
	p.command.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir()}, env...)
	p.command.Stdout, p.command.Stderr = output, output
	// When the tests are killed their programs are asked to end. The kernel
	// watches the thread that started the program, so that one stays.
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.command.Start()
		started <- err
		if err == nil {
			_ = p.command.Wait() // the state says how it ended
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *process) pid() int { return p.command.Process.Pid }

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// kill ends the process as kill -9 does: it can put nothing in order.
func (p *process) kill() {
	_ = p.command.Process.Kill()
	<-p.done
}

// stop asks the process to end, and fails the test when it does not.
func (p *process) stop(t testing.TB) {
	t.Helper()
	if err := p.command.Process.Signal(syscall.SIGTERM); errors.Is(err, os.ErrProcessDone) {
		<-p.done
		return
	}
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		p.kill()
		t.Errorf("%s did not end when asked; its last lines:\n%s", p.command.Path, p.tail())
	}
}

// tail returns the end of what the process printed.
func (p *process) tail() string {
	content, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-40):], []byte("\n")))
}
