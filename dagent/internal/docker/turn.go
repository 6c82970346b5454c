package docker

import (
	"context"
	"sync"
)

// line lets containers be brought up several at a time, in their order.
type line struct {
	ctx  context.Context
	halt context.CancelFunc
	room chan struct{}
	// strict is true when room is held until a container is ready, and not
	// only until it is started.
	strict  bool
	earlier []*turn
}

// turn is one container's place in a line.
type turn struct {
	// ctx ends when the line is halted.
	ctx  context.Context
	line *line
	// earlier are the turns before it.
	earlier []*turn
	// open is closed when later ones need not wait for it.
	open  func()
	gate  chan struct{}
	leave func()
}

func newLine(ctx context.Context, parallelism int32) *line {
	l := &line{room: make(chan struct{}, parallelBrings)}
	l.ctx, l.halt = context.WithCancel(ctx)
	if parallelism > 0 {
		l.room, l.strict = make(chan struct{}, parallelism), true
	}
	return l
}

// next returns the next turn when there is room for it; ok is false when the
// line was halted.
func (l *line) next() (t *turn, ok bool) {
	select {
	case l.room <- struct{}{}:
	case <-l.ctx.Done():
	}
	if l.ctx.Err() != nil {
		return nil, false
	}
	t = &turn{ctx: l.ctx, line: l, gate: make(chan struct{}), earlier: l.earlier[:len(l.earlier):len(l.earlier)]}
	t.open = sync.OnceFunc(func() { close(t.gate) })
	t.leave = sync.OnceFunc(func() { <-l.room })
	l.earlier = append(l.earlier, t)
	return t, true
}

// wait waits for those before that have to be ready; it returns false when the
// line was halted.
func (t *turn) wait() bool {
	if !t.line.strict {
		for _, e := range t.earlier {
			select {
			case <-e.gate:
			case <-t.ctx.Done():
				return false
			}
		}
	}
	return !t.halted()
}

// free tells that nobody has to wait for the container: it cannot tell when it
// is ready.
func (t *turn) free() { t.open() }

// started tells that the container has been started.
func (t *turn) started() {
	if !t.line.strict {
		t.leave()
	}
}

// end tells that the container is ready, or has failed: then the line is
// halted first.
func (t *turn) end() {
	t.leave()
	if !t.halted() {
		t.open()
	}
}

func (t *turn) halted() bool { return t.ctx.Err() != nil }
