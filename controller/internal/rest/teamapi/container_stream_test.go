package teamapi_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/shared/workload/workloadtest"
)

// mirror is what a client makes of the events of a node's containers.
type mirror struct {
	states map[string]string
	id     string
	// whole counts the events that told everything.
	whole int
}

// take reads events until the mirror is as wanted.
func (m *mirror) take(t *testing.T, e *controllertest.Events, enough func(states map[string]string) bool) {
	t.Helper()
	for !enough(m.states) {
		event, ok := e.Next()
		if !ok || event.Name != "" {
			t.Fatalf("event %+v (%v) while the mirror is %v", event, ok, m.states)
		}
		var told struct {
			Complete   bool
			Containers []struct {
				EngineID string
				State    string
				ID       struct{ Prefix, Name string }
			}
			Removed []string
		}
		if err := json.Unmarshal([]byte(event.Data), &told); err != nil {
			t.Fatal(err)
		}
		if told.Complete {
			m.states = map[string]string{}
			m.whole++
		}
		for _, c := range told.Containers {
			m.states[c.EngineID] = c.ID.Prefix + "/" + c.ID.Name + " " + c.State
		}
		for _, id := range told.Removed {
			delete(m.states, id)
		}
		m.id = event.ID
	}
}

// has tells whether one of the containers is in a state.
func has(state string) func(map[string]string) bool {
	return func(states map[string]string) bool {
		for _, s := range states {
			if s == state {
				return true
			}
		}
		return false
	}
}

func hasNot(state string) func(map[string]string) bool {
	return func(states map[string]string) bool { return !has(state)(states) }
}

func TestANodesContainersAreFollowed(t *testing.T) {
	p := newPipeline(t)
	p.agent(t, workloadtest.FakeOptions{})
	node := "/api/acme/nodes/" + p.rows["{nodeId}"]
	path := node + "/containers/events"
	events := p.owner.Follow(path, "")
	var m mirror
	m.take(t, events, func(states map[string]string) bool { return states != nil })
	if len(m.states) != 0 {
		t.Errorf("an empty node told %v", m.states)
	}
	p.owner.Post(p.path+"/start?wait=5m", nil).Expect(t, http.StatusOK)
	m.take(t, events, has("shop/web running"))
	p.owner.Post(node+"/shop/containers/web/stop", nil).Expect(t, http.StatusNoContent)
	m.take(t, events, has("shop/web exited"))
	if m.whole != 1 {
		t.Errorf("everything was told %d times, want once", m.whole)
	}
	events.Close()

	// Who comes back and missed nothing is told only what follows.
	p.owner.Get(node+"/containers").Expect(t, http.StatusOK)
	back := p.owner.Follow(path, m.id)
	p.owner.Post(node+"/shop/containers/web/start", nil).Expect(t, http.StatusNoContent)
	m.take(t, back, has("shop/web running"))
	if m.whole != 1 {
		t.Error("what was seen was told again")
	}
	back.Close()
	// Who missed something is told everything.
	missed := m.id
	p.owner.Delete(node+"/shop/containers/web").Expect(t, http.StatusNoContent)
	controllertest.Await(t, "the container is gone", func() (bool, string) {
		r := p.owner.Get(node + "/containers")
		return entries(t, r) == 0, string(r.Body)
	})
	again := p.owner.Follow(path, missed)
	m.take(t, again, hasNot("shop/web running"))
	if m.whole != 2 {
		t.Errorf("everything was told %d times, want twice", m.whole)
	}
	// The stream ends with the right to read it.
	p.owner.Delete(p.path).Expect(t, http.StatusNoContent)
	controllertest.Await(t, "the node is gone", func() (bool, string) {
		r := p.owner.Delete(node)
		return r.Status == http.StatusNoContent, string(r.Body)
	})
	if reason := again.End(); reason != "not-found" {
		t.Errorf("the stream ended with %s", reason)
	}
}

func TestFollowingTheContainersOfAPrefix(t *testing.T) {
	p := newPipeline(t)
	p.agent(t, workloadtest.FakeOptions{})
	p.owner.Post(p.path+"/start?wait=5m", nil).Expect(t, http.StatusOK)
	node := "/api/acme/nodes/" + p.rows["{nodeId}"]
	var one, other mirror
	one.take(t, p.owner.Follow(node+"/containers/events?prefix=shop", ""), has("shop/web running"))
	other.take(t, p.owner.Follow(node+"/containers/events?prefix=other", ""), func(states map[string]string) bool { return states != nil })
	if len(other.states) != 0 {
		t.Errorf("another prefix told %v", other.states)
	}
	problem(t, p.stranger.Get(node+"/containers/events"), http.StatusNotFound)
}
