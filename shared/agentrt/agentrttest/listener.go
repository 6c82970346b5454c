package agentrttest

import (
	"context"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc/test/bufconn"
)

// memoryBytes is how much may be under way on a connection in memory.
const memoryBytes = 256 << 10

// StartInMemory starts a controller whose connections are in memory, so that a
// test in a synctest bubble has virtual time. Agents need its Dial.
func StartInMemory(t testing.TB) *Controller {
	t.Helper()
	return start(t, &memory{Listener: bufconn.Listen(memoryBytes)})
}

// Dial connects to a controller that was started in memory.
func (c *Controller) Dial(ctx context.Context, _ string) (net.Conn, error) {
	listener, ok := c.listener.Listener.(*memory)
	if !ok {
		return nil, net.ErrClosed
	}
	return listener.DialContext(ctx)
}

// memory is a listener that looks as if it had an address.
type memory struct{ *bufconn.Listener }

func (memory) Addr() net.Addr { return address{} }

type address struct{}

func (address) Network() string { return "memory" }

func (address) String() string { return "controller:8443" }

// cuttable is a listener whose connections can be broken.
type cuttable struct {
	net.Listener

	mu    sync.Mutex
	conns []net.Conn
}

func (l *cuttable) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, conn)
	return conn, nil
}

func (l *cuttable) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range l.conns {
		_ = conn.Close()
	}
	l.conns = nil
}
