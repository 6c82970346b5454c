package workloadtest

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

func listForeign(b *bench) {
	name := "foreign-" + b.prefix
	b.AddForeign(b.T, name)
	list := b.list()
	i := slices.IndexFunc(list, func(c workload.Container) bool { return c.ID.Name == name })
	if i < 0 {
		b.Fatalf("List leaves out %s: %+v", name, list)
	}
	c := list[i]
	if c.Managed || c.ID.Prefix != "" || c.DeploymentID != "" || c.InstanceID != "" || c.Release != 0 || c.SpecHash != "" {
		b.Errorf("foreign container is listed as one of ours: %+v", c)
	}
	if c.State != spec.StateRunning || c.ImageName == "" || c.EngineID == "" || c.CreatedAt.IsZero() {
		b.Errorf("foreign container is listed incompletely: %+v", c)
	}
}

func commandsAct(b *bench) {
	b.apply(b.release(1, b.workload("web")))
	id := b.running("web").ID
	if err := b.Driver.Stop(b.ctx, id); err != nil {
		b.Fatalf("Stop: %v", err)
	}
	if c, _ := b.serving("web"); c.State != spec.StateExited {
		b.Errorf("after Stop the container is %s", c.State)
	}
	if err := b.Driver.Start(b.ctx, id); err != nil {
		b.Fatalf("Start: %v", err)
	}
	b.running("web")
	starts := func() (n int) {
		for _, l := range b.webLog() {
			if l.Text == "ready" {
				n++
			}
		}
		return n
	}
	// A pod's log goes with it.
	second, third := 2, 3
	if b.Pods {
		second, third = 1, 1
	}
	b.eventually("the second start in the log", func() (bool, any) { n := starts(); return n == second, n })
	if err := b.Driver.Restart(b.ctx, id); err != nil {
		b.Fatalf("Restart: %v", err)
	}
	b.running("web")
	b.eventually("the third start in the log", func() (bool, any) { n := starts(); return n == third, n })
	if err := b.Driver.Delete(b.ctx, id); err != nil {
		b.Fatalf("Delete: %v", err)
	}
	if c, ok := b.serving("web"); ok {
		b.Errorf("after Delete the container is %+v", c)
	}
}

func commandsRefuse(b *bench) {
	name := "foreign-" + b.prefix
	b.AddForeign(b.T, name)
	for verb, command := range map[string]func(context.Context, workload.ContainerID) error{
		"Start": b.Driver.Start, "Stop": b.Driver.Stop, "Restart": b.Driver.Restart, "Delete": b.Driver.Delete,
	} {
		b.wantKind(verb+" a missing container", command(b.ctx, workload.ContainerID{Prefix: b.prefix, Name: "none"}), apperr.NotFound)
		b.wantKind(verb+" a foreign container", command(b.ctx, workload.ContainerID{Name: name}), apperr.Forbidden)
	}
	if !slices.ContainsFunc(b.list(), func(c workload.Container) bool {
		return c.ID.Name == name && c.State == spec.StateRunning
	}) {
		b.Error("a refused command changed the foreign container")
	}
	missing := b.Driver.Logs(b.ctx, workload.ContainerID{Prefix: b.prefix, Name: "none"}, workload.LogOptions{Tail: -1},
		func(workload.LogLine) error { return nil })
	b.wantKind("Logs of a missing container", missing, apperr.NotFound)
}

func logsInOrder(b *bench) {
	b.apply(b.release(1, b.workload("web", greeting("there"))))
	var log []workload.LogLine
	b.eventually("three log lines", func() (bool, any) { log = b.webLog(); return len(log) == 3, log })
	// Engines keep the order within a stream only.
	streams := map[string][]string{}
	for _, l := range log {
		streams[l.Stream] = append(streams[l.Stream], l.Text)
		if l.Time.IsZero() {
			b.Errorf("line %+v has no time", l)
		}
	}
	if b.Pods {
		streams["stdout"] = slices.DeleteFunc(streams["stdout"], func(text string) bool { return text == "warming up" })
		streams["stderr"] = append(streams["stderr"], "warming up")
	}
	if !slices.Equal(streams["stdout"], []string{"hello there", "ready"}) || !slices.Equal(streams["stderr"], []string{"warming up"}) {
		b.Errorf("log is %+v", log)
	}
	read := func(opts workload.LogOptions) (texts []string) {
		if err := b.Driver.Logs(b.ctx, workload.ContainerID{Prefix: b.prefix, Name: "web"}, opts,
			func(l workload.LogLine) error { texts = append(texts, l.Text); return nil }); err != nil {
			b.Fatalf("Logs(%+v): %v", opts, err)
		}
		return texts
	}
	if got := read(workload.LogOptions{Tail: 1}); !slices.Equal(got, []string{log[2].Text}) {
		b.Errorf("the last line is %q, want %q", got, log[2].Text)
	}
	if got := read(workload.LogOptions{Tail: -1, Since: log[2].Time.Add(time.Hour)}); len(got) != 0 {
		b.Errorf("lines of the future are %q", got)
	}
	if got := read(workload.LogOptions{Tail: 0}); len(got) != 0 {
		b.Errorf("none of the past is %q", got)
	}
	stop := errors.New("enough")
	if err := b.Driver.Logs(b.ctx, workload.ContainerID{Prefix: b.prefix, Name: "web"}, workload.LogOptions{Tail: -1},
		func(workload.LogLine) error { return stop }); !errors.Is(err, stop) {
		b.Errorf("Logs: %v, want the error of the callback", err)
	}
}

func logsFollow(b *bench) {
	b.apply(b.release(1, b.workload("web")))
	id := b.running("web").ID
	b.eventually("the first log", func() (bool, any) { log := b.webLog(); return len(log) == 3, log })

	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	lines := make(chan string)
	ended := make(chan error, 1)
	go func() {
		ended <- b.Driver.Logs(ctx, id, workload.LogOptions{Tail: -1, Follow: true}, func(l workload.LogLine) error {
			if l.Stream != "stdout" || l.Text == "warming up" {
				return nil
			}
			select {
			case lines <- l.Text:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	for _, want := range []string{"hello ", "ready"} {
		select {
		case got := <-lines:
			if got != want {
				b.Errorf("followed line is %q, want %q", got, want)
			}
		case err := <-ended:
			b.Fatalf("Logs ended early: %v", err)
		}
	}
	select {
	case err := <-ended:
		b.Fatalf("Logs ended although the container runs: %v", err)
	default:
	}
	cancel()
	if err := <-ended; err != nil {
		b.Errorf("Logs: %v, want nil when the context ends", err)
	}
}

func watchTells(b *bench) {
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	var calls atomic.Int64
	ended := make(chan error, 1)
	go func() { ended <- b.Driver.Watch(ctx, func() { calls.Add(1) }) }()

	b.eventually("a change to be told", func() (bool, any) {
		select {
		case err := <-ended:
			b.Fatalf("Watch ended early: %v", err)
		default:
		}
		before := calls.Load()
		b.apply(b.release(1, b.workload("web")))
		if err := b.Driver.Remove(b.ctx, b.prefix, b); err != nil {
			b.Fatalf("Remove: %v", err)
		}
		return calls.Load() > before, calls.Load()
	})
	cancel()
	if err := <-ended; err != nil {
		b.Errorf("Watch: %v, want nil when the context ends", err)
	}
}
