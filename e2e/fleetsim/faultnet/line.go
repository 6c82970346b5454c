// Package faultnet is a network that misbehaves as it is told. A Line carries
// connections between one side ("up": what the dialler sends) and the other
// ("down": what it receives); its faults can be changed at any time and take
// hold of the connections that are open.
//
// A Line is used in one of two ways: as the dialler of a program that has one
// (Line.Dial; costs no further file descriptor), or behind a Proxy, for
// programs that can only be told an address.
//
//	line := faultnet.NewLine(seed)
//	proxy, err := faultnet.Listen(ctx, controllerAddress, line) // agents dial proxy.Addr()
//	line.Set(faultnet.Lossy(0.05, 200*time.Millisecond))        // 5 % loss, 200 ms jitter, both ways
//	line.Set(faultnet.Faults{Down: faultnet.Way{BytesPerSecond: 1000}}) // a slow reader
//	line.Stall(true)                                            // half open: nothing arrives, nothing ends
//	line.Set(faultnet.Faults{Up: faultnet.Way{CutAfter: 137}})  // reset in the middle of a frame
//	line.Cut()                                                  // reset what is open; new ones are let through
//	line.Down(true)                                             // and these not
//	line.Hold(); line.Leave(); line.Release()                   // an older connection's bytes arrive after a newer one is up
package faultnet

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// ErrDown is what dialling over a line that is down fails with.
var ErrDown = errors.New("the line is down")

// Way is what happens to the bytes of one direction. The zero value lets them
// through as they come.
type Way struct {
	// Delay is what every byte takes, and Jitter the most it takes beyond
	// that; bytes stay in order, as TCP's do.
	Delay  time.Duration
	Jitter time.Duration
	// Loss is the part of segments that get lost, in [0, 1). TCP sends those
	// again, so that loss is seen as a delay: 200 ms for the first try, twice
	// as long for each further one.
	Loss float64
	// BytesPerSecond bounds the throughput; 0 does not. Little of what waits
	// is taken in, so that the sender feels it.
	BytesPerSecond int
	// CutAfter resets the connection when this many more bytes have gone
	// this way, counted over all connections of the line; 0 never.
	CutAfter int64
	// StallAfter stops the line, as Stall does, after this many more bytes.
	StallAfter int64
}

// Faults are those of both directions.
type Faults struct {
	Up   Way
	Down Way
}

// Lossy returns the same loss and jitter for both directions.
func Lossy(loss float64, jitter time.Duration) Faults {
	w := Way{Loss: loss, Jitter: jitter}
	return Faults{Up: w, Down: w}
}

// Line is a piece of network. Its methods may be called from any goroutine.
type Line struct {
	mu     sync.Mutex
	random *rand.Rand
	faults Faults
	// sent counts the bytes that went each way since the faults were set.
	sent    [2]int64
	stalled bool
	down    bool
	// changed is closed and replaced when something above changes.
	changed chan struct{}
	open    map[*connection]struct{}
	opened  int
	// kept counts the bytes that were ever held.
	kept int
}

// NewLine returns a line without faults; its delays and losses follow from the
// seed.
func NewLine(seed uint64) *Line {
	return &Line{
		random:  rand.New(rand.NewPCG(seed, 0x6c696e65)), //nolint:gosec // repeatable, not secret
		changed: make(chan struct{}), open: map[*connection]struct{}{},
	}
}

// Set replaces the faults and counts bytes anew.
func (l *Line) Set(f Faults) {
	l.change(func() { l.faults, l.sent = f, [2]int64{} })
}

// Stall stops all bytes, or lets them go on. Nothing is lost and nobody is told.
func (l *Line) Stall(on bool) { l.change(func() { l.stalled = on }) }

// Down makes the line refuse connections and resets those that are open; or
// lets new ones through again.
func (l *Line) Down(on bool) {
	l.change(func() { l.down = on })
	if on {
		l.Cut()
	}
}

// Cut resets every open connection and returns how many there were. Bytes under
// way are lost.
func (l *Line) Cut() int {
	l.mu.Lock()
	var list []*connection
	for c := range l.open {
		list = append(list, c)
	}
	l.mu.Unlock()
	for _, c := range list {
		c.reset()
	}
	return len(list)
}

// Hold keeps what the diallers of the connections that are open have sent, and
// send from now on, from arriving; connections made later are not concerned.
// Release lets it arrive, in order.
func (l *Line) Hold() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for c := range l.open {
		if c.held == nil {
			c.held = make(chan struct{})
			n++
		}
	}
	return n
}

// Held returns how many bytes were ever held.
func (l *Line) Held() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kept
}

// Leave resets the diallers' sides of the connections that are held. The other
// sides do not learn of it before Release, and then only once they have got
// what was sent.
func (l *Line) Leave() {
	for _, c := range l.holding() {
		l.mu.Lock()
		c.left = true
		l.mu.Unlock()
		if tcp, ok := c.near.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.near.Close()
	}
}

// Release lets arrive what is held.
func (l *Line) Release() {
	for _, c := range l.holding() {
		l.mu.Lock()
		close(c.held)
		c.held = nil
		l.mu.Unlock()
	}
}

func (l *Line) holding() (list []*connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		if c.held != nil {
			list = append(list, c)
		}
	}
	return list
}

// Heal ends every fault; what is open goes on.
func (l *Line) Heal() {
	l.change(func() { l.faults, l.stalled, l.down = Faults{}, false, false })
}

// Open returns how many connections are open now, and how many ever were.
func (l *Line) Open() (now, ever int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open), l.opened
}

func (l *Line) change(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do()
	close(l.changed)
	l.changed = make(chan struct{})
}

// Dial connects over the line. The connection is a pipe in memory, with the
// faults between it and a real one.
func (l *Line) Dial(ctx context.Context, dial func(context.Context) (net.Conn, error)) (net.Conn, error) {
	if l.isDown() {
		return nil, ErrDown
	}
	far, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	near, inside := net.Pipe()
	l.join(inside, far)
	return near, nil
}

func (l *Line) isDown() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down
}

// direction indexes what is kept for each way.
type direction int

const (
	up direction = iota
	down
)

func (l *Line) way(d direction) Way {
	if d == up {
		return l.faults.Up
	}
	return l.faults.Down
}

const (
	segmentBytes = 1448
	firstRetry   = 200 * time.Millisecond
	maxRetries   = 8
)

// travel returns how long n bytes are under way, but for the bounds of
// throughput.
func (l *Line) travel(d direction, n int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.way(d)
	took := w.Delay
	if w.Jitter > 0 {
		took += time.Duration(l.random.Int64N(int64(w.Jitter)))
	}
	for range (n + segmentBytes - 1) / segmentBytes {
		retry := firstRetry
		for try := 0; try < maxRetries && w.Loss > 0 && l.random.Float64() < w.Loss; try++ {
			took += retry
			retry *= 2
		}
	}
	return took
}

// grant is what may be done with bytes that have arrived.
type grant struct {
	// bytes may go, after pause; then the connection is cut, or not.
	bytes int
	pause time.Duration
	cut   bool
	// wait is not nil when nothing may go before a change.
	wait <-chan struct{}
}

func (l *Line) grant(d direction, n int) grant {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stalled {
		return grant{wait: l.changed}
	}
	w := l.way(d)
	g := grant{bytes: n}
	if w.BytesPerSecond > 0 {
		g.bytes = min(n, max(1, w.BytesPerSecond/20))
		g.pause = time.Second * time.Duration(g.bytes) / time.Duration(w.BytesPerSecond)
	}
	if left := w.CutAfter - l.sent[d]; w.CutAfter > 0 && left <= int64(g.bytes) {
		g.bytes, g.cut = int(max(0, left)), true
		l.set(d, func(w *Way) { w.CutAfter = 0 })
	}
	if left := w.StallAfter - l.sent[d]; w.StallAfter > 0 && left <= int64(g.bytes) {
		g.bytes, g.cut, l.stalled = int(max(0, left)), false, true
		l.set(d, func(w *Way) { w.StallAfter = 0 })
	}
	l.sent[d] += int64(g.bytes)
	return g
}

func (l *Line) set(d direction, change func(*Way)) {
	if d == up {
		change(&l.faults.Up)
	} else {
		change(&l.faults.Down)
	}
}

// slow reports whether the throughput is bounded: then little is read ahead.
func (l *Line) slow(d direction) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.way(d).BytesPerSecond > 0 || l.stalled
}
