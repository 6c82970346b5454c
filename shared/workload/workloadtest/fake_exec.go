package workloadtest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// FakeProgram is the program that can be run in every container of a
// FakeDriver; see Subject.Program.
const FakeProgram = "/program"

// Inspect returns what is known of a container.
func (f *FakeDriver) Inspect(ctx context.Context, id workload.ContainerID) ([]byte, error) {
	name := spec.ContainerName(id.Prefix, id.Name)
	if err := f.do(ctx, Op{Name: "inspect", Container: name}); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.containers[name]
	if !ok || c.Managed && !c.under(id.Prefix) {
		return nil, apperr.New(apperr.NotFound, "inspect container %s: there is none of that name", name)
	}
	env := map[string]string{}
	for _, kv := range c.workload.Container.Environment {
		env[kv.Key] = "(hidden)"
	}
	return json.Marshal(map[string]any{
		"id": c.EngineID, "name": name, "state": c.State, "environment": env, "restartCount": c.RestartCount,
	})
}

// Exec runs the program that the suite describes at Subject.Program.
func (f *FakeDriver) Exec(ctx context.Context, id workload.ContainerID, opts workload.ExecOptions, streams workload.ExecStreams) (int, error) {
	name := spec.ContainerName(id.Prefix, id.Name)
	if err := f.do(ctx, Op{Name: "exec", Container: name}); err != nil {
		return 0, err
	}
	if err := f.mayExec(name, id.Prefix, opts.Command); err != nil {
		return 0, err
	}
	p := &fakeProcess{opts: opts, streams: streams}
	switch verb := opts.Command[1]; verb {
	case "echo":
		return p.echo(ctx)
	case "env":
		return 0, p.write(ctx, workload.StreamStdout, opts.Environment[opts.Command[2]]+"\n")
	case "flood":
		for {
			if err := p.write(ctx, workload.StreamStdout, strings.Repeat("flood ", 1<<10)); err != nil {
				return 0, err
			}
		}
	case "size":
		return p.size(ctx)
	default:
		return 100, p.write(ctx, workload.StreamStderr, "unknown verb "+verb+"\n")
	}
}

func (f *FakeDriver) mayExec(name, prefix string, command []string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.containers[name]
	switch {
	case !ok || c.Managed && !c.under(prefix):
		return apperr.New(apperr.NotFound, "run a command in container %s: there is none of that name", name)
	case !c.Managed:
		return apperr.New(apperr.Forbidden, "run a command in container %s: it was not made by this driver", name)
	case c.State != spec.StateRunning:
		return apperr.New(apperr.Precondition, "run a command in container %s: it is not running", name)
	case len(command) < 2 || command[0] != FakeProgram:
		return apperr.New(apperr.Invalid, "run a command in container %s: there is no such program", name)
	}
	return nil
}

// fakeProcess is a command that runs in a container.
type fakeProcess struct {
	opts    workload.ExecOptions
	streams workload.ExecStreams
}

func (p *fakeProcess) write(ctx context.Context, stream, text string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if p.opts.Terminal {
		stream, text = workload.StreamStdout, strings.ReplaceAll(text, "\n", "\r\n")
	}
	return p.streams.Output(stream, []byte(text))
}

func (p *fakeProcess) echo(ctx context.Context) (int, error) {
	for p.streams.Input != nil {
		select {
		case data, more := <-p.streams.Input:
			if !more {
				return 7, p.write(ctx, workload.StreamStderr, "done\n")
			}
			if err := p.write(ctx, workload.StreamStdout, string(data)); err != nil {
				return 0, err
			}
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return 7, p.write(ctx, workload.StreamStderr, "done\n")
}

func (p *fakeProcess) size(ctx context.Context) (int, error) {
	for size := p.opts.Size; ; {
		if err := p.write(ctx, workload.StreamStdout, fmt.Sprintf("%dx%d\n", size.Columns, size.Rows)); err != nil {
			return 0, err
		}
		select {
		case size = <-p.streams.Resize:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}
