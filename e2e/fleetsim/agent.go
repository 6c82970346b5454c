package fleetsim

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/e2e/fleetsim/faultnet"
)

// Agent is one light agent and its node. Its methods may be called from several
// goroutines.
type Agent struct {
	fleet *Fleet
	index int
	line  *faultnet.Line
	token Token

	// What a node's disk and engine hold; Kill leaves it as it is.
	mu     sync.Mutex
	random *rand.Rand
	id     string
	own    *tls.Certificate
	set    *agentv1.AssignmentSet
	engine engine
	state  State
	boots  int
	// held is the commands that were carried out and whose results the
	// controller has not acknowledged.
	held    map[string]*agentv1.CommandResult
	effects map[string]int

	// What the process holds; new with each boot.
	boot    *boot
	running bool
}

// State is what an agent is like now.
type State struct {
	Connected bool
	// Echoed is whether a heartbeat came back on the session.
	Echoed bool
	Epoch  uint64
	// Period is what the controller asked to send heartbeats with.
	Period   time.Duration
	Attempts int
	Sessions int
	// Quarantine is why the agent is in quarantine; empty when it is not.
	Quarantine string
	// Last is how the last session or attempt ended.
	Last error
	// Stopped is why the agent will not come back by itself, such as that it
	// was revoked.
	Stopped error

	Lineage    string
	Generation uint64
	SetHash    string
}

func newAgent(f *Fleet, index int, t Token) *Agent {
	a := &Agent{
		fleet: f, index: index, token: t,
		random:  rand.New(rand.NewPCG(f.config.Seed, uint64(index))), //nolint:gosec // repeatable, not secret
		set:     &agentv1.AssignmentSet{},
		held:    map[string]*agentv1.CommandResult{},
		effects: map[string]int{},
	}
	a.engine.prefixes = map[string]*Prefix{}
	a.engine.foreign = f.config.Engine.Foreign
	if f.config.Line != nil {
		a.line = f.config.Line(index)
	}
	return a
}

// Index is the agent's place in its fleet.
func (a *Agent) Index() int { return a.index }

// NodeID is of the node it was enrolled for.
func (a *Agent) NodeID() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.token.NodeID
}

// Line is what its connections go over; nil when they go directly.
func (a *Agent) Line() *faultnet.Line {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.line
}

// SetLine makes later connections go over another line.
func (a *Agent) SetLine(l *faultnet.Line) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.line = l
}

// State returns what the agent is like now.
func (a *Agent) State() State {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.state
	s.Lineage, s.Generation, s.SetHash = a.set.GetLineage(), a.set.GetGeneration(), a.set.GetSetHash()
	return s
}

// boot is one run of the agent's process.
type boot struct {
	id     string
	cancel context.CancelFunc
	done   chan struct{}
	// leave is closed when the agent is to say good-bye.
	leave     chan struct{}
	leaveOnce sync.Once
	outbox    *outbox

	mu     sync.Mutex
	gates  map[*gate]struct{}
	frozen bool
}

// Start starts the agent's process, unless it runs. It runs until ctx ends, or
// Kill or Stop.
func (a *Agent) Start(ctx context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.running {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	name := make([]byte, 16)
	for i := range name {
		name[i] = byte(a.random.Uint32())
	}
	b := &boot{
		id: hex.EncodeToString(name), cancel: cancel, done: make(chan struct{}), leave: make(chan struct{}),
		outbox: newOutbox(), gates: map[*gate]struct{}{},
	}
	a.boots++
	a.boot, a.running = b, true
	a.state.Stopped = nil
	a.fleet.counters.running.Add(1)
	a.engine.retell(a, b)
	a.engine.resume(a, b) // what was under way goes on, as a real agent's does
	go func() {
		defer close(b.done)
		a.run(ctx, b)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.running = false
		a.fleet.counters.running.Add(-1)
	}()
}

// Kill ends the agent's process as kill -9 does: its connections are closed by
// the kernel, and nothing is said.
func (a *Agent) Kill() {
	if b := a.signal(); b != nil {
		<-b.done
	}
}

// signal begins a Kill.
func (a *Agent) signal() *boot {
	a.mu.Lock()
	b := a.boot
	a.mu.Unlock()
	if b == nil {
		return nil
	}
	b.mu.Lock()
	for g := range b.gates {
		g.hangUp()
	}
	b.mu.Unlock()
	b.cancel()
	return b
}

// Stop ends the agent's process in order: it reports what it has, says
// good-bye and waits for the controller to hang up, until ctx ends.
func (a *Agent) Stop(ctx context.Context) {
	a.mu.Lock()
	b := a.boot
	a.mu.Unlock()
	if b == nil {
		return
	}
	b.leaveOnce.Do(func() { close(b.leave) })
	select {
	case <-b.done:
	case <-ctx.Done():
		a.Kill()
	}
}

// Freeze makes the agent neither read nor write on the connections it has, as a
// stopped process or a machine that lost its network; or lets it go on. It
// opens no connection meanwhile.
func (a *Agent) Freeze(on bool) {
	a.mu.Lock()
	b := a.boot
	a.mu.Unlock()
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.frozen = on
	for g := range b.gates {
		g.hold(on)
	}
}

// source is the address that the agent dials from: one of its own in
// 127.0.0.0/8, as nodes have theirs, so that neither ports nor limits by
// address run short.
func (a *Agent) source() *net.TCPAddr {
	n := a.index + 2<<8
	return &net.TCPAddr{IP: net.IPv4(127, byte(1+n>>16), byte(n>>8), byte(n))}
}

// dial connects over the agent's line, if it has one, and through a gate.
func (a *Agent) dial(ctx context.Context, b *boot, address string) (net.Conn, error) {
	direct := func(ctx context.Context) (net.Conn, error) {
		d := net.Dialer{LocalAddr: a.source(), KeepAlive: -1}
		return d.DialContext(ctx, "tcp", address)
	}
	connect := direct
	if line := a.Line(); line != nil {
		connect = func(ctx context.Context) (net.Conn, error) { return line.Dial(ctx, direct) }
	}
	conn, err := connect(ctx)
	if err != nil || b == nil {
		return conn, err
	}
	g := newGate(conn)
	b.mu.Lock()
	defer b.mu.Unlock()
	g.hold(b.frozen)
	b.gates[g] = struct{}{}
	g.onClose = func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.gates, g)
	}
	return g, nil
}

// part is a random part of the ceiling.
func (a *Agent) part(ceiling time.Duration) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return time.Duration(a.random.Float64() * float64(ceiling))
}
