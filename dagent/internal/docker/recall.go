package docker

import (
	"sync"
	"time"

	"fairlead.dev/shared/workload"
)

// recallLasts is how long what an inspection told is good though nothing was
// heard of the container: events are hints, and one may be lost.
const recallLasts = 5 * time.Minute

// recollections are what inspections told of containers, for as long as every
// change is heard of. A container that something happened to since, or that the
// engine's list says something else of, is not known any more. The zero value
// knows nothing and takes nothing in before listen is called.
type recollections struct {
	mu        sync.Mutex
	listening bool
	// now counts what was heard; touched is when something was heard of a
	// container last.
	now     int64
	touched map[string]int64
	known   map[string]recollection
}

// recollection is one container: what the list said of it, and what the
// inspection did.
type recollection struct {
	listed, seen workload.Container
	until        time.Time
}

// listen forgets everything: what happened before was not heard.
func (m *recollections) listen() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.listening = true
	m.now++
	m.touched, m.known = map[string]int64{}, map[string]recollection{}
}

// deafen ends what listen began.
func (m *recollections) deafen() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.listening = false
	m.now++
	m.touched, m.known = nil, nil
}

// touch tells that something happened to a container.
func (m *recollections) touch(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.listening {
		return
	}
	m.now++
	m.touched[id] = m.now
	delete(m.known, id)
}

// moment is to be asked for before an inspection begins.
func (m *recollections) moment() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// remember keeps an inspection that began at asOf, unless something happened
// to the container since.
func (m *recollections) remember(listed, seen workload.Container, asOf int64, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.listening || m.touched[seen.EngineID] > asOf || seen.EngineID == "" {
		return
	}
	m.known[seen.EngineID] = recollection{listed: listed, seen: seen, until: now.Add(recallLasts)}
}

// recall fills in what is known of a listed container; it returns false when
// that is nothing.
func (m *recollections) recall(listed *workload.Container, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, known := m.known[listed.EngineID]
	if !known || !now.Before(r.until) || !sameState(r.listed, *listed) {
		return false
	}
	listed.RestartCount, listed.StartedAt, listed.FinishedAt = r.seen.RestartCount, r.seen.StartedAt, r.seen.FinishedAt
	listed.State, listed.Reason = r.seen.State, r.seen.Reason
	listed.ExitCode, listed.OOMKilled, listed.Health = r.seen.ExitCode, r.seen.OOMKilled, r.seen.Health
	return true
}

// sameState compares what the engine's list says of a container's state.
func sameState(a, b workload.Container) bool {
	return a.State == b.State && a.Reason == b.Reason && a.ExitCode == b.ExitCode && a.Health == b.Health
}

// keepOnly forgets the containers that are not listed.
func (m *recollections) keepOnly(list []workload.Container) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.known)+len(m.touched) <= 2*len(list) {
		return
	}
	there := make(map[string]bool, len(list))
	for _, c := range list {
		there[c.EngineID] = true
	}
	for id := range m.known {
		if !there[id] {
			delete(m.known, id)
		}
	}
	for id := range m.touched {
		if !there[id] {
			delete(m.touched, id)
		}
	}
}
