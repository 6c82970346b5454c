package workloadtest

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Subject is a driver under test, with what the suite needs around it.
type Subject struct {
	Driver workload.Driver
	// Image is a reference the engine can run. Its program writes the line
	// "warming up" to standard error, and "hello $GREETING" and then "ready" to
	// standard output. Without arguments it runs until it is stopped; with the arguments
	// "exit" and a number it ends at once with that exit code; with "work" and two
	// numbers it writes "run" and a word that no other run has, goes on for as many
	// seconds as the first says and ends with the second as its exit code.
	Image string
	// Program is the path of a program in the image that can be run in its
	// containers. With the argument "echo" it copies its input to standard
	// output until that ends, then writes "done" to standard error and ends
	// with exit code 7; "env" and a name prints the value of that variable;
	// "flood" writes to standard output for ever; "size" prints the size of its
	// terminal, as in "80x25", at once and whenever that changes.
	Program string
	// MissingImage is a reference that cannot be pulled.
	MissingImage string
	// Unsupported makes a container ask for something the driver cannot
	// honor, and returns the key as the API calls it.
	Unsupported func(*spec.Container) string
	// Pods is true when containers are pods: a stopped one is gone with its log
	// and its times, names are kept apart by prefix, what is written to standard
	// error is not told from the rest, and commands get no environment of
	// their own.
	Pods bool
	// AddForeign runs a container under the engine name that no driver made,
	// and removes it when the test ends.
	AddForeign func(t *testing.T, engineName string)
}

// Factory makes the subject of one test.
type Factory func(t *testing.T) Subject

// patience is how long a test waits for something that must happen.
const patience = 60 * time.Second

// Run states the contract of workload.Driver as tests and runs them on the
// subjects that factory makes. Tests share an engine with whatever else runs
// on it and look only at their own deployments.
func Run(t *testing.T, factory Factory) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*bench)
	}{
		{"the engine describes itself", infoDescribes},
		{"a plan tells what apply does", planTells},
		{"a plan refuses what apply refuses", planRefuses},
		{"apply runs every workload", applyRunsAll},
		{"apply again keeps unchanged containers", applyKeeps},
		{"apply starts an unchanged container that is stopped", applyStartsStopped},
		{"a changed workload is replaced", applyReplaces},
		{"a workload may be meant to end", applyExpectsEnd},
		{"a failing release leaves the previous one serving", failureKeepsOld},
		{"one failing workload fails the whole release", failureIsWhole},
		{"an image that cannot be pulled stops nothing", failureOfPull},
		{"a failing first release leaves nothing serving", failureOfFirst},
		{"a workload no longer named is retired", applyRetires},
		{"a cancelled apply converges when repeated", cancelConverges},
		{"a name taken by another is a conflict", conflictWithForeign},
		{"a name taken under another prefix is a conflict", conflictWithOther},
		{"the next deployment takes the prefix over", takeoverReplaces},
		{"a failing takeover leaves the old deployment serving", takeoverKeepsOld},
		{"a pre-deploy hook runs before the release", hookRunsBefore},
		{"a failing pre-deploy hook leaves the previous release serving", hookKeepsOld},
		{"a pre-deploy hook that takes too long is stopped", hookTakesTooLong},
		{"a post-deploy hook runs when the release is in place", hookRunsAfter},
		{"a hook runs once though its agent is cut off", hookRunsOnce},
		{"what is not supported is refused by its name", unsupportedIsNamed},
		{"remove empties the prefix and no other", removeRemoves},
		{"list includes foreign containers", listForeign},
		{"commands act on a container", commandsAct},
		{"commands refuse what is missing or foreign", commandsRefuse},
		{"logs come in order", logsInOrder},
		{"logs follow until told to stop", logsFollow},
		{"logs wait for a slow reader and end with their context", logsWait},
		{"list tells of starts, ends and their times", listTellsTimes},
		{"inspect tells no secrets", inspectHides},
		{"exec connects input, output and exit code", execConnects},
		{"exec has a terminal that can be resized", execResizes},
		{"exec refuses what cannot run", execRefuses},
		{"exec waits for a slow reader and ends with its context", execWaits},
		{"exec ends when its output is refused", execStops},
		{"watch tells of changes until its context ends", watchTells},
	} {
		t.Run(test.name, func(t *testing.T) {
			subject := factory(t)
			if subject.Pods {
				t.Parallel() // a cluster takes its time, and has a namespace for each
			}
			test.run(newBench(t, subject))
		})
	}
}

// bench is one test at work: a subject and a deployment of its own.
type bench struct {
	*testing.T
	Subject
	ctx    context.Context
	prefix string
	id     string

	mu     sync.Mutex
	events []workload.Event
}

func newBench(t *testing.T, subject Subject) *bench {
	t.Helper()
	token := "t" + lowerHex(4)
	b := &bench{T: t, Subject: subject, ctx: t.Context(), prefix: token, id: "deployment-" + token}
	b.cleanUp(b.prefix)
	return b
}

// cleanUp empties a prefix when the test ends.
func (b *bench) cleanUp(prefix string) {
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), patience)
		defer cancel()
		if err := b.Driver.Remove(ctx, prefix, workload.ReporterFunc(func(workload.Event) {})); err != nil {
			b.Errorf("clean up %s: %v", prefix, err)
		}
	})
}

// Report collects events.
func (b *bench) Report(e workload.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e)
}

// change alters the configuration of a workload in a test.
type change func(*spec.Container)

func greeting(text string) change {
	return func(c *spec.Container) { c.Environment = []spec.KeyValue{{Key: "GREETING", Value: text}} }
}

func exits(code string) change {
	return func(c *spec.Container) { c.Args = []spec.Key{{Key: "exit"}, {Key: code}} }
}

func (b *bench) workload(name string, changes ...change) spec.Workload {
	conf := spec.Container{Name: &name}
	for _, c := range changes {
		c(&conf)
	}
	return spec.Workload{InstanceID: "instance-" + name, Image: spec.Image{Reference: b.Image}, Container: conf}
}

// release renders workloads as the controller does.
func (b *bench) release(number int64, workloads ...spec.Workload) spec.Deployment {
	b.Helper()
	d := spec.Normalize(spec.Deployment{ID: b.id, Prefix: b.prefix, Release: number, Workloads: workloads})
	if err := spec.Validate(d).Err(); err != nil {
		b.Fatalf("the suite made an invalid deployment: %v", err)
	}
	for i, w := range d.Workloads {
		d.Workloads[i].Hash = spec.Hash(w)
	}
	return d
}

// under is another prefix on the same engine.
func (b *bench) under(prefix string) *bench {
	b.Helper()
	other := &bench{T: b.T, Subject: b.Subject, ctx: b.ctx, prefix: prefix, id: "deployment-" + prefix}
	other.cleanUp(prefix)
	return other
}

// successor is the next deployment under the same prefix.
func (b *bench) successor() *bench {
	return &bench{T: b.T, Subject: b.Subject, ctx: b.ctx, prefix: b.prefix, id: b.id + "-next"}
}

func (b *bench) apply(d spec.Deployment) {
	b.Helper()
	if err := b.Driver.Apply(b.ctx, d, b); err != nil {
		b.Fatalf("Apply %s: %v", d, err)
	}
}

// applyFails applies a deployment that must fail and returns its failure card.
func (b *bench) applyFails(d spec.Deployment) *workload.Failure {
	b.Helper()
	err := b.Driver.Apply(b.ctx, d, b)
	var failure *workload.Failure
	if !errors.As(err, &failure) {
		b.Fatalf("Apply %s: %v, want a failure card", d, err)
	}
	return failure
}

func (b *bench) list() []workload.Container {
	b.Helper()
	list, err := b.Driver.List(b.ctx)
	if err != nil {
		b.Fatalf("List: %v", err)
	}
	return list
}

// serving returns the container that bears the workload's own name.
func (b *bench) serving(name string) (workload.Container, bool) {
	b.Helper()
	list := b.list()
	i := slices.IndexFunc(list, func(c workload.Container) bool {
		return c.ID == workload.ContainerID{Prefix: b.prefix, Name: name}
	})
	if i < 0 {
		return workload.Container{}, false
	}
	return list[i], true
}

// running returns the workload's container and demands that it runs.
func (b *bench) running(name string) workload.Container {
	b.Helper()
	c, ok := b.serving(name)
	if !ok {
		b.Fatalf("there is no container %s-%s", b.prefix, name)
	}
	if c.State != spec.StateRunning {
		b.Fatalf("container %s-%s is %s (%s), want running", b.prefix, name, c.State, c.Reason)
	}
	return c
}

// runningUnder counts the running containers that the driver made under a
// prefix.
func (b *bench) runningUnder(prefix string) int {
	b.Helper()
	n := 0
	for _, c := range b.list() {
		if c.Managed && c.ID.Prefix == prefix && c.State == spec.StateRunning {
			n++
		}
	}
	return n
}

// webLog returns all that the container of workload web has written.
func (b *bench) webLog() []workload.LogLine {
	b.Helper()
	var lines []workload.LogLine
	err := b.Driver.Logs(b.ctx, workload.ContainerID{Prefix: b.prefix, Name: "web"}, workload.LogOptions{Tail: -1},
		func(l workload.LogLine) error { lines = append(lines, l); return nil })
	if err != nil {
		b.Fatalf("Logs of web: %v", err)
	}
	return lines
}

// eventually waits until a condition holds; the condition returns what it saw.
func (b *bench) eventually(what string, condition func() (ok bool, seen any)) {
	b.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, seen := condition()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			b.Fatalf("waited %v for %s; last seen: %+v", patience, what, seen)
		}
	}
}

// wantKind checks the kind of an error.
func (b *bench) wantKind(what string, err error, kinds ...apperr.Kind) {
	b.Helper()
	if err == nil || !slices.Contains(kinds, apperr.KindOf(err)) {
		b.Errorf("%s: %v, want an error of kind %v", what, err, kinds)
	}
}

func lowerHex(bytes int) string {
	const digits = "0123456789abcdef"
	raw := make([]byte, bytes)
	_, _ = rand.Read(raw) // never fails
	var out []byte
	for _, b := range raw {
		out = append(out, digits[b>>4], digits[b&15])
	}
	return string(out)
}
