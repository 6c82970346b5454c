package main_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/agentrt/agentrttest"
)

// manager starts the agent on the host again whenever it ends, as a service
// manager does.
type manager struct {
	state string
	// whole ends what the agent left behind before it starts it again, as systemd
	// does and OpenRC does not.
	whole bool

	mu     sync.Mutex
	starts int
}

func (m *manager) run(ctx context.Context, t *testing.T) {
	for ctx.Err() == nil {
		agent := exec.Command(filepath.Join(m.state, "bin", "dagent"), "run")
		agent.Env = append(os.Environ(), "FAIRLEAD_STATE_DIR="+m.state, "DAGENT_LOG_LEVEL=debug", "DAGENT_ROUTING=off")
		agent.Stdout, agent.Stderr = t.Output(), t.Output()
		agent.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		m.mu.Lock()
		m.starts++
		m.mu.Unlock()
		if err := agent.Start(); err != nil {
			t.Errorf("start the agent: %v", err)
			return
		}
		stop := context.AfterFunc(ctx, func() { _ = agent.Process.Signal(syscall.SIGTERM) })
		_ = agent.Wait() // started again, however it ended
		stop()
		if m.whole || ctx.Err() != nil {
			m.endRest(agent.Process.Pid)
		}
	}
}

func (m *manager) started() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.starts
}

// endRest ends what is left of a group of processes.
func (m *manager) endRest(group int) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for syscall.Kill(-group, syscall.SIGTERM) == nil {
		<-tick.C
	}
}

// processes returns which programs of the state folder run, and their ids.
func (m *manager) processes(t *testing.T) map[string]int {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, link := range links {
		program, err := os.Readlink(link)
		if err != nil || filepath.Dir(program) != filepath.Join(m.state, "bin") {
			continue
		}
		if found[filepath.Base(program)], err = strconv.Atoi(filepath.Base(filepath.Dir(link))); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// programs returns what is in the folder of programs, with where links lead.
func (m *manager) programs(t *testing.T) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(m.state, "bin"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		name := e.Name()
		if to, err := os.Readlink(filepath.Join(m.state, "bin", name)); err == nil {
			name += "->" + to
		}
		all = append(all, name)
	}
	return strings.Join(all, " ")
}

// pack makes an agent's archive of any program.
func (y *yard) pack(t *testing.T, version string, program []byte) []byte {
	t.Helper()
	image, err := packed(program)
	if err != nil {
		t.Fatal(err)
	}
	return y.archive(t, version, image)
}

// serve puts a build where the service manager finds it, and starts that.
func (y *yard) serve(ctx context.Context, t *testing.T, m *manager, version string) {
	t.Helper()
	bin := filepath.Join(m.state, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "dagent.installed"), agentOf(ctx, t, version).binary, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("dagent.installed", filepath.Join(bin, "dagent")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { m.run(ctx, t) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

// awaitUpdated welcomes the new agent twice, since it ends itself to be started by
// its service manager, and waits until it says that the update succeeded.
func (y *yard) awaitUpdated(t *testing.T, id, version string) *agentrttest.Session {
	t.Helper()
	candidate := y.controller.Welcome(t)
	candidate.Over(t)
	s := y.controller.Welcome(t)
	for _, hello := range []*agentv1.Hello{candidate.Hello, s.Hello} {
		if v := hello.GetAgent().GetVersion(); v != version {
			t.Fatalf("version %s has the session, want %s: %v", v, version, hello.GetUpdate())
		}
	}
	s.Await(t, "success", func(m *agentv1.AgentMessage) bool {
		return m.GetUpdate().GetId() == id && m.GetUpdate().GetPhase() == agentv1.UpdatePhase_UPDATE_PHASE_SUCCESSFUL
	})
	return s
}

// TestTheServiceReplacesItself with real builds on the host, under managers of
// both kinds.
func TestTheServiceReplacesItself(t *testing.T) {
	for name, whole := range map[string]bool{"as systemd does": true, "as OpenRC does": false} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
			defer cancel()
			y := newYard(ctx, t)
			m := &manager{state: y.state, whole: whole}
			y.serve(ctx, t, m, "1.0.0")
			first := y.controller.Welcome(t)
			good := y.build(ctx, t, "1.1.0")
			if whole { // until it hands over, its manager has no part in it
				y.refuseBroken(ctx, t, m, first, good)
			}
			if r := y.update(t, first, "good", "1.1.0", good, nil); r.GetError() != "" {
				t.Fatal(r)
			}
			second := y.awaitUpdated(t, "good", "1.1.0")
			if left := m.programs(t); left != "dagent->dagent.good dagent.good" {
				t.Errorf("after the update there is %s", left)
			}
			if now := m.processes(t); len(now) != 1 || second.AgentID != first.AgentID {
				t.Errorf("running %v, agent %s", now, second.AgentID)
			}
			y.takeBack(ctx, t, m, second)
		})
	}
}

// refuseBroken offers builds of 1.1.0 that are no good: the agent serves on and
// nothing of them is left.
func (y *yard) refuseBroken(ctx context.Context, t *testing.T, m *manager, s *agentrttest.Session, good []byte) {
	t.Helper()
	for id, c := range map[string]struct {
		archive []byte
		says    string
	}{
		"ends":      {y.pack(t, "1.1.0", []byte("#!/bin/sh\necho broken on purpose\nexit 7\n")), "ended before it proved itself"},
		"no-binary": {y.pack(t, "1.1.0", []byte("nothing that runs")), "start the new agent"},
		"another":   {y.archive(t, "1.1.0", agentOf(ctx, t, "1.0.0").image), "says that it is"},
		"no-image":  {[]byte("not an archive at all"), "broken"},
		"cut":       {good[:len(good)/2], "broken"},
	} {
		if r := y.update(t, s, id, "1.1.0", c.archive, nil); r.GetError() != "" {
			t.Fatal(r)
		}
		said := s.Await(t, "its end", func(m *agentv1.AgentMessage) bool {
			return m.GetUpdate().GetId() == id && m.GetUpdate().GetPhase() == agentv1.UpdatePhase_UPDATE_PHASE_FAILED
		}).GetUpdate()
		if !strings.Contains(said.GetError(), c.says) {
			t.Errorf("%s: it says %q, want %q", id, said.GetError(), c.says)
		}
		if left := m.programs(t); left != "dagent->dagent.installed dagent.installed" {
			t.Errorf("%s left %s", id, left)
		}
		if now := m.processes(t); len(now) != 1 || m.started() != 1 {
			t.Errorf("%s: running %v, started %d times", id, now, m.started())
		}
	}
}

// takeBack offers a build that ends after it took over: the one before takes
// back, and is what the manager starts.
func (y *yard) takeBack(ctx context.Context, t *testing.T, m *manager, s *agentrttest.Session) {
	t.Helper()
	if r := y.update(t, s, "killed", "1.2.0", y.build(ctx, t, "1.2.0"), nil); r.GetError() != "" {
		t.Fatal(r)
	}
	next := y.controller.Accept(t) // not welcomed
	if v := next.Hello.GetAgent().GetVersion(); v != "1.2.0" {
		t.Fatalf("version %s", v)
	}
	id := m.processes(t)["dagent.killed"]
	if id == 0 {
		t.Fatal("the new agent does not run")
	}
	if err := syscall.Kill(id, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	back := y.controller.Welcome(t)
	if u := back.Hello.GetUpdate(); back.Hello.GetAgent().GetVersion() != "1.1.0" || !strings.Contains(u.GetError(), "ended after it took over") {
		t.Errorf("%s says %v", back.Hello.GetAgent().GetVersion(), u)
	}
	if left := m.programs(t); left != "dagent->dagent.good dagent.good" {
		t.Errorf("after it took back there is %s", left)
	}
}
