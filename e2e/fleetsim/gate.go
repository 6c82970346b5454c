package fleetsim

import (
	"net"
	"sync"
)

// gate is a connection that can be held: then nothing goes through it.
type gate struct {
	net.Conn
	onClose func()

	mu     sync.Mutex
	opened chan struct{} // closed while the gate is open
	closed chan struct{}
	once   sync.Once
}

func newGate(c net.Conn) *gate {
	g := &gate{Conn: c, opened: make(chan struct{}), closed: make(chan struct{})}
	close(g.opened)
	return g
}

func (g *gate) hold(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.opened:
		if on {
			g.opened = make(chan struct{})
		}
	default:
		if !on {
			close(g.opened)
		}
	}
}

// pass waits until the gate is open; false when the connection is closed.
func (g *gate) pass() bool {
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	select {
	case <-opened:
		return true
	default:
	}
	select {
	case <-opened:
		return true
	case <-g.closed:
		return false
	}
}

// Read reads once the gate is open.
func (g *gate) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if !g.pass() {
		return 0, net.ErrClosed
	}
	return n, err
}

// Write writes once the gate is open.
func (g *gate) Write(p []byte) (int, error) {
	if !g.pass() {
		return 0, net.ErrClosed
	}
	return g.Conn.Write(p)
}

// Close closes the connection.
func (g *gate) Close() error {
	err := net.ErrClosed
	g.once.Do(func() {
		close(g.closed)
		err = g.Conn.Close()
		if g.onClose != nil {
			go g.onClose() // may be called with the lock held that it takes
		}
	})
	return err
}

// hangUp closes the connection below what uses it, which then can say nothing.
func (g *gate) hangUp() {
	if tcp, ok := g.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = g.Close()
}
