// Package workloadtest holds what the port's users and its implementers test
// with: a driver that runs in memory, and the conformance suite that every
// driver passes.
package workloadtest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// Op is one thing a FakeDriver is about to do on its engine.
type Op struct {
	// Name is the step of a deploy, or the method: "info", "list", "watch",
	// "start", "stop", "restart", "delete", "logs", "inspect", "exec".
	Name string
	// Prefix, DeploymentID and InstanceID are empty where none is concerned.
	Prefix       string
	DeploymentID string
	InstanceID   string
	// Container is the engine name, empty where none is concerned.
	Container string
}

// FakeOptions script a FakeDriver. The zero value is an engine that does all
// at once and never fails.
type FakeOptions struct {
	// Seed makes the latencies repeatable.
	Seed uint64
	// MaxLatency is the longest an Op takes; each takes a random part of it.
	MaxLatency time.Duration
	// Wait passes the latency; nil waits in real time.
	Wait func(context.Context, time.Duration) error
	// Now tells the time; nil is time.Now.
	Now func() time.Time
	// Fail is asked before every Op, from any goroutine; an error it returns
	// is the Op's outcome. Nil never fails.
	Fail func(Op) error
	// Missing holds references of images that cannot be pulled.
	Missing []string
}

// FakeDriver is a workload.Driver whose engine is memory. It honors the
// port's contract and passes the suite of this package.
//
// Its containers run the program that the suite describes at Subject.Image,
// whatever their image is. A container that asks for routing is refused as
// unsupported.
type FakeDriver struct {
	options FakeOptions

	mu         sync.Mutex
	random     *rand.Rand
	created    int
	containers map[string]*fakeContainer // by engine name
	hooks      map[string]*fakeHook      // by what it is of; see hookKey
	changed    chan struct{}             // closed and replaced at every change
}

type fakeContainer struct {
	workload.Container
	workload spec.Workload
	log      []workload.LogLine
	flood    string // the line it never stops to write; empty when it does not
}

var _ workload.Driver = (*FakeDriver)(nil)

// NewFakeDriver makes a driver with an empty engine.
func NewFakeDriver(options FakeOptions) *FakeDriver {
	if options.Wait == nil {
		options.Wait = wait
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Fail == nil {
		options.Fail = func(Op) error { return nil }
	}
	return &FakeDriver{
		options:    options,
		random:     rand.New(rand.NewPCG(options.Seed, options.Seed)), //nolint:gosec // repeatable, not secret
		containers: map[string]*fakeContainer{},
		hooks:      map[string]*fakeHook{},
		changed:    make(chan struct{}),
	}
}

// AddForeign puts a running container on the engine that no driver made.
func (f *FakeDriver) AddForeign(engineName string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.containers[engineName] = &fakeContainer{Container: workload.Container{
		ID:        workload.ContainerID{Name: engineName},
		EngineID:  f.nextID(),
		ImageName: "foreign",
		ImageTag:  "latest",
		CreatedAt: f.options.Now(),
		State:     spec.StateRunning,
		Reason:    "running",
	}}
	f.notify()
}

// RemoveForeign takes a container that no driver made off the engine.
func (f *FakeDriver) RemoveForeign(engineName string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c, ok := f.containers[engineName]; ok && !c.Managed {
		delete(f.containers, engineName)
		f.notify()
	}
}

// Exit ends the main process of a container, as if by itself. It reports
// whether the container was running.
func (f *FakeDriver) Exit(engineName string, code int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.containers[engineName]
	if !ok || c.State != spec.StateRunning {
		return false
	}
	c.exit(code, f.options.Now())
	f.notify()
	return true
}

// Crash ends the main process of a container and starts it again, as the
// engine does by a restart policy; nobody sees it ended. It reports whether
// the container was running.
func (f *FakeDriver) Crash(engineName string, code int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.containers[engineName]
	if !ok || c.State != spec.StateRunning {
		return false
	}
	c.exit(code, f.options.Now())
	c.RestartCount++
	c.run(f.options.Now())
	f.notify()
	return true
}

// KillForMemory ends the main process of a container as the kernel does when
// there is no memory left. It reports whether the container was running.
func (f *FakeDriver) KillForMemory(engineName string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.containers[engineName]
	if !ok || c.State != spec.StateRunning {
		return false
	}
	c.exit(137, f.options.Now())
	c.OOMKilled, c.Reason = true, "OOMKilled"
	f.notify()
	return true
}

// Flood makes a container write the line without end and as fast as it is
// read by those who follow its log. It reports whether there is such a
// container.
func (f *FakeDriver) Flood(engineName, line string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.containers[engineName]
	if ok {
		c.flood = line
		f.notify()
	}
	return ok
}

// Info describes the engine, which is called "fake".
func (f *FakeDriver) Info(ctx context.Context) (workload.EngineInfo, error) {
	if err := f.do(ctx, Op{Name: "info"}); err != nil {
		return workload.EngineInfo{}, err
	}
	return workload.EngineInfo{ID: "fake", Name: "fake", Version: "1.0.0", OS: "linux", Architecture: "amd64"}, nil
}

// List returns every container by engine name.
func (f *FakeDriver) List(ctx context.Context) ([]workload.Container, error) {
	if err := f.do(ctx, Op{Name: "list"}); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []workload.Container
	for _, name := range slices.Sorted(maps.Keys(f.containers)) {
		list = append(list, f.containers[name].Container)
	}
	return list, nil
}

// Watch calls changed after every change until ctx ends.
func (f *FakeDriver) Watch(ctx context.Context, changed func()) error {
	for {
		f.mu.Lock()
		next := f.changed
		f.mu.Unlock()
		err := f.do(ctx, Op{Name: "watch"})
		if ctx.Err() != nil {
			return nil //nolint:nilerr // a watch ends well when its context ends
		}
		if err != nil {
			return err
		}
		changed()
		select {
		case <-next:
		case <-ctx.Done():
			return nil
		}
	}
}

// do passes the latency of an operation and returns the failure scripted for it.
func (f *FakeDriver) do(ctx context.Context, op Op) error {
	f.mu.Lock()
	var latency time.Duration
	if f.options.MaxLatency > 0 {
		latency = time.Duration(f.random.Int64N(int64(f.options.MaxLatency)))
	}
	f.mu.Unlock()
	if err := f.options.Wait(ctx, latency); err != nil {
		return apperr.Wrap(apperr.Unavailable, err, "%s was interrupted", op.Name)
	}
	return f.options.Fail(op)
}

// notify wakes every watcher and log follower; f.mu is held.
func (f *FakeDriver) notify() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// nextID makes an engine id; f.mu is held.
func (f *FakeDriver) nextID() string {
	f.created++
	return fmt.Sprintf("fake-%06d", f.created)
}

// run starts the program of a container.
func (c *fakeContainer) run(now time.Time) {
	c.State, c.Reason, c.ExitCode, c.OOMKilled = spec.StateRunning, "running", 0, false
	c.StartedAt = now
	greeting := ""
	for _, kv := range c.workload.Container.Environment {
		if kv.Key == "GREETING" {
			greeting = kv.Value
		}
	}
	c.log = append(c.log,
		workload.LogLine{Time: now, Stream: "stderr", Text: "warming up"},
		workload.LogLine{Time: now, Stream: "stdout", Text: "hello " + greeting},
		workload.LogLine{Time: now, Stream: "stdout", Text: "ready"})
	args := c.workload.Container.Args
	if len(args) == 2 && args[0].Key == "exit" {
		if code, err := strconv.Atoi(args[1].Key); err == nil {
			c.exit(code, now)
		}
	}
}

func (c *fakeContainer) exit(code int, now time.Time) {
	c.State, c.Reason, c.ExitCode = spec.StateExited, "exited", code
	c.FinishedAt = now
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
