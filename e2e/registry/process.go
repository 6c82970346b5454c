package registry

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	// stopGrace is how long the registry may take to end when asked.
	stopGrace = 5 * time.Second
	// tailLines is how many of its last lines a failure shows.
	tailLines = 10
)

// process is the registry's child process and the reader of what it prints.
type process struct {
	command *exec.Cmd
	// address receives, once, where the registry says that it listens.
	address chan string
	// done is closed when the process has ended; its state and tail are set then.
	done chan struct{}
	tail []string
}

// startProcess starts the registry. One goroutine owns the process from start
// to end: it keeps its thread, because the kernel ends the child together with
// the thread that made it, which is how the registry dies with a killed test.
func startProcess(binary, config string, log io.Writer) (*process, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe for the registry: %w", err)
	}
	command := exec.Command(binary, "serve", config) //nolint:noctx // ended by stop, which asks it first
	command.Stdout, command.Stderr = writer, writer
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p := &process{command: command, address: make(chan string, 1), done: make(chan struct{})}

	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer func() { _ = reader.Close() }()
		err := command.Start()
		_ = writer.Close()
		started <- err
		if err != nil {
			return
		}
		p.read(reader, log)
		_ = command.Wait() // the state says how it ended
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("run %s: %w", binary, err)
	}
	return p, nil
}

// read follows the output until the process closes it.
func (p *process) read(output io.Reader, log io.Writer) {
	lines := bufio.NewReader(output)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			p.note(line)
			if log != nil {
				_, _ = io.WriteString(log, line)
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *process) note(line string) {
	p.tail = append(p.tail, strings.TrimSpace(line))
	p.tail = p.tail[max(0, len(p.tail)-tailLines):]
	var record struct {
		Message string `json:"msg"`
	}
	if json.Unmarshal([]byte(line), &record) != nil {
		return
	}
	if address, found := strings.CutPrefix(record.Message, "listening on "); found {
		address, _, _ = strings.Cut(address, ",")
		select {
		case p.address <- address:
		default:
		}
	}
}

// listening waits for the registry to say where it listens, which is the only
// way to learn a port the kernel chose.
func (p *process) listening(ctx context.Context) (string, error) {
	select {
	case address := <-p.address:
		return address, nil
	case <-p.done:
		return "", p.failure()
	case <-ctx.Done():
		return "", fmt.Errorf("wait for the registry to listen: %w", ctx.Err())
	}
}

// failure describes an end nobody asked for. Call it after done is closed.
func (p *process) failure() error {
	return fmt.Errorf("the registry ended (%s); its last lines:\n%s", p.command.ProcessState, strings.Join(p.tail, "\n"))
}

func (p *process) stop() {
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopGrace):
		_ = p.command.Process.Kill()
		<-p.done
	}
}
