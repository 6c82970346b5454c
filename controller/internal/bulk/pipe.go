package bulk

import (
	"context"
	"errors"
	"io"
	"sync"

	"fairlead.dev/shared/apperr"
)

// pipe is one stream: the reader at one end, the agent's carrier at the other.
type pipe struct {
	id      string
	link    *Link
	request Request

	joined chan struct{} // closed when the agent has come
	done   chan struct{} // closed when the stream has ended
	down   chan Down
	// readable and writable wake who waits; each has room for one hint.
	readable, writable chan struct{}

	mu      sync.Mutex
	taken   bool // somebody joined
	ended   bool // the agent's last part is in the queue or was read
	cause   error
	queue   []queued
	bytes   int
	reserve bool // a part in the queue is the one that needs no budget
}

// queued is a part that waits for the reader.
type queued struct {
	up    Up
	bytes int
	// paid is how much of the agent's budget it holds.
	paid int
}

func newPipe(id string, l *Link, r Request) *pipe {
	return &pipe{
		id: id, link: l, request: r,
		joined: make(chan struct{}), done: make(chan struct{}), down: make(chan Down),
		readable: make(chan struct{}, 1), writable: make(chan struct{}, 1),
	}
}

// errEnough is the cause of a stream whose reader has enough.
var errEnough = errors.New("the reader ended the stream")

// Recv implements Stream.
func (p *pipe) Recv() (Up, error) {
	for {
		up, got, err := p.pop()
		if got || err != nil {
			return up, err
		}
		select {
		case <-p.readable:
		case <-p.done:
		}
	}
}

func (p *pipe) pop() (up Up, got bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case len(p.queue) > 0:
		first := p.queue[0]
		p.queue[0] = queued{} // the array lives on; what it held need not
		p.queue = p.queue[1:]
		p.bytes -= first.bytes
		if first.paid == 0 {
			p.reserve = false
		}
		p.link.budget.give(first.paid)
		hint(p.writable)
		return first.up, true, nil
	case p.ended:
		return Up{}, false, io.EOF
	default:
		return Up{}, false, p.cause
	}
}

// Send implements Stream.
func (p *pipe) Send(d Down) error {
	select {
	case p.down <- d:
		return nil
	case <-p.done:
		return p.why()
	}
}

// Close implements Stream.
func (p *pipe) Close(cause error) {
	if cause == nil {
		cause = errEnough
	}
	p.mu.Lock()
	first := p.cause == nil
	if first {
		p.cause = cause
		close(p.done)
	}
	if errors.Is(cause, errEnough) { // nobody will read what waits
		for _, q := range p.queue {
			p.link.budget.give(q.paid)
		}
		p.queue, p.bytes = nil, 0
	}
	p.mu.Unlock()
	if first {
		p.link.budget.forget(p)
		p.link.broker.drop(p)
	}
}

func (p *pipe) why() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cause
}

// join makes the caller the one that carries; false when there is one.
func (p *pipe) join() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken || p.cause != nil {
		return false
	}
	p.taken = true
	close(p.joined)
	return true
}

// carried reports whether somebody joined.
func (p *pipe) carried() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}

// put hands a part to the reader; it waits while there is no room for it.
func (p *pipe) put(ctx context.Context, up Up) error {
	bytes := weigh(up)
	for !p.offer(up, bytes) {
		select {
		case <-p.writable:
		case <-p.done:
			return p.why()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (p *pipe) offer(up Up, bytes int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cause != nil {
		return false // done is closed
	}
	paid := 0
	if p.reserve {
		if fixedSize+p.bytes+bytes > p.link.broker.limits.StreamBytes || !p.link.budget.take(bytes, p) {
			return false
		}
		paid = bytes
	}
	p.reserve = p.reserve || paid == 0
	p.ended = p.ended || up.End != nil
	p.queue = append(p.queue, queued{up: up, bytes: bytes, paid: paid})
	p.bytes += bytes
	hint(p.readable)
	return true
}

// Carrier is the agent's end of a stream.
type Carrier struct{ pipe *pipe }

// Request is what the agent was asked for.
func (c *Carrier) Request() Request { return c.pipe.request }

// Deliver hands a part to the reader and waits while there is no room for it:
// not reading on from the agent meanwhile is what slows the agent down.
func (c *Carrier) Deliver(ctx context.Context, up Up) error {
	for _, part := range split(up) {
		if err := c.pipe.put(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// Next waits for what the reader sends; it fails when the stream or ctx ends.
func (c *Carrier) Next(ctx context.Context) (Down, error) {
	select {
	case d := <-c.pipe.down:
		return d, nil
	case <-c.pipe.done:
		return Down{}, c.pipe.why()
	case <-ctx.Done():
		return Down{}, context.Cause(ctx)
	}
}

// Done is closed when the stream has ended and nobody reads any more.
func (c *Carrier) Done() <-chan struct{} { return c.pipe.done }

// Left says that the agent's side is gone. The reader still gets what was
// delivered; if the agent had not said that it was the end, the stream breaks.
func (c *Carrier) Left() {
	c.pipe.mu.Lock()
	ended := c.pipe.ended
	c.pipe.mu.Unlock()
	if ended {
		c.pipe.Close(io.EOF)
		return
	}
	c.pipe.Close(apperr.New(apperr.Unavailable, "the agent's connection for streams broke").WithReason(ReasonSessionEnded))
}
