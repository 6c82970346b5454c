package agentrt_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/agentrt/agentrttest"
	"fairlead.dev/shared/workload"
	"fairlead.dev/shared/workload/workloadtest"
)

// deleted is how a controller ends a session whose node was deleted.
func deleted(t *testing.T, remove bool) error {
	t.Helper()
	s, err := status.New(codes.PermissionDenied, "the agent's node was deleted").WithDetails(&agentv1.Refusal{
		Reason:   agentv1.RefusalReason_REFUSAL_REASON_REVOKED,
		Deletion: &agentv1.NodeDeletion{RemoveContainers: remove},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.Err()
}

// departure notes how an agent was taken off its machine.
type departure struct {
	times   atomic.Int32
	removed atomic.Bool
	// refuse fails the first so many attempts.
	refuse int32
}

func (d *departure) config(c *agentrt.Config) {
	c.Depart = func(_ context.Context, containersRemoved bool) error {
		d.removed.Store(containersRemoved)
		if d.times.Add(1) <= d.refuse {
			return errors.New("the engine is away")
		}
		return nil
	}
}

func TestTheAgentOfADeletedNodeGoes(t *testing.T) {
	for name, remove := range map[string]bool{"and keeps its containers": false, "and removes its containers": true} {
		t.Run(name, func(t *testing.T) {
			driver := workloadtest.NewFakeDriver(workloadtest.FakeOptions{})
			driver.AddForeign("neighbour")
			c := agentrttest.Start(t)
			n := newNode(t, driver)
			c.WriteEnrolment(t, n.dir, "token")
			way := &departure{refuse: 1}
			p := n.startWith(way.config)
			s := c.Welcome(t)
			both := set(1, deployment("shop", 1), deployment("blog", 1))
			s.Assign(t, both)
			awaitPhases(t, s, both, successful)
			before := n.containers()
			s.End(deleted(t, remove))
			if err := p.wait(); !errors.Is(err, agentrt.ErrDeleted) {
				t.Fatalf("ended with %v", err)
			}
			if way.times.Load() != 2 || way.removed.Load() != remove {
				t.Errorf("it was taken away %d times, with its containers %v", way.times.Load(), way.removed.Load())
			}
			after := n.containers()
			if after["neighbour"] != before["neighbour"] || after["neighbour"] == "" {
				t.Errorf("somebody else's container is gone: %v", after)
			}
			for _, own := range []string{"shop-web", "blog-web"} {
				if remove && after[own] != "" || !remove && (after[own] == "" || after[own] != before[own]) {
					t.Errorf("containers %v, before %v", after, before)
				}
			}
			// Started again, it goes again, and asks nobody.
			quiet, cancel := context.WithCancel(t.Context())
			again := n.startWith(way.config)
			if err := again.wait(); !errors.Is(err, agentrt.ErrDeleted) {
				t.Errorf("started again it ended with %v", err)
			}
			cancel()
			c.NoSession(t, quiet.Done())
			if n.containers()["neighbour"] == "" {
				t.Error("somebody else's container is gone")
			}
			// Enrolled anew, it is an agent again.
			c.WriteEnrolment(t, n.dir, "anew")
			n.startWith(way.config)
			c.Welcome(t)
		})
	}
}

// stubborn is an engine that does not remove.
type stubborn struct {
	workload.Driver

	refuses atomic.Bool
	asked   chan struct{}
}

func (s *stubborn) Remove(ctx context.Context, prefix string, report workload.Reporter) error {
	if s.refuses.Load() {
		select {
		case s.asked <- struct{}{}:
		default:
		}
		return errors.New("the engine is away")
	}
	return s.Driver.Remove(ctx, prefix, report)
}

func TestAnAgentThatIsKilledWhileItRemovesGoesOn(t *testing.T) {
	driver := &stubborn{Driver: workloadtest.NewFakeDriver(workloadtest.FakeOptions{}), asked: make(chan struct{}, 1)}
	c, n, p, s := enrolled(t, driver)
	s.Assign(t, set(1, deployment("shop", 1)))
	s.AwaitPhase(t, "id-shop", 1, successful)
	driver.refuses.Store(true)
	s.End(deleted(t, true))
	<-driver.asked
	p.quit()
	if n.containers()["shop-web"] == "" {
		t.Fatal("the container is gone already")
	}
	driver.refuses.Store(false)
	way := &departure{}
	if err := n.startWith(way.config).wait(); !errors.Is(err, agentrt.ErrDeleted) {
		t.Errorf("ended with %v", err)
	}
	if left := n.containers()["shop-web"]; left != "" {
		t.Errorf("the container %s is left", left)
	}
	quiet, cancel := context.WithCancel(t.Context())
	cancel()
	c.NoSession(t, quiet.Done())
}

func TestAnAgentThatNothingTakesAwayStaysAndDoesNothing(t *testing.T) {
	c, n, p, s := enrolled(t, nil)
	s.Assign(t, set(1, deployment("shop", 1)))
	s.AwaitPhase(t, "id-shop", 1, successful)
	s.End(deleted(t, false))
	await(t, "the deletion is written down", func() bool { return n.has("deleted") })
	p.quit()
	p = n.start()
	p.quit()
	quiet, cancel := context.WithCancel(t.Context())
	cancel()
	c.NoSession(t, quiet.Done())
	if n.containers()["shop-web"] == "" {
		t.Error("the container is gone")
	}
}
