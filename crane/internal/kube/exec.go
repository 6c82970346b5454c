package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	clientexec "k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Exec runs a command in the first running pod of a workload. A cluster gives a
// command no environment of its own: one that is asked for is refused.
func (d *Driver) Exec(ctx context.Context, id workload.ContainerID, opts workload.ExecOptions, streams workload.ExecStreams) (int, error) {
	if len(opts.Command) == 0 {
		return 0, apperr.New(apperr.Invalid, "run a command in %s: no command was given", id.Name)
	}
	if len(opts.Environment) > 0 {
		return 0, apperr.New(apperr.Unsupported, "run a command in %s: a cluster gives commands no environment of their own", id.Name)
	}
	t, err := d.own(ctx, "run a command in", id)
	if err != nil {
		return 0, err
	}
	var pod *corev1.Pod
	for _, p := range t.pods() {
		if p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil {
			pod = p
		}
	}
	if pod == nil || t.seen.State != spec.StateRunning {
		return 0, apperr.New(apperr.Precondition, "run a command in %s: it does not run", id.Name)
	}
	executor, err := d.executor(pod, opts, streams)
	if err != nil {
		return 0, err
	}
	return d.stream(ctx, executor, opts, streams)
}

func (d *Driver) executor(pod *corev1.Pod, opts workload.ExecOptions, streams workload.ExecStreams) (remotecommand.Executor, error) {
	url := d.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: pod.Spec.Containers[0].Name, Command: opts.Command, TTY: opts.Terminal,
			Stdin: streams.Input != nil, Stdout: true, Stderr: !opts.Terminal,
		}, scheme.ParameterCodec).URL()
	socket, err := remotecommand.NewWebSocketExecutor(d.config, http.MethodGet, url.String())
	if err != nil {
		return nil, fmt.Errorf("prepare a terminal: %w", err)
	}
	spdy, err := remotecommand.NewSPDYExecutor(d.config, http.MethodPost, url)
	if err != nil {
		return nil, fmt.Errorf("prepare a terminal: %w", err)
	}
	// API servers before 1.29, and proxies before others, know only the second.
	executor, err := remotecommand.NewFallbackExecutor(socket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return nil, fmt.Errorf("prepare a terminal: %w", err)
	}
	return executor, nil
}

func (d *Driver) stream(ctx context.Context, executor remotecommand.Executor, opts workload.ExecOptions, streams workload.ExecStreams) (int, error) {
	within, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := func(name string) io.Writer { return &writer{stream: name, output: streams.Output, stop: cancel} }
	options := remotecommand.StreamOptions{Tty: opts.Terminal, Stdout: out(workload.StreamStdout)}
	if !opts.Terminal {
		options.Stderr = out(workload.StreamStderr)
	}
	if streams.Input != nil {
		options.Stdin = &reader{input: streams.Input, ctx: within}
	}
	if opts.Terminal {
		options.TerminalSizeQueue = &sizes{first: opts.Size, more: streams.Resize, ctx: within}
	}
	err := executor.StreamWithContext(within, options)
	var exit clientexec.ExitError
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case context.Cause(within) != nil:
		return 0, context.Cause(within)
	case err == nil:
		return 0, nil
	case errors.As(err, &exit) && exit.Exited() && !cannotRun(err):
		return exit.ExitStatus(), nil
	case cannotRun(err):
		return 0, apperr.Wrap(apperr.Invalid, err, "run %q", opts.Command[0])
	default:
		return 0, clusterError(err, "run %q", opts.Command[0])
	}
}

// cannotRun recognises the container runtime's words for a program that cannot
// be started.
func cannotRun(err error) bool {
	text := err.Error()
	return strings.Contains(text, "failed to start exec") || strings.Contains(text, "executable file not found") ||
		strings.Contains(text, "no such file or directory") || strings.Contains(text, "OCI runtime exec failed")
}

// writer hands on what a command writes, in pieces of at most 32 KiB.
type writer struct {
	stream string
	output func(string, []byte) error
	stop   context.CancelCauseFunc
}

const maxPiece = 32 << 10

func (w *writer) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		piece := p[done:min(done+maxPiece, len(p))]
		if err := w.output(w.stream, piece); err != nil {
			w.stop(err)
			return done, err
		}
		done += len(piece)
	}
	return len(p), nil
}

// reader is what a command reads. It ends with the input or the command.
type reader struct {
	input <-chan []byte
	ctx   context.Context //nolint:containedctx // io.Reader has no place for it
	rest  []byte
}

func (r *reader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		select {
		case piece, more := <-r.input:
			if !more {
				return 0, io.EOF
			}
			r.rest = piece
		case <-r.ctx.Done():
			return 0, io.EOF
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// sizes are those of a terminal, the first at once.
type sizes struct {
	first workload.TerminalSize
	more  <-chan workload.TerminalSize
	ctx   context.Context //nolint:containedctx // the interface has no place for it
}

// Next returns the next size, nil when there will be none.
func (s *sizes) Next() *remotecommand.TerminalSize {
	if s.first != (workload.TerminalSize{}) {
		size := s.first
		s.first = workload.TerminalSize{}
		return &remotecommand.TerminalSize{Width: size.Columns, Height: size.Rows}
	}
	select {
	case size, more := <-s.more:
		if !more {
			return nil
		}
		return &remotecommand.TerminalSize{Width: size.Columns, Height: size.Rows}
	case <-s.ctx.Done():
		return nil
	}
}
