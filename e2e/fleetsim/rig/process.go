// Package rig runs what a fleet is simulated against as processes of their own,
// so that what they take can be read from the system and they can be killed: a
// PostgreSQL server, controllers, and the floor.
package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"fairlead.dev/shared/debugserver"
)

// ticks is the kernel's unit of processor time: USER_HZ, which is 100 on every
// Linux.
const ticks = 100

// stopPatience is how long a process may take to end when asked.
const stopPatience = time.Minute

// Process is a program under test. Its output goes to a file.
type Process struct {
	command *exec.Cmd
	log     string
	debug   string // host:port of its profiles, or ""
	done    chan struct{}
}

// Spec says how to run a program.
type Spec struct {
	Program string
	Args    []string
	// Env is the whole environment but for PATH and HOME.
	Env []string
	// Log is the file that the output is appended to.
	Log string
	// Account is who runs it; nil for the caller.
	Account *syscall.Credential
	// Debug is the address of its debugserver; "" for none.
	Debug string
}

// Run starts a program. It is asked to end when the caller's process dies.
func Run(s Spec) (*Process, error) {
	output, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open a log: %w", err)
	}
	defer func() { _ = output.Close() }()                                                                             // the program has its own
	p := &Process{command: exec.Command(s.Program, s.Args...), log: s.Log, debug: s.Debug, done: make(chan struct{})} //nolint:noctx // Kill and Stop end it
	p.command.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir(), "LC_ALL=C"}, s.Env...)
	p.command.Stdout, p.command.Stderr = output, output
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGINT, Credential: s.Account}
	started := make(chan error)
	go func() {
		// The kernel watches the thread that started the program.
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
		return nil, fmt.Errorf("start %s: %w", s.Program, err)
	}
	return p, nil
}

// PID is the process's number.
func (p *Process) PID() int { return p.command.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Kill ends the process as kill -9 does.
func (p *Process) Kill() {
	_ = p.command.Process.Kill()
	<-p.done
}

// Signal sends the process a signal.
func (p *Process) Signal(s os.Signal) error { return p.command.Process.Signal(s) }

// Stop asks the process to end, with SIGINT, and kills it when it does not.
func (p *Process) Stop() error {
	if err := p.Signal(os.Interrupt); errors.Is(err, os.ErrProcessDone) {
		<-p.done
		return nil
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(stopPatience):
		p.Kill()
		return fmt.Errorf("%s did not end when asked; its last lines:\n%s", p.command.Path, p.Tail())
	}
}

// Tail returns the last lines that the process printed.
func (p *Process) Tail() string {
	content, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-40):], []byte("\n")))
}

// CPU is the processor time the process has taken so far, to 10 ms.
func (p *Process) CPU() (time.Duration, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return 0, fmt.Errorf("read the processor time: %w", err)
	}
	// The name may hold spaces; what follows it begins with the state.
	fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))
	user, userErr := strconv.Atoi(fields[11])
	system, systemErr := strconv.Atoi(fields[12])
	return time.Duration(user+system) * time.Second / ticks, errors.Join(userErr, systemErr)
}

// RSS returns what the process holds in memory now, and the most it ever held,
// in bytes.
func (p *Process) RSS() (now, peak int64, err error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0, 0, fmt.Errorf("read the memory: %w", err)
	}
	for line := range strings.Lines(string(content)) {
		for name, to := range map[string]*int64{"VmRSS:": &now, "VmHWM:": &peak} {
			if value, found := strings.CutPrefix(line, name); found {
				kib, parseErr := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
				*to, err = kib<<10, errors.Join(err, parseErr)
			}
		}
	}
	return now, peak, err
}

// Memory asks the process's debugserver; with collect after a collection.
func (p *Process) Memory(ctx context.Context, collect bool) (m debugserver.Memory, err error) {
	method, path := http.MethodGet, "/debug/memory"
	if collect {
		method, path = http.MethodPost, "/debug/gc"
	}
	content, err := p.ask(ctx, method, path)
	if err == nil {
		err = json.Unmarshal(content, &m)
	}
	return m, err
}

// Profile writes a profile of the process to a file: "heap", "goroutine",
// "allocs", "mutex", or "profile?seconds=10".
func (p *Process) Profile(ctx context.Context, what, file string) error {
	content, err := p.ask(ctx, http.MethodGet, "/debug/pprof/"+what)
	if err != nil {
		return err
	}
	return os.WriteFile(file, content, 0o600)
}

func (p *Process) ask(ctx context.Context, method, path string) ([]byte, error) {
	if p.debug == "" {
		return nil, errors.New("the process serves no profiles")
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+p.debug+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s", method, path, response.Status)
	}
	return content, err
}

// FreeAddr returns an address of the loopback interface that nobody listened on a
// moment ago, with a port below those that outgoing connections take: one of a
// fleet's could take it while the process that listens there is started again.
func FreeAddr() (string, error) {
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(10000)) //nolint:gosec // any port will do
		listener, err := net.Listen("tcp", address)                    //nolint:noctx // ends at once
		if err == nil {
			return address, listener.Close()
		}
	}
	return "", errors.New("find a free port: none of 100 is")
}

// wait asks until done says so, or ctx ends, or the process does.
func (p *Process) wait(ctx context.Context, what string, done func() error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := done()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.done:
			return fmt.Errorf("wait for %s: it ended (%s):\n%s", what, p.command.ProcessState, p.Tail())
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w\n%s", what, err, ctx.Err(), p.Tail())
		}
	}
}
