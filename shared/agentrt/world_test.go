package agentrt_test

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/agentrt/agentrttest"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/specpb"
	"fairlead.dev/shared/workload"
	"fairlead.dev/shared/workload/workloadtest"
)

// node is a machine with an engine that outlives the agents that run on it.
type node struct {
	t      *testing.T
	dir    string
	driver workload.Driver
	log    io.Writer
	// spoolBytes bounds the agent's facts; 0 is the default.
	spoolBytes int64
	// ahead is how far the machine's clock is ahead of the test's.
	ahead time.Duration
}

func newNode(t *testing.T, driver workload.Driver) *node {
	t.Helper()
	if driver == nil {
		driver = workloadtest.NewFakeDriver(workloadtest.FakeOptions{})
	}
	return &node{t: t, dir: filepath.Join(t.TempDir(), "agent"), driver: driver, log: t.Output()}
}

// process is a running agent.
type process struct {
	t     *testing.T
	stop  context.CancelFunc
	ended chan struct{}
	err   error
}

// start starts an agent on the node; it is stopped with the test.
func (n *node) start() *process {
	n.t.Helper()
	return n.startWith(func(*agentrt.Config) {})
}

// startWith starts an agent with a changed configuration.
func (n *node) startWith(change func(*agentrt.Config)) *process {
	n.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{t: n.t, stop: cancel, ended: make(chan struct{})}
	config := agentrt.Config{
		SpoolBytes: n.spoolBytes,
		StateDir:   n.dir, Driver: n.driver, NodeType: "docker", Hostname: "host",
		Log: slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Now: func() time.Time { return time.Now().Add(n.ahead) },
	}
	change(&config)
	agent := agentrt.New(config)
	go func() {
		defer close(p.ended)
		p.err = agent.Run(ctx)
	}()
	n.t.Cleanup(func() {
		cancel()
		<-p.ended
	})
	return p
}

// wait returns what the agent ended with.
func (p *process) wait() error {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.err
	case <-time.After(agentrttest.Patience):
		p.t.Fatal("the agent does not end")
		return nil
	}
}

// quit stops the agent as a service manager does.
func (p *process) quit() {
	p.t.Helper()
	p.stop()
	if err := p.wait(); err != nil {
		p.t.Fatalf("the agent ended with %v", err)
	}
}

// enrolled returns a controller and a node whose agent has been enrolled and
// is welcomed.
func enrolled(t *testing.T, driver workload.Driver) (*agentrttest.Controller, *node, *process, *agentrttest.Session) {
	t.Helper()
	c := agentrttest.Start(t)
	n := newNode(t, driver)
	c.WriteEnrolment(t, n.dir, "token")
	p := n.start()
	return c, n, p, c.Welcome(t)
}

func (n *node) has(name string) bool {
	_, err := os.Stat(filepath.Join(n.dir, name))
	return err == nil
}

func (n *node) read(name string) string {
	n.t.Helper()
	content, err := os.ReadFile(filepath.Join(n.dir, name))
	if err != nil {
		n.t.Fatal(err)
	}
	return string(content)
}

// deployment is assigned at a generation; its release has the same number.
func deployment(prefix string, generation uint64) *agentv1.Assignment {
	name := "web"
	d := spec.Normalize(spec.Deployment{
		ID: "id-" + prefix, Prefix: prefix, Release: int64(generation),
		Workloads: []spec.Workload{{
			InstanceID: "i-" + prefix,
			Image:      spec.Image{Reference: "web:1"},
			Container: spec.Container{Name: &name, Environment: []spec.KeyValue{
				{Key: "GENERATION", Value: string(rune('0' + generation))},
			}},
		}},
	})
	for i := range d.Workloads {
		d.Workloads[i].Hash = spec.Hash(d.Workloads[i])
	}
	return &agentv1.Assignment{
		Prefix: prefix, Generation: generation,
		Desired: &agentv1.Assignment_Deployment{Deployment: specpb.DeploymentToProto(d)},
	}
}

func tombstone(prefix string, generation uint64) *agentv1.Assignment {
	return &agentv1.Assignment{
		Prefix: prefix, Generation: generation,
		Desired: &agentv1.Assignment_Tombstone{Tombstone: &agentv1.Tombstone{DeploymentId: "id-" + prefix, Act: "delete"}},
	}
}

func set(generation uint64, assignments ...*agentv1.Assignment) *agentv1.AssignmentSet {
	s := &agentv1.AssignmentSet{Lineage: "lineage", Generation: generation, Assignments: assignments}
	s.SetHash = specpb.SetHash(s)
	return s
}

// containers returns the engine's container ids by name.
func (n *node) containers() map[string]string {
	n.t.Helper()
	list, err := n.driver.List(context.Background())
	if err != nil {
		n.t.Fatal(err)
	}
	ids := map[string]string{}
	for _, c := range list {
		ids[spec.ContainerName(c.ID.Prefix, c.ID.Name)] = c.EngineID
	}
	return ids
}

// gated is a driver whose Apply stops at a gate until the test opens it, or
// its context ends.
type gated struct {
	workload.Driver
	entered chan int64 // releases that came to the gate

	mu   sync.Mutex
	open bool
}

func newGated() *gated {
	return &gated{Driver: workloadtest.NewFakeDriver(workloadtest.FakeOptions{}), entered: make(chan int64, 16)}
}

func (g *gated) setOpen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = true
}

func (g *gated) Apply(ctx context.Context, d spec.Deployment, report workload.Reporter) error {
	g.entered <- d.Release
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	if !open {
		<-ctx.Done()
		return ctx.Err()
	}
	return g.Driver.Apply(ctx, d, report)
}

func (g *gated) awaitRelease(t *testing.T, want int64) {
	t.Helper()
	select {
	case got := <-g.entered:
		if got != want {
			t.Fatalf("release %d is applied, want %d", got, want)
		}
	case <-time.After(agentrttest.Patience):
		t.Fatalf("release %d is not applied", want)
	}
}

func workloadID(name string) workload.ContainerID {
	return workload.ContainerID{Prefix: "shop", Name: name}
}

// awaitContainer waits until a container of the shop is told to be so.
func awaitContainer(t *testing.T, s *agentrttest.Session, name string, is func(*agentv1.Container) bool) {
	t.Helper()
	s.Await(t, "container "+name, func(m *agentv1.AgentMessage) bool {
		for _, c := range m.GetStatus().GetContainers().GetContainers() {
			if c.GetPrefix() == "shop" && c.GetName() == name && is(c) {
				return true
			}
		}
		return false
	})
}
