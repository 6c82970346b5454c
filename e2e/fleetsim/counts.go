package fleetsim

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Counts is what a fleet has done so far.
type Counts struct {
	// Agents is how many there are, Running how many were started and not
	// killed or stopped.
	Agents, Running int
	// Connected have been welcomed, Echoed have seen an echo of a heartbeat on
	// that session.
	Connected, Echoed int
	// Attempts counts connections that were tried, Sessions those welcomed.
	Attempts, Sessions int64
	Beats, Echoes      int64
	// Sets is how many assignment sets were taken, of which Deltas changed an
	// earlier one; RefusedSets were not taken.
	Sets, Deltas, RefusedSets int64
	Reports, ReportAcks       int64
	Commands                  int64
	Pings                     int64
	// Quarantined are sessions that were welcomed into quarantine.
	Quarantined int64
	// Ends is how sessions and attempts ended, by the reason of the refusal,
	// the code of the status, or in a few words.
	Ends map[string]int64
}

// String is for people.
func (c Counts) String() string {
	text := fmt.Sprintf("%d of %d agents run, %d connected, %d echoed; %d attempts, %d sessions, %d sets (%d deltas, %d refused), %d of %d reports acknowledged",
		c.Running, c.Agents, c.Connected, c.Echoed, c.Attempts, c.Sessions, c.Sets, c.Deltas, c.RefusedSets, c.ReportAcks, c.Reports)
	for _, why := range slices.Sorted(maps.Keys(c.Ends)) {
		text += fmt.Sprintf("; %d x %s", c.Ends[why], why)
	}
	return text
}

// counters are Counts as they are counted.
type counters struct {
	running, connected, echoed        atomic.Int64
	attempts, sessions, beats, echoes atomic.Int64
	sets, deltas, refusedSets         atomic.Int64
	reports, reportAcks               atomic.Int64
	commands, pings, quarantined      atomic.Int64

	mu   sync.Mutex
	ends map[string]int64
}

func (c *counters) ended(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ends == nil {
		c.ends = map[string]int64{}
	}
	c.ends[why]++
}

// Counts returns what the fleet has done so far.
func (f *Fleet) Counts() Counts {
	f.mu.Lock()
	agents := len(f.agents)
	f.mu.Unlock()
	c := &f.counters
	c.mu.Lock()
	ends := maps.Clone(c.ends)
	c.mu.Unlock()
	return Counts{
		Agents: agents, Running: int(c.running.Load()), Connected: int(c.connected.Load()), Echoed: int(c.echoed.Load()),
		Attempts: c.attempts.Load(), Sessions: c.sessions.Load(), Beats: c.beats.Load(), Echoes: c.echoes.Load(),
		Sets: c.sets.Load(), Deltas: c.deltas.Load(), RefusedSets: c.refusedSets.Load(),
		Reports: c.reports.Load(), ReportAcks: c.reportAcks.Load(), Commands: c.commands.Load(), Pings: c.pings.Load(),
		Quarantined: c.quarantined.Load(), Ends: ends,
	}
}

// Times is a set of durations. The zero value is empty and takes none until it
// is reset.
type Times struct {
	mu   sync.Mutex
	on   bool
	list []time.Duration
}

// Reset forgets what was taken, and takes from now on.
func (t *Times) Reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.on, t.list = true, nil
}

// Add takes a duration.
func (t *Times) Add(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.on {
		t.list = append(t.list, d)
	}
}

// Count returns how many were taken.
func (t *Times) Count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.list)
}

// At returns the duration that the part q of all, in [0, 1], does not exceed;
// 0 when there are none.
func (t *Times) At(q float64) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.list) == 0 {
		return 0
	}
	slices.Sort(t.list)
	return t.list[min(len(t.list)-1, int(q*float64(len(t.list))))]
}
