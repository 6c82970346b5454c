package bulk

import "sync"

// budget is what the streams of one agent may hold together, beyond the part
// that each of them may always hold.
type budget struct {
	mu      sync.Mutex
	left    int
	waiting map[*pipe]struct{}
}

func newBudget(l Limits) *budget {
	return &budget{left: max(0, l.AgentBytes-l.PerAgent*fixedSize), waiting: map[*pipe]struct{}{}}
}

// take takes n bytes, or puts the pipe on the list of those that are woken when
// there may be some.
func (b *budget) take(n int, p *pipe) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.left {
		b.waiting[p] = struct{}{}
		return false
	}
	b.left -= n
	return true
}

// give gives n bytes back.
func (b *budget) give(n int) {
	if n == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += n
	for p := range b.waiting {
		hint(p.writable)
	}
	clear(b.waiting)
}

// forget takes a pipe that has ended off the list.
func (b *budget) forget(p *pipe) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.waiting, p)
}

func hint(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is waiting already
	}
}
