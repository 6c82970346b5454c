package workloadtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// logsWait follows a log with a reader that does not read.
func logsWait(b *bench) {
	b.apply(b.release(1, b.workload("web")))
	id := b.running("web").ID
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	stuck := make(chan struct{})
	var once sync.Once
	ended := make(chan error, 1)
	go func() {
		ended <- b.Driver.Logs(ctx, id, workload.LogOptions{Tail: -1, Follow: true}, func(workload.LogLine) error {
			once.Do(func() { close(stuck) })
			<-ctx.Done()
			return nil
		})
	}()
	b.await("a line", stuck)
	b.running("web") // others are served meanwhile
	cancel()
	if err := b.awaitEnd("Logs", ended); err != nil {
		b.Errorf("Logs: %v, want nil when the context ends", err)
	}
}

func listTellsTimes(b *bench) {
	b.apply(b.release(1, b.workload("web")))
	first := b.running("web")
	if first.StartedAt.IsZero() || !first.FinishedAt.IsZero() || first.RestartCount != 0 || first.OOMKilled {
		b.Errorf("a container at its first start: %+v", first)
	}
	if err := b.Driver.Stop(b.ctx, first.ID); err != nil {
		b.Fatalf("Stop: %v", err)
	}
	if b.Pods {
		return // times go with the pod
	}
	stopped, _ := b.serving("web")
	if !stopped.StartedAt.Equal(first.StartedAt) || stopped.FinishedAt.Before(first.StartedAt) {
		b.Errorf("a stopped container started at %v and finished at %v; it was started at %v", stopped.StartedAt, stopped.FinishedAt, first.StartedAt)
	}
	if err := b.Driver.Start(b.ctx, first.ID); err != nil {
		b.Fatalf("Start: %v", err)
	}
	again := b.running("web")
	if !again.StartedAt.After(first.StartedAt) || !again.FinishedAt.Equal(stopped.FinishedAt) {
		b.Errorf("a container started again: %+v, it was %+v", again, stopped)
	}
}

func inspectHides(b *bench) {
	b.apply(b.release(1, b.workload("web", greeting("hush-hush"))))
	id := b.running("web").ID
	text, err := b.Driver.Inspect(b.ctx, id)
	if err != nil {
		b.Fatalf("Inspect: %v", err)
	}
	var object map[string]any
	if err := json.Unmarshal(text, &object); err != nil || len(object) == 0 {
		b.Errorf("Inspect returned %s, want a JSON object: %v", text, err)
	}
	if bytes.Contains(text, []byte("hush-hush")) || !bytes.Contains(text, []byte("GREETING")) {
		b.Errorf("Inspect must tell of variables without their values: %s", text)
	}
	name := "foreign-" + b.prefix
	b.AddForeign(b.T, name)
	if _, err := b.Driver.Inspect(b.ctx, workload.ContainerID{Name: name}); err != nil {
		b.Errorf("Inspect of a foreign container: %v", err)
	}
	_, err = b.Driver.Inspect(b.ctx, workload.ContainerID{Prefix: b.prefix, Name: "none"})
	b.wantKind("Inspect of a missing container", err, apperr.NotFound)
}

// collector gathers what a command writes.
type collector struct {
	mu      sync.Mutex
	written map[string]string
}

func (c *collector) output(stream string, data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.written == nil {
		c.written = map[string]string{}
	}
	c.written[stream] += string(data)
	return nil
}

func (c *collector) text(stream string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.written[stream]
}

func execConnects(b *bench) {
	b.apply(b.release(1, b.workload("web")))
	id := b.running("web").ID

	input := make(chan []byte, 3)
	large := strings.Repeat("0123456789abcdef", 2<<10) // as large as a piece may be
	input <- []byte("one ")
	input <- []byte(large)
	input <- []byte(" two")
	close(input)
	var said collector
	code, err := b.Driver.Exec(b.ctx, id, workload.ExecOptions{Command: []string{b.Program, "echo"}},
		workload.ExecStreams{Input: input, Output: said.output})
	if err != nil || code != 7 {
		b.Errorf("Exec = %d, %v, want exit code 7", code, err)
	}
	if got, want := said.text(workload.StreamStdout), "one "+large+" two"; got != want {
		b.Errorf("standard output has %d bytes, want the %d of the input", len(got), len(want))
	}
	if got := said.text(workload.StreamStderr); got != "done\n" {
		b.Errorf("standard error is %q", got)
	}

	if b.Pods {
		return
	}
	var greeted collector
	code, err = b.Driver.Exec(b.ctx, id, workload.ExecOptions{
		Command: []string{b.Program, "env", "NAME"}, Environment: map[string]string{"NAME": "value"},
	}, workload.ExecStreams{Output: greeted.output})
	if err != nil || code != 0 || greeted.text(workload.StreamStdout) != "value\n" {
		b.Errorf("Exec = %d, %v and wrote %q", code, err, greeted.text(workload.StreamStdout))
	}
}

func execResizes(b *bench) {
	b.apply(b.release(1, b.workload("web")))
	id := b.running("web").ID
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	resize := make(chan workload.TerminalSize, 1)
	var said collector
	ended := make(chan error, 1)
	go func() {
		_, err := b.Driver.Exec(ctx, id, workload.ExecOptions{
			Command: []string{b.Program, "size"}, Terminal: true, Size: workload.TerminalSize{Columns: 101, Rows: 31},
		}, workload.ExecStreams{Input: make(chan []byte), Resize: resize, Output: said.output})
		ended <- err
	}()
	awaitText := func(want string) {
		b.Helper()
		b.eventually(want, func() (bool, any) {
			select {
			case err := <-ended:
				b.Fatalf("Exec ended: %v; it wrote %q", err, said.text(workload.StreamStdout))
			default:
			}
			got := said.text(workload.StreamStdout)
			return strings.Contains(got, want+"\r\n"), got
		})
	}
	awaitText("101x31")
	resize <- workload.TerminalSize{Columns: 77, Rows: 22}
	awaitText("77x22")
	cancel()
	if err := b.awaitEnd("Exec", ended); !errors.Is(err, context.Canceled) {
		b.Errorf("Exec: %v, want the end of its context", err)
	}
}

func execRefuses(b *bench) {
	b.apply(b.release(1, b.workload("web")))
	id := b.running("web").ID
	exec := func(id workload.ContainerID, words ...string) error {
		var said collector
		code, err := b.Driver.Exec(b.ctx, id, workload.ExecOptions{Command: words}, workload.ExecStreams{Output: said.output})
		if err == nil {
			return fmt.Errorf("no error but exit code %d", code)
		}
		return err
	}
	b.wantKind("Exec of a missing program", exec(id, "/no/such/program", "x"), apperr.Invalid)
	b.wantKind("Exec of nothing", exec(id), apperr.Invalid)
	b.wantKind("Exec in a missing container", exec(workload.ContainerID{Prefix: b.prefix, Name: "none"}, b.Program, "echo"), apperr.NotFound)
	name := "foreign-" + b.prefix
	b.AddForeign(b.T, name)
	b.wantKind("Exec in a foreign container", exec(workload.ContainerID{Name: name}, b.Program, "echo"), apperr.Forbidden)
	if err := b.Driver.Stop(b.ctx, id); err != nil {
		b.Fatalf("Stop: %v", err)
	}
	b.wantKind("Exec in a stopped container", exec(id, b.Program, "echo"), apperr.Precondition)
}

// execWaits runs a command that writes without end for a reader that does not
// read.
func execWaits(b *bench) {
	b.apply(b.release(1, b.workload("web")))
	id := b.running("web").ID
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	stuck := make(chan struct{})
	pieces := 0
	ended := make(chan error, 1)
	go func() {
		_, err := b.Driver.Exec(ctx, id, workload.ExecOptions{Command: []string{b.Program, "flood"}}, workload.ExecStreams{
			Output: func(_ string, data []byte) error {
				if len(data) > 32<<10 {
					b.Errorf("a piece of %d bytes", len(data))
				}
				if pieces++; pieces == 3 {
					close(stuck)
					<-ctx.Done()
				}
				return ctx.Err()
			},
		})
		ended <- err
	}()
	b.await("the flood", stuck)
	b.running("web") // others are served meanwhile
	cancel()
	if err := b.awaitEnd("Exec", ended); !errors.Is(err, context.Canceled) {
		b.Errorf("Exec: %v, want the end of its context", err)
	}
	if pieces != 3 {
		b.Errorf("%d pieces were handed over, want none after the third", pieces)
	}
	if c := b.running("web"); c.State != spec.StateRunning {
		b.Errorf("the container is %+v", c)
	}
}

func execStops(b *bench) {
	b.apply(b.release(1, b.workload("web")))
	enough := errors.New("enough")
	_, err := b.Driver.Exec(b.ctx, b.running("web").ID, workload.ExecOptions{Command: []string{b.Program, "flood"}},
		workload.ExecStreams{Output: func(string, []byte) error { return enough }})
	if !errors.Is(err, enough) {
		b.Errorf("Exec: %v, want the error of Output", err)
	}
}

// await waits for a channel to be closed.
func (b *bench) await(what string, closed <-chan struct{}) {
	b.Helper()
	select {
	case <-closed:
	case <-time.After(patience):
		b.Fatalf("waited %v for %s", patience, what)
	}
}

// awaitEnd waits for the end of a call.
func (b *bench) awaitEnd(what string, ended <-chan error) error {
	b.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(patience):
		b.Fatalf("%s has not returned after %v", what, patience)
		return nil
	}
}
