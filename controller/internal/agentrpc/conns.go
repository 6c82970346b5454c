package agentrpc

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/peer"
)

// conns are the connections of the agents' listener. One that has not begun a
// call yet is a newcomer: it costs memory and has proven nothing, so there are
// bounds on how many there may be, from one address and in all, and for how
// long.
type conns struct {
	limits Limits
	clock  func() time.Duration

	mu        sync.Mutex
	freed     *sync.Cond
	closed    bool
	all       map[*conn]struct{}
	newcomers map[netip.Addr][]*conn // oldest first
	count     int
	// refused counts newcomers that were turned away or cut.
	refused atomic.Int64
}

func newConns(limits Limits, clock func() time.Duration) *conns {
	c := &conns{limits: limits, clock: clock, all: map[*conn]struct{}{}, newcomers: map[netip.Addr][]*conn{}}
	c.freed = sync.NewCond(&c.mu)
	return c
}

// conn is one connection.
type conn struct {
	net.Conn
	conns   *conns
	remote  *peerAddr
	address netip.Addr
	since   time.Duration
	// used tells that it has begun a call; calls counts those under way.
	used  atomic.Bool
	calls atomic.Int32
	// idle is when the last call ended, wrote when the peer last took
	// something, both by the clock.
	idle, wrote atomic.Int64
	once        sync.Once
}

// Write notes that the peer takes something.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if n > 0 {
		c.wrote.Store(int64(c.conns.clock()))
	}
	return n, err
}

// Close closes the connection and forgets it.
func (c *conn) Close() error {
	c.once.Do(func() { c.conns.forget(c) })
	return c.Conn.Close()
}

// begin notes that a call begins, and returns what notes its end.
func (c *conn) begin() (end func()) {
	c.calls.Add(1)
	if c.used.CompareAndSwap(false, true) {
		c.conns.mu.Lock()
		c.conns.settle(c)
		c.conns.mu.Unlock()
	}
	return c.end
}

func (c *conn) end() {
	c.idle.Store(int64(c.conns.clock()))
	c.calls.Add(-1)
}

// listener takes connections as the bounds allow.
type listener struct {
	net.Listener
	conns *conns
}

// Accept waits for the next connection that may come in. While there are as
// many newcomers as there may be, the rest waits in the kernel; and an address
// that lets many of its own wait for long is turned away at once.
func (l listener) Accept() (net.Conn, error) {
	for {
		if !l.conns.room() {
			return nil, net.ErrClosed
		}
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.conns.admit(raw); c != nil {
			return c, nil
		}
		_ = raw.Close()
	}
}

// Close ends Accept too when it waits for room.
func (l listener) Close() error {
	l.conns.mu.Lock()
	l.conns.closed = true
	l.conns.freed.Broadcast()
	l.conns.mu.Unlock()
	return l.Listener.Close()
}

// room waits until there may be one more newcomer; false when the listener was
// closed.
func (s *conns) room() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.count >= s.limits.Newcomers && !s.closed {
		s.freed.Wait()
	}
	return !s.closed
}

// admit keeps a new connection, or returns nil when its address has too many
// that wait for long already.
func (s *conns) admit(raw net.Conn) *conn {
	c := &conn{Conn: raw, conns: s, since: s.clock()}
	c.remote = &peerAddr{raw.RemoteAddr(), c}
	if a, err := netip.ParseAddrPort(raw.RemoteAddr().String()); err == nil {
		c.address = a.Addr().Unmap()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if list := s.newcomers[c.address]; len(list) >= s.limits.PerAddress {
		if slow := list[s.limits.PerAddress-1]; c.since-slow.since >= s.limits.Patience {
			s.refused.Add(1)
			return nil
		}
	}
	s.all[c] = struct{}{}
	s.newcomers[c.address] = append(s.newcomers[c.address], c)
	s.count++
	return c
}

// settle takes a connection out of the newcomers. The caller holds the lock.
func (s *conns) settle(c *conn) {
	list := s.newcomers[c.address]
	for i, other := range list {
		if other != c {
			continue
		}
		if len(list) == 1 {
			delete(s.newcomers, c.address)
		} else {
			s.newcomers[c.address] = append(list[:i:i], list[i+1:]...)
		}
		s.count--
		s.freed.Signal()
		return
	}
}

func (s *conns) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, c)
	s.settle(c)
}

// sweep cuts newcomers whose time is over, and connections that were used and
// are idle for long. While there is no room for more, the oldest newcomer of
// the address that has most of them goes earlier.
func (s *conns) sweep() {
	now := s.clock()
	var cut []*conn
	s.mu.Lock()
	for c := range s.all {
		switch {
		case !c.used.Load() && now-c.since >= s.limits.HelloTimeout:
			s.refused.Add(1)
			cut = append(cut, c)
		case c.used.Load() && c.calls.Load() == 0 && now-time.Duration(c.idle.Load()) >= s.limits.Idle:
			cut = append(cut, c)
		}
	}
	if s.count >= s.limits.Newcomers {
		cut = append(cut, s.crowd(now)...)
	}
	s.mu.Unlock()
	for _, c := range cut {
		_ = c.Close()
	}
}

// crowd returns the newcomers of the address that has most of them which have
// waited for longer than the patience with one that is slow.
func (s *conns) crowd(now time.Duration) []*conn {
	var most []*conn
	for _, list := range s.newcomers {
		if len(list) > len(most) {
			most = list
		}
	}
	n := 0
	for n < len(most) && now-most[n].since >= s.limits.Patience {
		n++
	}
	s.refused.Add(int64(n))
	return append([]*conn(nil), most[:n]...)
}

// peerAddr is where a connection comes from, and which connection it is: what
// gRPC tells a call of its peer.
type peerAddr struct {
	net.Addr
	conn *conn
}

// RemoteAddr returns where the connection comes from.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// connOf returns the connection a call came on; nil when it is not one of the
// listener's.
func connOf(ctx context.Context) *conn {
	if p, ok := peer.FromContext(ctx); ok {
		if from, ok := p.Addr.(*peerAddr); ok {
			return from.conn
		}
	}
	return nil
}
