package docker

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

const (
	// maxPiece is the most output handed over at once.
	maxPiece = 32 << 10
	// hangUpTimeout bounds the attempt to write to a command that may not read.
	hangUpTimeout = time.Second
	// resizeTries is how often the size of a terminal is set before it is
	// given up: the engine refuses until the command has begun.
	resizeTries = 20
	// Exit codes of the engine for what it could not run.
	exitNotExecutable, exitNotFound = 126, 127
)

// Exec runs a command in a container of the driver's own making.
//
// The engine cannot end a command that it runs. When ctx ends, the input is
// closed, a terminal is sent an interrupt and an end of input, which ends shells
// and what they wait for, and the process is ended where the agent sees it. In
// an agent that does not see the host's processes a command that heeds none of
// this runs on in its container until that stops.
func (d *Driver) Exec(ctx context.Context, id workload.ContainerID, opts workload.ExecOptions, streams workload.ExecStreams) (int, error) {
	name := spec.ContainerName(id.Prefix, id.Name)
	if len(opts.Command) == 0 {
		return 0, apperr.New(apperr.Invalid, "run a command in container %s: there is no command", name)
	}
	seen, err := d.findOurs(ctx, "run a command in", id)
	if err != nil {
		return 0, err
	}
	if seen.State == nil || !seen.State.Running || seen.State.Restarting || seen.State.Paused {
		return 0, apperr.New(apperr.Precondition, "run a command in container %s: it is %s", name, seen.State.Status)
	}
	made, err := d.engine.ContainerExecCreate(ctx, seen.ID, container.ExecOptions{
		Cmd: opts.Command, Tty: opts.Terminal, Env: environmentOf(opts.Environment), ConsoleSize: consoleSize(opts),
		AttachStdin: streams.Input != nil, AttachStdout: true, AttachStderr: true,
	})
	if err != nil {
		return 0, engineError(err, "run a command in container %s", name)
	}
	stream, err := d.attach(ctx, made.ID, container.ExecAttachOptions{Tty: opts.Terminal, ConsoleSize: consoleSize(opts)})
	if err != nil {
		return 0, engineError(err, "run a command in container %s", name)
	}
	x := &execution{driver: d, id: made.ID, container: seen.ID, name: name, terminal: opts.Terminal, stream: stream, streams: streams}
	return x.run(ctx, opts.Size)
}

func environmentOf(values map[string]string) (list []string) {
	for name, value := range values {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}

// consoleSize is the size as newer engines take it at the start; nil when none
// is asked for.
func consoleSize(opts workload.ExecOptions) *[2]uint {
	if !opts.Terminal || opts.Size == (workload.TerminalSize{}) {
		return nil
	}
	return &[2]uint{uint(opts.Size.Rows), uint(opts.Size.Columns)}
}

// attach starts a prepared command and connects to it. The engine's client
// waits for the answer even after ctx has ended; this does not.
func (d *Driver) attach(ctx context.Context, execID string, options container.ExecAttachOptions) (types.HijackedResponse, error) {
	type answer struct {
		stream types.HijackedResponse
		err    error
	}
	answers := make(chan answer)
	go func() {
		stream, err := d.engine.ContainerExecAttach(ctx, execID, options)
		select {
		case answers <- answer{stream, err}:
		case <-ctx.Done():
			if err == nil {
				stream.Close()
			}
		}
	}()
	select {
	case a := <-answers:
		return a.stream, a.err
	case <-ctx.Done():
		return types.HijackedResponse{}, ctx.Err()
	}
}

// execution is one command that runs, connected to the caller.
type execution struct {
	driver *Driver
	// id is the engine's of the command, container of its container.
	id        string
	container string
	name      string
	terminal  bool
	stream    types.HijackedResponse
	streams   workload.ExecStreams
	// pid is the process on the host, 0 when that is not known.
	pid int
	// refused is the error that Output returned.
	refused error
}

// run serves the command until it has ended or ctx does, and leaves nothing of
// its own behind.
func (x *execution) run(ctx context.Context, size workload.TerminalSize) (int, error) {
	defer x.stream.Close()
	serving, cancel := context.WithCancel(ctx)
	var served sync.WaitGroup
	served.Go(func() { x.feed(serving) })
	served.Go(func() { x.resize(serving, size) })
	served.Go(func() { x.learn(serving) })
	// Ends reads and writes under way.
	stop := context.AfterFunc(ctx, x.hangUp)
	err := x.listen()
	if stop() && err != nil {
		x.hangUp()
	}
	if err == nil && ctx.Err() == nil {
		cancel() // nobody reads input any more
		x.stream.Close()
		served.Wait()
		return x.await(ctx)
	}
	cancel()
	x.stream.Close()
	served.Wait()
	x.end(ctx)
	switch {
	case x.refused != nil && ctx.Err() == nil:
		return 0, x.refused
	case ctx.Err() != nil:
		return 0, apperr.Wrap(apperr.Unavailable, ctx.Err(), "the command in container %s was cut short", x.name)
	}
	return 0, engineError(err, "read what the command in container %s writes", x.name)
}

// hangUp does to the command what closing a terminal would, and closes the
// connection.
func (x *execution) hangUp() {
	if x.terminal {
		const interrupt, endOfInput = 3, 4
		if x.stream.Conn.SetWriteDeadline(time.Now().Add(hangUpTimeout)) == nil {
			_, _ = x.stream.Conn.Write([]byte{interrupt, endOfInput})
		}
	}
	x.stream.Close()
}

// listen hands over what the command writes until there is no more.
func (x *execution) listen() (err error) {
	stdout := &outputWriter{execution: x, stream: workload.StreamStdout}
	if x.terminal {
		_, err = io.CopyBuffer(stdout, onlyReader{x.stream.Reader}, make([]byte, maxPiece))
		return err
	}
	_, err = stdcopy.StdCopy(stdout, &outputWriter{execution: x, stream: workload.StreamStderr}, x.stream.Reader)
	return err
}

// onlyReader keeps io.CopyBuffer to its buffer.
type onlyReader struct{ io.Reader }

type outputWriter struct {
	*execution
	stream string
}

func (w *outputWriter) Write(data []byte) (int, error) {
	for piece := range slices.Chunk(data, maxPiece) {
		if err := w.streams.Output(w.stream, piece); err != nil {
			w.refused = err
			return 0, err
		}
	}
	return len(data), nil
}

// feed gives the command its input, as fast as it reads.
func (x *execution) feed(ctx context.Context) {
	for x.streams.Input != nil {
		select {
		case data, more := <-x.streams.Input:
			if !more {
				_ = x.stream.CloseWrite() // the end of the output tells when this fails
				return
			}
			if _, err := x.stream.Conn.Write(data); err != nil {
				x.drain(ctx)
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// drain takes the input of a command that does not read it any more: whoever
// sends it must not be held up.
func (x *execution) drain(ctx context.Context) {
	for {
		select {
		case _, more := <-x.streams.Input:
			if !more {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// resize sets the size of the terminal, at the beginning too: older engines
// take it only once the command has begun.
func (x *execution) resize(ctx context.Context, size workload.TerminalSize) {
	if !x.terminal {
		return
	}
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	tries := resizeTries
	for {
		if size != (workload.TerminalSize{}) && tries > 0 {
			err := x.driver.engine.ContainerExecResize(ctx, x.id, container.ResizeOptions{
				Height: uint(size.Rows), Width: uint(size.Columns),
			})
			if tries--; err == nil {
				tries = 0
			}
		}
		again := tick.C
		if tries == 0 {
			again = nil
		}
		select {
		case size = <-x.streams.Resize:
			tries = resizeTries
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

// await waits until the process has ended, which may be after its output.
func (x *execution) await(ctx context.Context) (int, error) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		seen, err := x.driver.engine.ContainerExecInspect(ctx, x.id)
		switch {
		case err != nil:
			return 0, engineError(err, "ask how the command in container %s ended", x.name)
		case seen.Running:
		case seen.Pid == 0 && (seen.ExitCode == exitNotExecutable || seen.ExitCode == exitNotFound):
			return 0, apperr.New(apperr.Invalid, "the command cannot be run in container %s: what it wrote tells why", x.name)
		default:
			return seen.ExitCode, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, apperr.Wrap(apperr.Unavailable, ctx.Err(), "the command in container %s was cut short", x.name)
		}
	}
}
