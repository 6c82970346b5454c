// Package dispatch owns the open sessions of this replica: it turns "something
// newer exists for this node" into a send, ends sessions that may not go on or
// whose agents fell silent, and keeps the replica's lease. Rows are the truth;
// hints only make it quick.
//
// A session costs no goroutine, ticker or statement of its own here. A handful
// of goroutines serve all of them.
package dispatch

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/controller/internal/command"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/wake"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/taskgroup"
)

// Config is what a Dispatcher needs.
type Config struct {
	Bus         *wake.Bus
	Agents      *agent.Service
	Deployments *deployment.Service
	Commands    *command.Service
	Log         *slog.Logger
	Now         func() time.Time
	// Changed is told where agents stand when that may have changed, of every
	// agent, whichever replica holds its session. It must not block. Nil for
	// nobody.
	Changed func(agent.Standing)
	// Answered is told, about each second, that the database answered, or why it
	// did not. It must not block. Nil for nobody.
	Answered func(err error)
	// Clock is a clock that never jumps; nil for the machine's.
	Clock func() time.Duration
}

// Dispatcher feeds and watches the open sessions of this replica.
type Dispatcher struct {
	Config
	clock func() time.Duration
	pongs pongs

	mu      sync.Mutex
	byAgent map[uuid.UUID]*Line
	byNode  map[uuid.UUID]*Line
	queue   []*Line
	// later are lines whose feeding failed for now.
	later []*Line
	// silences are to be written down.
	silences map[uuid.UUID]agent.Silence
	// unclosed are ends of sessions that are to be written down.
	unclosed map[uuid.UUID]agent.Ended

	// ready has a token when the queue may not be empty, look when changes
	// should be looked for now.
	ready, look chan struct{}
	// workers send on lines.
	workers sync.WaitGroup

	// swept and floor are the sweep's: when it last ran, and the moment before
	// which silence does not count.
	swept, floor time.Duration
}

// New returns the dispatcher.
func New(c Config) *Dispatcher {
	d := &Dispatcher{
		Config: c, clock: c.Clock, byAgent: map[uuid.UUID]*Line{}, byNode: map[uuid.UUID]*Line{},
		silences: map[uuid.UUID]agent.Silence{}, unclosed: map[uuid.UUID]agent.Ended{}, ready: make(chan struct{}, feeders), look: make(chan struct{}, 1),
	}
	d.Log = c.Log.With(logging.KeyComponent, "dispatch")
	if d.clock == nil {
		began := time.Now()
		d.clock = func() time.Duration { return time.Since(began) }
	}
	c.Bus.Follow(d.hint)
	return d
}

// Run serves the lines until ctx ends.
func (d *Dispatcher) Run(ctx context.Context) error {
	tasks := []taskgroup.Task{
		{Name: "sweep", Run: d.sweepEach}, {Name: "watch", Run: d.watch},
	}
	for range feeders {
		tasks = append(tasks, taskgroup.Task{Name: "feed", Run: d.feed})
	}
	err := taskgroup.Run(ctx, tasks...)
	d.workers.Wait()
	return err
}

// Hello is what an agent says of its set when its session begins.
type Hello struct {
	Held deployment.Held
	// Delta: the agent takes changes, besides whole sets.
	Delta bool
}

// Add begins to serve a session. Remove ends it. An older session of the same
// agent is ended: it was replaced.
func (d *Dispatcher) Add(s agent.Session, sender Sender, hello Hello) *Line {
	l := &Line{Session: s, sender: sender, dispatcher: d}
	l.sets.held, l.sets.taken, l.sets.delta, l.sets.again = hello.Held, hello.Held, hello.Delta, true
	l.Heard()
	d.mu.Lock()
	old := d.byAgent[s.AgentID]
	newest := old == nil || old.Epoch < s.Epoch
	if newest {
		d.byAgent[s.AgentID], d.byNode[s.NodeID] = l, l
	}
	d.mu.Unlock()
	if !newest { // opened the other way round
		old = l
	}
	if old != nil {
		old.sender.End(agent.Standing{AgentID: s.AgentID, Epoch: max(s.Epoch, old.Epoch+1)}.Err(old.Session))
	}
	if newest {
		l.mark()
	}
	return l
}

// Remove ends the serving of a session.
func (d *Dispatcher) Remove(l *Line) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byAgent[l.AgentID] == l {
		delete(d.byAgent, l.AgentID)
	}
	if d.byNode[l.NodeID] == l {
		delete(d.byNode, l.NodeID)
	}
	delete(d.silences, l.AgentID)
}

// Local returns the session of a node's agent, if this replica holds it.
func (d *Dispatcher) Local(nodeID uuid.UUID) (agent.Session, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.byNode[nodeID]; l != nil {
		return l.Session, true
	}
	return agent.Session{}, false
}

// IsMine reports whether this replica holds just that session.
func (d *Dispatcher) IsMine(agentID uuid.UUID, epoch int64) bool {
	l := d.line(agentID)
	return l != nil && l.Epoch == epoch
}

// EndAll ends every session; the agents are told why.
func (d *Dispatcher) EndAll(why error) {
	for _, l := range d.lines() {
		l.sender.End(why)
	}
}

func (d *Dispatcher) line(agentID uuid.UUID) *Line {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.byAgent[agentID]
}

func (d *Dispatcher) lines() []*Line {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]*Line, 0, len(d.byAgent))
	for _, l := range d.byAgent {
		all = append(all, l)
	}
	return all
}

// hint takes what the bus tells.
func (d *Dispatcher) hint(topic wake.Topic) {
	kind, text := topic.Split()
	if topic != wake.All && kind != wake.KindNode && kind != wake.KindAgent {
		return
	}
	id, _ := uuid.Parse(text)
	d.mu.Lock()
	l := d.byNode[id]
	if kind == wake.KindAgent {
		l = d.byAgent[id]
	}
	d.mu.Unlock()
	switch {
	case l != nil:
		l.mark()
	case topic == wake.All || kind == wake.KindAgent && d.Changed != nil:
		signal(d.look)
	}
}

func (d *Dispatcher) enqueue(l *Line) {
	d.mu.Lock()
	d.queue = append(d.queue, l)
	d.mu.Unlock()
	signal(d.ready)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // enough are waiting already
	}
}
