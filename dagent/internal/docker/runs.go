package docker

import (
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/docker/docker/api/types/events"

	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// RunStore keeps Runs over restarts of the agent, which ends with its engine
// when it is itself a container.
type RunStore interface {
	Load() (Runs, error)
	Save(runs Runs) error
}

// Runs is what ran when the engine was last heard of.
type Runs struct {
	// Running are the containers of the driver's own making that were seen
	// running, by engine id.
	Running map[string]Run `json:"running,omitempty"`
	// LostAt is when the engine went away; zero while it has not, and when what
	// it ended then has been dealt with.
	LostAt time.Time `json:"lostAt,omitzero"`
}

// Run is one run of a container, from a start to an end.
type Run struct {
	// StartedAt tells it from other runs of the container.
	StartedAt time.Time `json:"startedAt"`
	// Unwanted is true when somebody has asked for the end of this run.
	Unwanted bool `json:"unwanted,omitempty"`
}

// runs is the driver's record of what runs. It takes nothing in before resume,
// and after lose: until what ran has been compared with what there is, the
// record is all that is known of it.
type runs struct {
	mu    sync.Mutex
	store RunStore
	log   *slog.Logger

	loaded bool
	open   bool
	now    Runs
}

// load returns what ran when the engine was last heard of.
func (r *runs) load() Runs {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read()
	return Runs{Running: maps.Clone(r.now.Running), LostAt: r.now.LostAt}
}

// read reads the store once; r.mu is held.
func (r *runs) read() {
	if r.store == nil || r.loaded {
		return
	}
	r.loaded = true
	was, err := r.store.Load()
	if err != nil {
		r.log.Warn("what ran before is not known; what ended with the engine stays down until it is deployed", "error", err)
	}
	r.now = was
	if r.now.Running == nil {
		r.now.Running = map[string]Run{}
	}
}

// resume has the record follow what is seen from now on: what ended with the
// engine has been dealt with.
func (r *runs) resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = true
	if !r.now.LostAt.IsZero() {
		r.now.LostAt = time.Time{}
		r.save()
	}
}

// lose notes that the engine went away, and keeps what ran.
func (r *runs) lose(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read()
	r.open = false
	if r.now.LostAt.IsZero() { // else it went away again, before the first time was dealt with
		r.now.LostAt = at.UTC()
		r.save()
	}
}

// see takes in a list of what there is.
func (r *runs) see(list []workload.Container) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.store == nil || !r.open {
		return
	}
	running := map[string]Run{}
	for _, c := range list {
		if c.Managed && c.State == spec.StateRunning && !c.StartedAt.IsZero() {
			run := Run{StartedAt: c.StartedAt}
			if was := r.now.Running[c.EngineID]; was.StartedAt.Equal(run.StartedAt) {
				run.Unwanted = was.Unwanted
			}
			running[c.EngineID] = run
		}
	}
	if !maps.Equal(running, r.now.Running) {
		r.now.Running = running
		r.save()
	}
}

// endWanted notes that somebody asks for the end of a container's run.
func (r *runs) endWanted(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.want(id) {
		r.save()
	}
}

// want does so without writing it down; r.mu is held.
func (r *runs) want(id string) (news bool) {
	r.read()
	run, known := r.now.Running[id]
	if !known || run.Unwanted {
		return false
	}
	run.Unwanted = true
	r.now.Running[id] = run
	return true
}

// hear takes in an event: a signal that ends a container is somebody's wish.
// It is written down with the next list, or when the engine is lost.
func (r *runs) hear(e events.Message) {
	if e.Action != events.ActionKill {
		return
	}
	switch e.Actor.Attributes["signal"] {
	case "2", "3", "9", "15":
		r.mu.Lock()
		defer r.mu.Unlock()
		r.want(e.Actor.ID)
	}
}

// save writes the record down; r.mu is held.
func (r *runs) save() {
	if r.store == nil {
		return
	}
	if err := r.store.Save(r.now); err != nil {
		r.log.Warn("note which containers run", "error", err)
	}
}
