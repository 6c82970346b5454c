package faultnet

import (
	"net"
	"sync"
	"time"
)

const (
	readBytes = 16 << 10
	// slowBytes is read at once where little is to be taken in.
	slowBytes = 512
	// underWay is how many reads may be on the line in one direction.
	underWay = 64
)

// connection is one that goes over a line: near is the dialler's side.
type connection struct {
	line      *Line
	near, far net.Conn
	once      sync.Once
	done      chan struct{}

	// held keeps what the dialler sent from arriving until it is closed; nil
	// when nothing is held. left tells that the dialler's side is gone and the
	// other does not know. The line's mutex guards both.
	held chan struct{}
	left bool
}

// join starts carrying bytes between the two; four goroutines do it and end
// with the connection.
func (l *Line) join(near, far net.Conn) {
	c := &connection{line: l, near: near, far: far, done: make(chan struct{})}
	l.mu.Lock()
	l.open[c] = struct{}{}
	l.opened++
	l.mu.Unlock()
	go c.carry(up, far, near)
	go c.carry(down, near, far)
}

// close ends both sides in order.
func (c *connection) close() { c.end(false) }

// reset ends both sides with a reset where they are TCP.
func (c *connection) reset() { c.end(true) }

func (c *connection) end(hard bool) {
	c.once.Do(func() {
		close(c.done)
		for _, side := range []net.Conn{c.near, c.far} {
			if tcp, ok := side.(*net.TCPConn); ok && hard {
				_ = tcp.SetLinger(0)
			}
			_ = side.Close()
		}
		c.line.mu.Lock()
		defer c.line.mu.Unlock()
		delete(c.line.open, c)
	})
}

// parcel is bytes under way.
type parcel struct {
	bytes []byte
	due   time.Time
}

func (c *connection) carry(d direction, to, from net.Conn) {
	parcels := make(chan parcel, underWay)
	go c.read(d, from, parcels)
	for p := range parcels {
		if !c.pause(time.Until(p.due)) {
			break
		}
		if !c.deliver(d, to, p.bytes) && (d == up || !c.gone()) {
			c.reset()
			break
		}
	}
	if d == up {
		c.arrive()
	}
	if d == up || !c.gone() {
		c.close() // the other side said all it had to say
	}
}

// gone reports whether the dialler's side is gone without the other's knowing.
func (c *connection) gone() bool {
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	return c.left
}

// keep counts what is held.
func (c *connection) keep(d direction, n int) {
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	if d == up && c.held != nil {
		c.line.kept += n
	}
}

// arrive waits until what the dialler sent is held no more.
func (c *connection) arrive() bool {
	c.line.mu.Lock()
	held := c.held
	c.line.mu.Unlock()
	if held == nil {
		return true
	}
	select {
	case <-held:
		return true
	case <-c.done:
		return false
	}
}

func (c *connection) read(d direction, from net.Conn, parcels chan<- parcel) {
	defer close(parcels)
	var last time.Time
	buffer := make([]byte, readBytes)
	for {
		size := readBytes
		if c.line.slow(d) {
			size = slowBytes
		}
		n, err := from.Read(buffer[:size])
		if n > 0 {
			due := time.Now().Add(c.line.travel(d, n))
			if due.Before(last) {
				due = last // TCP keeps the order
			}
			last = due
			select {
			case parcels <- parcel{append([]byte(nil), buffer[:n]...), due}:
				c.keep(d, n)
			case <-c.done:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// deliver writes the bytes as the line lets them through; false when the
// connection is over.
func (c *connection) deliver(d direction, to net.Conn, bytes []byte) bool {
	if d == up && !c.arrive() {
		return false
	}
	for len(bytes) > 0 {
		g := c.line.grant(d, len(bytes))
		if g.wait != nil {
			select {
			case <-g.wait:
				continue
			case <-c.done:
				return false
			}
		}
		if !c.pause(g.pause) {
			return false
		}
		if _, err := to.Write(bytes[:g.bytes]); err != nil || g.cut {
			return false
		}
		bytes = bytes[g.bytes:]
	}
	return true
}

// pause waits; false when the connection is over.
func (c *connection) pause(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.done:
		return false
	}
}
