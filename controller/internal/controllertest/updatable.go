package controllertest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/workload"
)

// Updatable is a node whose agent can be replaced: the old and the new one run
// in this process.
type Updatable struct {
	// Bad makes new agents end at once.
	Bad atomic.Bool

	t        testing.TB
	stateDir string
	driver   workload.Driver

	mu     sync.Mutex
	agents map[string]*Agent
}

// first is the agent that no update started.
const first = "first"

// StartUpdatable starts an agent that says it is of a version, and can be
// replaced.
func StartUpdatable(t testing.TB, stateDir, version string, e *Enrolment, driver workload.Driver) *Updatable {
	t.Helper()
	u := &Updatable{t: t, stateDir: stateDir, driver: driver, agents: map[string]*Agent{}}
	if err := os.WriteFile(filepath.Join(stateDir, "release-keys"), []byte(e.ReleaseKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	u.start(first, version, e)
	return u
}

func (u *Updatable) start(name, version string, e *Enrolment) {
	a := StartAgentWith(u.t, u.stateDir, e, u.driver, func(c *agentrt.Config) {
		c.Version, c.Replacer, c.UpdatePatience = version, &replacer{u, name}, time.Minute
		if name != first {
			c.UpdateID = name
		}
	})
	u.mu.Lock()
	defer u.mu.Unlock()
	u.agents[name] = a
}

func (u *Updatable) end(name string) {
	u.mu.Lock()
	a := u.agents[name]
	delete(u.agents, name)
	u.mu.Unlock()
	if a != nil {
		_ = a.Stop()
	}
}

// replacer is the node's engine as one of its agents sees it.
type replacer struct {
	node *Updatable
	self string
}

func (r *replacer) Self(context.Context) (string, error) { return r.self, nil }

func (r *replacer) Start(_ context.Context, b agentrt.Build) error {
	if r.node.Bad.Load() {
		return errors.New("this build does not start")
	}
	r.node.start(b.ID, b.Version, nil) //nolint:contextcheck // the new agent outlives the one that starts it
	return nil
}

func (r *replacer) Look(_ context.Context, id string) (agentrt.Look, error) {
	r.node.mu.Lock()
	defer r.node.mu.Unlock()
	a := r.node.agents[id]
	if a == nil {
		return agentrt.Look{Words: "it is gone"}, nil
	}
	select {
	case <-a.done:
		return agentrt.Look{Words: "it ended"}, nil
	default:
		return agentrt.Look{Alive: true, Words: "it runs"}, nil
	}
}

func (r *replacer) Discard(_ context.Context, id string) error {
	r.node.end(id)
	return nil
}

func (r *replacer) Keep(context.Context, string) error { return nil }

func (r *replacer) Succeed(_ context.Context, _, incumbent string) error {
	r.node.end(incumbent)
	return nil
}
