package bulk

import (
	"context"
	"sync"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/specpb"
	"fairlead.dev/shared/workload"
)

const (
	// maxStreamBytes bounds the lines that wait on one stream, maxAgentBytes
	// those of all streams together. Lines under way count until they are
	// sent.
	maxStreamBytes = 1 << 20
	maxAgentBytes  = 8 << 20
	// ownBytes every stream has for itself; beyond them streams share what is
	// left, so that those whose readers are stuck leave room for the others.
	ownBytes    = maxAgentBytes / MaxStreams / 2
	sharedBytes = maxAgentBytes - MaxStreams*ownBytes
	// lineBytes is what a line takes besides its text.
	lineBytes = 96
)

// budget is memory that several share.
type budget struct {
	mu   sync.Mutex
	free int
}

func (b *budget) take(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.free < n {
		return false
	}
	b.free -= n
	return true
}

func (b *budget) give(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free += n
}

// buffer holds lines between one that writes and never waits, and one that
// reads.
type buffer struct {
	budget *budget
	ready  chan struct{} // there is something to take
	freed  chan struct{} // there is more room

	mu    sync.Mutex
	items []item
	bytes int // of items and of what is under way
	// under way is the size of what was taken and is not sent yet.
	underWay int
	// dropped counts the lines that were left out after the last item.
	dropped uint64
	ended   bool
	err     error
}

// item is a line, and how many were left out before it.
type item struct {
	line    workload.LogLine
	dropped uint64
}

func newBuffer(b *budget) *buffer {
	return &buffer{budget: b, ready: make(chan struct{}, 1), freed: make(chan struct{}, 1)}
}

func sizeOf(line workload.LogLine) int { return len(line.Text) + lineBytes }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// room reports whether a line has room now.
func (b *buffer) room(line workload.LogLine) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes+sizeOf(line) <= maxStreamBytes
}

// await waits until a line has room; it reports false when there was none for
// so long.
func (b *buffer) await(ctx context.Context, line workload.LogLine, patience time.Duration) bool {
	late := time.NewTimer(patience)
	defer late.Stop()
	for !b.room(line) {
		select {
		case <-b.freed:
		case <-late.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// put adds a line, or leaves it out and reports false when there is no room.
func (b *buffer) put(line workload.LogLine) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	size := sizeOf(line)
	if b.bytes+size > maxStreamBytes || !b.grow(size) {
		b.dropped++
		return false
	}
	b.items = append(b.items, item{line, b.dropped})
	b.dropped = 0
	signal(b.ready)
	return true
}

// grow takes room for so many bytes more, those beyond the stream's own from
// what is shared; b.mu is held.
func (b *buffer) grow(size int) bool {
	more := max(b.bytes+size-ownBytes, 0) - max(b.bytes-ownBytes, 0)
	if !b.budget.take(more) {
		return false
	}
	b.bytes += size
	return true
}

// shrink gives room back; b.mu is held.
func (b *buffer) shrink(size int) {
	b.budget.give(max(b.bytes-ownBytes, 0) - max(b.bytes-size-ownBytes, 0))
	b.bytes -= size
}

// close tells that no more lines come, and why.
func (b *buffer) close(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended, b.err = true, err
	signal(b.ready)
}

// take waits for lines and returns them; nil at the end, with its reason. A
// batch begins where lines were left out.
func (b *buffer) take(ctx context.Context) (*agentv1.LogBatch, error) {
	for {
		batch, ended, err := b.next()
		if batch != nil || ended {
			return batch, err
		}
		select {
		case <-b.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (b *buffer) next() (batch *agentv1.LogBatch, ended bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	size, n := 0, 0
	for n < len(b.items) && n < maxBatchLines && (n == 0 || b.items[n].dropped == 0) {
		more := sizeOf(b.items[n].line)
		if n > 0 && size+more > maxBatchBytes {
			break
		}
		size, n = size+more, n+1
	}
	if n == 0 {
		if b.dropped > 0 && b.ended { // at the very end
			batch = &agentv1.LogBatch{Dropped: b.dropped}
			b.dropped = 0
			return batch, false, nil
		}
		return nil, b.ended, b.err
	}
	batch = &agentv1.LogBatch{Dropped: b.items[0].dropped, Lines: make([]*agentv1.LogLine, n)}
	for i, it := range b.items[:n] {
		batch.Lines[i] = specpb.LogLineToProto(it.line)
	}
	clear(b.items[:n])
	b.items = b.items[n:]
	b.underWay = size
	return batch, false, nil
}

// sent tells that what was taken last is sent.
func (b *buffer) sent() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shrink(b.underWay)
	b.underWay = 0
	if len(b.items) == 0 {
		b.items = nil // the slice grew from its beginning on
	}
	signal(b.freed)
}

// discard gives back what the buffer holds.
func (b *buffer) discard() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shrink(b.bytes)
	b.items, b.underWay = nil, 0
}
