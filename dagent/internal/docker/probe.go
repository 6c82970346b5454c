package docker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"fairlead.dev/shared/apperr"
)

const (
	// probeInterval is the time from the end of one probe to the next.
	probeInterval = time.Second
	// probeTimeout bounds a probe when the image does not; it is the engine's
	// own default.
	probeTimeout = 30 * time.Second
	// firstPause is between the first two probes over the network.
	firstPause = 100 * time.Millisecond
	// networkTimeout bounds a probe over the network.
	networkTimeout = 5 * time.Second
	// maxProbeOutput is how much of a probe's output is kept, in bytes.
	maxProbeOutput = 4096
)

// probing probes a new container until it has passed its gate once. The engine
// runs an image's health check first after a whole interval, which is 30 s where
// the image names none; a deployment need not wait for that. The engine's
// verdict that a container is unhealthy stands beside it: a probe that fails
// here only means that there is more to wait for.
type probing struct {
	*Driver
	id      string
	gate    gate
	command []string
	timeout time.Duration
	address string

	passed chan struct{} // closed when all have succeeded
	cancel context.CancelFunc
	ended  sync.WaitGroup
	// said is the output of the last probe, to be read when all have ended.
	said string
}

// probe begins to probe a container. The caller calls stop.
func (d *Driver) probe(ctx context.Context, id string, g gate) *probing {
	ctx, cancel := context.WithCancel(ctx)
	p := &probing{Driver: d, id: id, gate: g, timeout: probeTimeout, passed: make(chan struct{}), cancel: cancel}
	p.ended.Go(func() { p.run(ctx) })
	return p
}

// stop ends the probing and returns what the last probe said.
func (p *probing) stop() string {
	p.cancel()
	p.ended.Wait()
	return p.said
}

func (p *probing) run(ctx context.Context) {
	seen, err := p.engine.ContainerInspect(ctx, p.id)
	if err != nil {
		return // who waits for the container finds the same
	}
	if p.gate.image {
		p.command = healthCommand(seen.Config)
		if len(p.command) == 0 {
			return
		}
		if set := seen.Config.Healthcheck.Timeout; set > 0 {
			p.timeout = set
		}
		if !p.repeat(ctx, p.once, probeInterval) {
			return
		}
	}
	p.address = addressOf(seen)
	for _, n := range p.gate.probes {
		ask := func(ctx context.Context) (bool, error) { return p.ask(ctx, n), nil }
		if !p.repeat(ctx, ask, firstPause) {
			return
		}
	}
	close(p.passed)
}

// repeat probes until that succeeds, with pauses that double up to the
// interval. It returns false when it gives up.
func (p *probing) repeat(ctx context.Context, probe func(context.Context) (bool, error), pause time.Duration) bool {
	for {
		healthy, err := probe(ctx)
		switch {
		case ctx.Err() != nil:
			return false
		case err != nil:
			p.options.Logger.Warn("run the health check of a container; the engine's own verdict decides", "container", p.id, "error", err)
			return false
		case healthy:
			return true
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, probeInterval)
		case <-ctx.Done():
			return false
		}
	}
}

// once runs the health command to its end and reports whether it succeeded in
// time. A process that outlives its timeout cannot be killed from here, so no
// other is started beside it.
func (p *probing) once(ctx context.Context) (healthy bool, err error) {
	made, err := p.engine.ContainerExecCreate(ctx, p.id, container.ExecOptions{
		Cmd: p.command, AttachStdout: true, AttachStderr: true,
	})
	if err != nil {
		return false, engineError(err, "prepare the health check")
	}
	bounded, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	said, err := p.listen(bounded, made.ID)
	if err == nil || p.said == "" { // one that was cut off does not hide what the one before it said
		p.said = said
	}
	if err != nil {
		return false, err
	}
	end, err := p.awaitProbe(ctx, made.ID)
	if err != nil {
		return false, err
	}
	return bounded.Err() == nil && end.ExitCode == 0, nil
}

// listen starts a prepared probe and returns its output when that ends or ctx
// does, with an error what came until then.
func (p *probing) listen(ctx context.Context, execID string) (string, error) {
	stream, err := p.attach(ctx, execID, container.ExecAttachOptions{})
	if err != nil {
		return "", engineError(err, "start the health check")
	}
	defer stream.Close()
	defer context.AfterFunc(ctx, stream.Close)() // which ends the reading

	output := &head{limit: maxProbeOutput}
	_, err = stdcopy.StdCopy(output, output, stream.Reader)
	said := strings.ToValidUTF8(string(output.kept), "\uFFFD")
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		said = fmt.Sprintf("%s\nhas not ended after %s", said, p.timeout)
	case err != nil:
		return strings.TrimSpace(said), engineError(err, "read the output of the health check")
	}
	return strings.TrimSpace(said), nil
}

// awaitProbe waits until the process of a probe has ended. Its output may end
// before it does.
func (p *probing) awaitProbe(ctx context.Context, execID string) (container.ExecInspect, error) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		seen, err := p.engine.ContainerExecInspect(ctx, execID)
		switch {
		case err != nil:
			return seen, engineError(err, "look at the health check")
		case seen.Running:
		case seen.Pid == 0 && seen.ExitCode == 0:
			return seen, apperr.New(apperr.Internal, "the engine did not run the health check")
		default:
			return seen, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return seen, engineError(ctx.Err(), "wait for the health check")
		}
	}
}

// healthCommand is the command of a container's health check, nil when it has
// none. The shell form runs in the image's shell, as the engine does it.
func healthCommand(config *container.Config) []string {
	if config == nil || config.Healthcheck == nil || len(config.Healthcheck.Test) < 2 {
		return nil
	}
	form, words := config.Healthcheck.Test[0], config.Healthcheck.Test[1:]
	switch form {
	case "CMD":
		return words
	case "CMD-SHELL":
		shell := []string{"/bin/sh", "-c"}
		if len(config.Shell) > 0 {
			shell = config.Shell
		}
		return append(append([]string{}, shell...), words[0])
	}
	return nil
}

// head keeps the beginning of what is written to it and drops the rest.
type head struct {
	limit int
	kept  []byte
}

func (h *head) Write(b []byte) (int, error) {
	h.kept = append(h.kept, b[:min(len(b), h.limit-len(h.kept))]...)
	return len(b), nil
}
