package report

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/shared/apperr"
)

// Recorder writes what all sessions of this process are told.
type Recorder struct {
	Config
	budget budget
	// ready has room for one hint that the queue is not empty.
	ready chan struct{}
	// enough hints that the queue has come to MaxReports.
	enough chan struct{}

	mu sync.Mutex
	// queue holds each line once that has something waiting.
	queue  []*Line
	queued map[*Line]bool
}

var errClosed = apperr.New(apperr.Unavailable, "the session is closed")

// New returns a recorder that writes once Run is called.
func New(c Config) *Recorder {
	return &Recorder{
		Config: c, budget: budget{left: maxWaiting},
		ready: make(chan struct{}, 1), enough: make(chan struct{}, 1), queued: map[*Line]bool{},
	}
}

// Run writes until ctx ends. What waits then is not written: the agents have no
// answer for it, and tell it again.
func (r *Recorder) Run(ctx context.Context) error {
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-sweep.C:
			r.sweep(ctx)
			continue
		case <-r.ready:
		}
		r.gather(ctx, last)
		last = time.Now()
		r.write(ctx, r.cut())
	}
}

// gather waits until it is time to write again: at once after a pause.
func (r *Recorder) gather(ctx context.Context, last time.Time) {
	pause := Gather - time.Since(last)
	if pause <= 0 {
		return
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		case <-r.enough:
			if r.full() { // it may be of what was cut already
				return
			}
		}
	}
}

func (r *Recorder) full() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.queue) >= MaxReports
}

// enqueue has a line written, once however often it is called until then.
func (r *Recorder) enqueue(lines ...*Line) {
	r.mu.Lock()
	for _, l := range lines {
		if !r.queued[l] {
			r.queued[l] = true
			r.queue = append(r.queue, l)
		}
	}
	enough := len(r.queue) >= MaxReports
	r.mu.Unlock()
	hint(r.ready)
	if enough {
		hint(r.enough)
	}
}

func hint(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// batchContainers ends a batch early: that many rows take a while, in which the
// nodes of the batch are locked.
const batchContainers = 5000

// cut takes the lines of the next transaction, each agent once.
func (r *Recorder) cut() []*flight {
	r.mu.Lock()
	var batch, later []*Line
	size := min(max(len(r.queue), MaxReports), maxBacklog)
	agents := make(map[uuid.UUID]bool, min(len(r.queue), size))
	for i, l := range r.queue {
		if len(batch) == size {
			later = append(later, r.queue[i:]...)
			break
		}
		if agents[l.session.AgentID] {
			later = append(later, l)
			continue
		}
		agents[l.session.AgentID] = true
		batch = append(batch, l)
		delete(r.queued, l)
	}
	r.queue = later
	if len(later) > 0 {
		hint(r.ready)
	}
	if len(later) >= MaxReports {
		hint(r.enough)
	}
	r.mu.Unlock()

	flights, rows := make([]*flight, 0, len(batch)), 0
	for i, l := range batch {
		if rows >= batchContainers {
			r.enqueue(batch[i:]...)
			break
		}
		if f := l.takeOff(); f != nil {
			flights = append(flights, f)
			if f.told.containers != nil {
				rows += len(f.told.containers.List)
			}
		}
	}
	return flights
}

// write commits a batch. One that fails is split until it is known which report
// is at fault; its session ends. A database that is away is waited for.
func (r *Recorder) write(ctx context.Context, batch []*flight) {
	if len(batch) == 0 {
		return
	}
	for {
		err := r.commit(ctx, batch)
		switch {
		case err == nil:
			for _, f := range batch {
				f.land()
			}
			return
		case ctx.Err() != nil:
			return
		case apperr.Is(err, apperr.Unavailable):
			r.Log.Warn("could not write what agents told; trying again", "agents", len(batch), "error", err)
			if !pause(ctx, retryAfter) {
				return
			}
		case len(batch) == 1:
			r.Log.Error("an agent's report can't be written", "node", batch[0].line.session.NodeID, "error", err)
			batch[0].refused = err
			batch[0].land()
			return
		default:
			r.write(ctx, batch[:len(batch)/2])
			r.write(ctx, batch[len(batch)/2:])
			return
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// sweep drops commands that are over. Several controllers may do so at once.
func (r *Recorder) sweep(ctx context.Context) {
	if err := r.Store.DeleteCommandsBefore(ctx, r.Now().Add(-commandsFor)); err != nil && ctx.Err() == nil {
		r.Log.Warn("could not drop old commands", "error", err)
	}
}
