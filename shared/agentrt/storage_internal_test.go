package agentrt

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/agentrttest"
	"fairlead.dev/shared/agentrt/internal/state"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/specpb"
	"fairlead.dev/shared/workload/workloadtest"
)

// TestAFullDiskTakesNoWorkAndTellsOn: what runs is served and told, sessions
// come about, even one that needs another certificate; and when there is room
// again work is taken.
func TestAFullDiskTakesNoWorkAndTellsOn(t *testing.T) {
	c := agentrttest.Start(t)
	path := filepath.Join(t.TempDir(), "agent")
	c.WriteEnrolment(t, path, "token")
	dir, err := state.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	var full atomic.Bool
	dir.Inject(func(string) error {
		if full.Load() {
			return syscall.ENOSPC
		}
		return nil
	})
	driver := workloadtest.NewFakeDriver(workloadtest.FakeOptions{})
	agent := New(Config{
		StateDir: path, Driver: driver, NodeType: "docker", Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- agent.run(ctx, dir) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()

	s := c.Welcome(t)
	s.Assign(t, shop(1))
	s.AwaitPhase(t, "d", 1, agentv1.Phase_PHASE_SUCCESSFUL)
	full.Store(true)
	refused := func() {
		t.Helper()
		s.Assign(t, shop(2))
		if ack := s.AwaitAck(t); ack.GetRefusal() != agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_STORAGE || ack.GetDetail() == "" {
			t.Errorf("the answer on a full disk is %v", ack)
		}
	}
	refused()
	driver.Exit("shop-web", 3)
	s.Await(t, "the exit", func(m *agentv1.AgentMessage) bool {
		list := m.GetStatus().GetContainers().GetContainers()
		return len(list) == 1 && list[0].GetState() == string(spec.StateExited)
	})
	c.Cut()
	if s = c.Welcome(t); s.Hello.GetGeneration() != 1 {
		t.Errorf("hello %v", s.Hello)
	}
	refused()

	c.SetClock(2 * time.Hour) // the certificate has expired
	c.Cut()
	s = c.Welcome(t)
	if c.Recovered() != 1 {
		t.Errorf("recovered %d times", c.Recovered())
	}
	refused()
	full.Store(false)
	s.Assign(t, shop(2))
	if ack := s.AwaitAck(t); ack.GetDetail() != "" {
		t.Errorf("the answer with room again is %v", ack)
	}
	s.AwaitPhase(t, "d", 2, agentv1.Phase_PHASE_SUCCESSFUL)
}

// shop is a set of one deployment whose generation, and release, is the set's.
func shop(generation uint64) *agentv1.AssignmentSet {
	name := "web"
	d := spec.Normalize(spec.Deployment{ID: "d", Prefix: "shop", Release: int64(generation), Workloads: []spec.Workload{
		{InstanceID: "i", Image: spec.Image{Reference: "web:1"}, Container: spec.Container{Name: &name}},
	}})
	d.Workloads[0].Hash = spec.Hash(d.Workloads[0])
	set := &agentv1.AssignmentSet{Lineage: "l", Generation: generation, Assignments: []*agentv1.Assignment{{
		Prefix: "shop", Generation: generation, Desired: &agentv1.Assignment_Deployment{Deployment: specpb.DeploymentToProto(d)},
	}}}
	set.SetHash = specpb.SetHash(set)
	return set
}
