package faultnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
)

// Proxy forwards TCP connections to a target over a line.
type Proxy struct {
	listener net.Listener
	line     *Line
	accepts  sync.WaitGroup

	mu     sync.Mutex
	target string
}

// Listen starts a proxy on a free port of the loopback interface. Close ends
// it.
func Listen(ctx context.Context, target string, line *Line) (*Proxy, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for a proxy: %w", err)
	}
	p := &Proxy{listener: listener, line: line, target: target}
	p.accepts.Go(p.accept)
	return p, nil
}

// Addr is what to dial, as host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Line is what the connections go over.
func (p *Proxy) Line() *Line { return p.line }

// Retarget sends later connections elsewhere.
func (p *Proxy) Retarget(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = address
}

// Close stops listening and resets what is open.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.accepts.Wait()
	p.line.Cut()
	return err
}

func (p *Proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		p.accepts.Go(func() { p.connect(near) })
	}
}

func (p *Proxy) connect(near net.Conn) {
	refuse := func() {
		if tcp, ok := near.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = near.Close()
	}
	if p.line.isDown() {
		refuse()
		return
	}
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	far, err := net.Dial("tcp", target) //nolint:noctx // the target is on this machine and answers or refuses at once
	if err != nil {
		refuse()
		return
	}
	p.line.join(near, far)
}
