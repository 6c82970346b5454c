package wake_test

import (
	"sync"
	"testing"

	"fairlead.dev/controller/internal/wake"
)

func hinted(s *wake.Subscription) bool {
	select {
	case <-s.C:
		return true
	default:
		return false
	}
}

func TestHintsReachTheirTopicAndMerge(t *testing.T) {
	bus := wake.New()
	s := bus.Subscribe(wake.Node("1"), wake.Agent("1"))
	defer s.Close()
	bus.Publish(wake.Node("2"))
	if hinted(s) {
		t.Error("hinted about another node")
	}
	bus.Publish(wake.Node("1"))
	bus.Publish(wake.Agent("1"))
	if !hinted(s) {
		t.Error("no hint")
	}
	if hinted(s) {
		t.Error("two hints did not merge")
	}
	bus.PublishAll()
	if !hinted(s) {
		t.Error("no hint after all were hinted")
	}
}

func TestClosedSubscriptionsGetNothing(t *testing.T) {
	bus := wake.New()
	s := bus.Subscribe(wake.Node("1"))
	s.Close()
	s.Close() // twice does no harm
	bus.Publish(wake.Node("1"))
	bus.PublishAll()
	if hinted(s) {
		t.Error("hinted after Close")
	}
}

func TestBusIsSafeForConcurrentUse(t *testing.T) {
	bus := wake.New()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				s := bus.Subscribe(wake.Node("1"))
				bus.Publish(wake.Node("1"))
				<-s.C
				s.Close()
			}
		})
	}
	wg.Wait()
}

func TestFollowersHearEveryTopic(t *testing.T) {
	bus := wake.New()
	var heard []wake.Topic
	bus.Follow(func(topic wake.Topic) { heard = append(heard, topic) })
	bus.Publish(wake.Node("1"))
	bus.Publish(wake.Agent("2"))
	bus.PublishAll()
	if len(heard) != 3 || heard[2] != wake.All {
		t.Fatalf("heard %v", heard)
	}
	if kind, id := heard[1].Split(); kind != wake.KindAgent || id != "2" {
		t.Errorf("the topic splits into %q, %q", kind, id)
	}
}
