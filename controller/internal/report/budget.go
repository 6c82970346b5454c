package report

import "sync"

// budget bounds the memory of what waits.
type budget struct {
	mu   sync.Mutex
	left int
	// freed is closed when something was given back, and made by who waits.
	freed chan struct{}
}

// take takes some of what is left, if anything is: a single large report must
// fit too. It reports whether it did.
func (b *budget) take(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left <= 0 {
		return false
	}
	b.left -= n
	return true
}

func (b *budget) give(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += n
	if b.freed != nil && b.left > 0 {
		close(b.freed)
		b.freed = nil
	}
}

// room returns what is closed when there may be room again.
func (b *budget) room() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left > 0 { // given back meanwhile
		open := make(chan struct{})
		close(open)
		return open
	}
	if b.freed == nil {
		b.freed = make(chan struct{})
	}
	return b.freed
}
