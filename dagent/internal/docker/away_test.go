package docker_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/dagent/internal/docker"
	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/agentrt/agentrttest"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/specpb"
	"fairlead.dev/shared/workload"
)

// door stands before the engine's socket and can be shut, as when the engine is
// restarted.
type door struct {
	path   string
	engine string

	mu       sync.Mutex
	listener net.Listener
	conns    []net.Conn
}

func newDoor(t *testing.T) *door {
	t.Helper()
	d := &door{path: filepath.Join(t.TempDir(), "docker.sock"), engine: strings.TrimPrefix(connect(t).DaemonHost(), "unix://")}
	d.open(t)
	t.Cleanup(d.shut)
	return d
}

func (d *door) open(t *testing.T) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(context.Background(), "unix", d.path)
	if err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	d.listener = listener
	d.mu.Unlock()
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := new(net.Dialer).DialContext(context.Background(), "unix", d.engine)
			if err != nil {
				_ = in.Close()
				continue
			}
			d.mu.Lock()
			shut := d.listener != listener // while it was led on
			if !shut {
				d.conns = append(d.conns, in, out)
			}
			d.mu.Unlock()
			if shut {
				_, _ = in.Close(), out.Close()
				continue
			}
			go join(in, out)
			go join(out, in)
		}
	}()
}

func join(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_ = to.Close()
}

func (d *door) shut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listener != nil {
		_ = d.listener.Close() // which removes the socket
	}
	d.listener = nil
	for _, c := range d.conns {
		_ = c.Close()
	}
	d.conns = nil
}

func TestWhatIsUnderWayEndsWhenTheEngineGoesAway(t *testing.T) {
	s := newSite(t, quick())
	s.apply(s.release(1, web()))
	d := newDoor(t)
	engine, err := docker.Connect("unix://" + d.path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = engine.Close() }()
	driver := docker.New(engine, quick())
	id := workload.ContainerID{Prefix: s.prefix, Name: "web"}

	begun := make(chan struct{}, 16)
	begin := func() {
		select {
		case begun <- struct{}{}:
		default:
		}
	}
	ended := map[string]chan error{"Watch": make(chan error, 1), "Logs": make(chan error, 1), "Exec": make(chan error, 1)}
	go func() { ended["Watch"] <- driver.Watch(t.Context(), begin) }()
	go func() {
		ended["Logs"] <- driver.Logs(t.Context(), id, workload.LogOptions{Tail: 1, Follow: true}, func(workload.LogLine) error { begin(); return nil })
	}()
	go func() {
		_, err := driver.Exec(t.Context(), id, workload.ExecOptions{Command: []string{"/program", "size"}, Terminal: true},
			workload.ExecStreams{Output: func(string, []byte) error { begin(); return nil }})
		ended["Exec"] <- err
	}()
	for range ended {
		<-begun
	}
	d.shut()
	for what, end := range ended {
		select {
		case err := <-end:
			if what != "Logs" && err == nil { // a log that breaks off looks like one that ends
				t.Errorf("%s ended well although the engine went away", what)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%s does not end", what)
		}
	}
	if _, err := driver.List(t.Context()); !apperr.Is(err, apperr.Unavailable) {
		t.Errorf("List: %v, want unavailable", err)
	}
	d.open(t)
	if _, err := driver.List(t.Context()); err != nil {
		t.Errorf("List when the engine is back: %v", err)
	}
}

// The whole agent on a real engine that goes away and comes back.
func TestTheAgentWaitsForItsEngine(t *testing.T) {
	s := newSite(t, quick())
	d := newDoor(t)
	engine, err := docker.Connect("unix://" + d.path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = engine.Close() }()
	controller := agentrttest.Start(t)
	dir := filepath.Join(t.TempDir(), "agent")
	controller.WriteEnrolment(t, dir, "token")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- agentrt.New(agentrt.Config{
			StateDir: dir, Driver: docker.New(engine, quick()), NodeType: "docker", Hostname: "host", Log: slog.New(slog.DiscardHandler),
		}).Run(ctx)
	}()
	defer func() { <-ended }()
	defer stop()

	session := controller.Welcome(t)
	set := &agentv1.AssignmentSet{Lineage: "lineage", Generation: 1, Assignments: []*agentv1.Assignment{{
		Prefix: s.prefix, Generation: 1,
		Desired: &agentv1.Assignment_Deployment{Deployment: specpb.DeploymentToProto(s.release(1, web()))},
	}}}
	set.SetHash = specpb.SetHash(set)
	session.Assign(t, set)
	awaitWeb := func(what string, is func(list *agentv1.ContainerList, web *agentv1.Container) bool) {
		t.Helper()
		session.Await(t, what, func(m *agentv1.AgentMessage) bool {
			list := m.GetStatus().GetContainers()
			for _, c := range list.GetContainers() {
				if c.GetPrefix() == s.prefix && c.GetName() == "web" && is(list, c) {
					return true
				}
			}
			return false
		})
	}
	awaitWeb("the container", func(_ *agentv1.ContainerList, c *agentv1.Container) bool { return c.GetState() == "running" })

	d.shut()
	awaitWeb("word of the engine, with the container", func(list *agentv1.ContainerList, c *agentv1.Container) bool {
		return list.GetEngineError() != "" && c.GetState() == "running"
	})
	if err := s.engine.ContainerKill(t.Context(), spec.ContainerName(s.prefix, "web"), "KILL"); err != nil {
		t.Fatal(err)
	}
	d.open(t)
	fact := session.AwaitFact(t, "the end that came meanwhile", func(f *agentv1.Fact) bool { return f.GetPrefix() == s.prefix })
	if e := fact.GetExit(); e.GetExitCode() != 137 || e.GetOomKilled() || e.GetUnseen() || len(e.GetLogTail()) != 3 || !strings.HasPrefix(fact.GetInstanceId(), "instance-") {
		t.Errorf("fact %v", fact)
	}
}
