package agentrt_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/agentrttest"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload/workloadtest"
)

func isExit(f *agentv1.Fact) bool { return f.GetExit() != nil }

// exitsTold returns the numbers of the exits in everything said on a session.
func exitsTold(s *agentrttest.Session) (numbers []uint64) {
	for _, m := range s.Messages() {
		for _, f := range m.GetStatus().GetFacts() {
			if isExit(f) {
				numbers = append(numbers, f.GetSequence())
			}
		}
	}
	return numbers
}

func TestEndsOfContainersAreFactsToldOnceOverCutsAndRestarts(t *testing.T) {
	driver := workloadtest.NewFakeDriver(workloadtest.FakeOptions{})
	c, n, p, s := enrolled(t, driver)
	s.Assign(t, set(1, deployment("shop", 1)))
	awaitContainer(t, s, "web", func(c *agentv1.Container) bool { return c.GetState() == "running" })

	driver.KillForMemory("shop-web")
	f := s.AwaitFact(t, "the end for want of memory", isExit)
	if e := f.GetExit(); f.GetSequence() != 1 || !e.GetOomKilled() || e.GetExitCode() != 137 || !slices.Contains(e.GetLogTail(), "ready") {
		t.Fatalf("fact %v", f)
	}
	spool := s.Hello.GetSpoolId()

	if err := driver.Start(t.Context(), workloadID("web")); err != nil {
		t.Fatal(err)
	}
	awaitContainer(t, s, "web", func(c *agentv1.Container) bool { return c.GetState() == "running" })
	p.quit()
	driver.Crash("shop-web", 2) // while nobody looks
	p = n.start()
	s = c.Accept(t)
	s.HoldAcks() // the controller's answer is lost
	s.WelcomeWith(t, func(w *agentv1.Welcome) { w.FactSequence = 1 })
	f = s.AwaitFact(t, "the end while the agent was away", isExit)
	if e := f.GetExit(); f.GetSequence() != 2 || !e.GetUnseen() || e.GetRestartCount() != 1 || s.Hello.GetSpoolId() != spool {
		t.Fatalf("fact %v of spool %s, it was %s", f, s.Hello.GetSpoolId(), spool)
	}

	c.Cut()
	s = c.Accept(t)
	s.WelcomeWith(t, func(w *agentv1.Welcome) { w.FactSequence = 1 })
	if again := s.AwaitFact(t, "the same fact again", isExit); again.GetSequence() != 2 {
		t.Fatalf("fact %v", again)
	}
	p.quit()
	n.start()
	s = c.Accept(t)
	s.WelcomeWith(t, func(w *agentv1.Welcome) { w.FactSequence = 2 })
	driver.Exit("shop-web", 3)
	if last := s.AwaitFact(t, "the last end", isExit); last.GetSequence() != 3 || last.GetExit().GetExitCode() != 3 {
		t.Fatalf("fact %v", last)
	}
	if told := exitsTold(s); !slices.Equal(told, []uint64{3}) {
		t.Fatalf("facts %v were told after fact 2 had been acknowledged", told)
	}
}

func TestAnOlderControllerIsNotToldFacts(t *testing.T) {
	driver := workloadtest.NewFakeDriver(workloadtest.FakeOptions{})
	c := agentrttest.Start(t)
	n := newNode(t, driver)
	c.WriteEnrolment(t, n.dir, "token")
	n.start()
	s := c.Accept(t)
	s.WelcomeWith(t, func(w *agentv1.Welcome) { w.Capabilities = nil })
	s.Assign(t, set(1, deployment("shop", 1)))
	awaitContainer(t, s, "web", func(c *agentv1.Container) bool { return c.GetState() == "running" })
	driver.Exit("shop-web", 3)
	awaitContainer(t, s, "web", func(c *agentv1.Container) bool { return c.GetState() == "exited" })
	if told := exitsTold(s); len(told) != 0 {
		t.Fatalf("facts %v", told)
	}
	c.Cut() // the controller is updated
	s = c.Welcome(t)
	s.AwaitFact(t, "the fact that waited", isExit)
}

func TestContainersThatNothingIsAssignedToAreLeftOver(t *testing.T) {
	c, n, p, s := enrolled(t, nil)
	s.Assign(t, set(1, deployment("shop", 1), deployment("blog", 1)))
	s.Await(t, "both containers", func(m *agentv1.AgentMessage) bool {
		return len(m.GetStatus().GetContainers().GetContainers()) == 2
	})
	p.quit()
	n.start()
	s = c.Welcome(t)
	// The database no longer knows of the blog: nothing removed it.
	s.Assign(t, set(2, deployment("shop", 1)))
	s.Await(t, "the leftover", func(m *agentv1.AgentMessage) bool {
		leftover := map[string]bool{}
		for _, c := range m.GetStatus().GetContainers().GetContainers() {
			leftover[c.GetPrefix()] = c.GetLeftover()
		}
		return leftover["blog"] && !leftover["shop"]
	})
	if got := n.containers(); len(got) != 2 {
		t.Errorf("containers %v, want both", got)
	}
}

func TestAnEngineThatIsAwayHasNotLostItsContainers(t *testing.T) {
	var away atomic.Bool
	driver := workloadtest.NewFakeDriver(workloadtest.FakeOptions{Fail: func(op workloadtest.Op) error {
		if away.Load() && op.Name == "list" {
			return apperr.New(apperr.Unavailable, "connection refused")
		}
		return nil
	}})
	_, _, _, s := enrolled(t, driver)
	s.Assign(t, set(1, deployment("shop", 1)))
	awaitContainer(t, s, "web", func(c *agentv1.Container) bool { return c.GetState() == "running" })
	away.Store(true)
	driver.AddForeign("wakes-the-agent")
	s.Await(t, "word of the engine", func(m *agentv1.AgentMessage) bool {
		list := m.GetStatus().GetContainers()
		if list.GetEngineError() == "" {
			return false
		}
		if len(list.GetContainers()) != 1 || !strings.Contains(list.GetEngineError(), "connection refused") || list.GetObservedAt() == nil {
			t.Errorf("list %v", list)
		}
		return true
	})
	away.Store(false)
	driver.AddForeign("wakes-the-agent-again")
	s.Await(t, "the containers", func(m *agentv1.AgentMessage) bool {
		list := m.GetStatus().GetContainers()
		return list != nil && list.GetEngineError() == "" && len(list.GetContainers()) == 3
	})
}

func TestASmallSpoolTellsWhatItLost(t *testing.T) {
	driver := workloadtest.NewFakeDriver(workloadtest.FakeOptions{})
	c := agentrttest.Start(t)
	n := newNode(t, driver)
	n.spoolBytes = 4 << 10
	c.WriteEnrolment(t, n.dir, "token")
	n.start()
	s := c.Accept(t)
	s.WelcomeWith(t, func(w *agentv1.Welcome) { w.Capabilities = nil }) // as good as away
	s.Assign(t, set(1, deployment("shop", 1)))
	awaitContainer(t, s, "web", func(c *agentv1.Container) bool { return c.GetState() == "running" })
	const ends = 60
	for i := range ends {
		driver.Crash("shop-web", 1)
		awaitContainer(t, s, "web", func(c *agentv1.Container) bool { return int(c.GetRestartCount()) == i+1 })
	}
	c.Cut()
	s = c.Welcome(t)
	var lost, told uint64
	s.AwaitFact(t, "the last end", func(f *agentv1.Fact) bool {
		lost += f.GetLost().GetCount()
		if isExit(f) {
			told++
		}
		return f.GetExit().GetRestartCount() == ends
	})
	if lost == 0 || told == 0 || lost+told > ends {
		t.Errorf("%d ends: %d told, %d lost", ends, told, lost)
	}
}
