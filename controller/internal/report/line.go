package report

import (
	"context"
	"sync"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/controller/internal/deployment"
)

// Line is one session's way to the Recorder. It remembers of the agent what is
// needed to see that a report says nothing new: 16 bytes for each container.
type Line struct {
	recorder *Recorder
	session  agent.Session
	listener Listener

	mu sync.Mutex
	// err is set once nothing is taken any more, closed when nobody listens.
	err    error
	closed bool
	// waiting is what was told and is in no transaction yet.
	waiting *told
	// flying is set while something told is in a transaction.
	flying bool
	// room is closed when waiting was taken along, and made by who waits for it.
	room chan struct{}

	// sequence is the last report that needs no writing any more, fact the last
	// fact, of the spool.
	sequence uint64
	spool    string
	fact     uint64
	// known is what the database has of the node's containers; nil until the
	// first list of the session was compared with it.
	known *digest
}

// told is everything that a session brought and that waits to be written,
// folded: of states the latest, of happenings all.
type told struct {
	reports  int
	sequence uint64
	bytes    int

	statuses map[uuid.UUID]deployment.Status
	order    []uuid.UUID
	events   []deployment.Event

	containers *Containers
	digest     digest

	spool string
	facts []Fact

	ack *Acknowledgement
}

// Open begins what a session brings. Close ends it.
func (r *Recorder) Open(session agent.Session, listener Listener) *Line {
	return &Line{
		recorder: r, session: session, listener: listener, sequence: session.StatusSequence,
		spool: session.SpoolID, fact: session.FactSequence,
	}
}

// Close ends what a session brings. What it has told is still written, unless
// a newer session has taken over by then. The listener is called no more once
// Close has returned.
func (l *Line) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.err == nil {
		l.err = errClosed
	}
	l.makeRoom()
}

// drop forgets what waits; the lock is held.
func (l *Line) drop() {
	if l.waiting != nil {
		l.recorder.budget.give(l.waiting.bytes)
		l.waiting = nil
	}
	l.makeRoom()
}

func (l *Line) makeRoom() {
	if l.room != nil {
		close(l.room)
		l.room = nil
	}
}

// Report takes a report; that it is committed is told to the listener. It
// returns at once, unless the agent sends more than it may before an answer, or
// too much waits altogether because the database is away: then it waits for
// room. The report's lists belong to the line from then on. Errors: why the
// session may write no more, or ctx's.
func (l *Line) Report(ctx context.Context, p Report) error {
	var d digest
	if p.Containers != nil {
		p.Containers = &Containers{List: saneContainers(p.Containers.List), EngineError: short(p.Containers.EngineError, maxFactLine)}
		var ok bool
		if d, ok = digestOf(p.Containers.List, p.Containers.EngineError); !ok {
			p.Containers.List = once(p.Containers.List)
			d, _ = digestOf(p.Containers.List, p.Containers.EngineError)
		}
	}
	p.SpoolID = short(p.SpoolID, maxName)
	for {
		l.mu.Lock()
		if l.err != nil {
			defer l.mu.Unlock()
			return l.err
		}
		if l.waiting == nil && !l.flying && l.nothingNew(p, d) {
			defer l.mu.Unlock()
			l.sequence = max(l.sequence, p.Sequence)
			l.listener.Committed(l.sequence, l.fact)
			return nil
		}
		size := sizeOf(p)
		switch {
		case l.waiting != nil && l.waiting.reports >= maxFolded:
			if l.room == nil {
				l.room = make(chan struct{})
			}
			wait := l.room
			l.mu.Unlock()
			if err := await(ctx, wait); err != nil {
				return err
			}
		case !l.recorder.budget.take(size):
			wait := l.recorder.budget.room()
			l.mu.Unlock()
			if err := await(ctx, wait); err != nil {
				return err
			}
		default:
			l.fold(p, d, size)
			l.mu.Unlock()
			l.recorder.enqueue(l)
			return nil
		}
	}
}

func await(ctx context.Context, room <-chan struct{}) error {
	select {
	case <-room:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Acknowledge takes an agent's answer to an assignment set, of two that wait
// the later one. Nobody waits for it to be written. The error says why the
// session may write no more.
func (l *Line) Acknowledge(a Acknowledgement) error {
	a.Refusal = short(a.Refusal, maxFactLine)
	l.mu.Lock()
	if l.err != nil {
		defer l.mu.Unlock()
		return l.err
	}
	l.wait().ack = &a
	l.mu.Unlock()
	l.recorder.enqueue(l)
	return nil
}

// nothingNew reports whether a report needs no writing.
func (l *Line) nothingNew(p Report, d digest) bool {
	if p.Sequence <= l.sequence {
		return true
	}
	if len(p.Statuses) > 0 || len(p.Events) > 0 || len(p.Facts) > 0 && (p.SpoolID != l.spool || p.Facts[len(p.Facts)-1].Sequence > l.fact) {
		return false
	}
	return p.Containers == nil || l.known != nil && l.known.sum == d.sum
}

func (l *Line) wait() *told {
	if l.waiting == nil {
		l.waiting = &told{}
	}
	return l.waiting
}

// fold adds a report to what waits; the lock is held.
func (l *Line) fold(p Report, d digest, size int) {
	w := l.wait()
	w.reports++
	w.sequence = p.Sequence
	w.bytes += size
	for _, s := range p.Statuses {
		old, there := w.statuses[s.DeploymentID]
		switch {
		case there && old.Generation > s.Generation:
			continue
		case !there:
			w.order = append(w.order, s.DeploymentID)
		}
		if w.statuses == nil {
			w.statuses = map[uuid.UUID]deployment.Status{}
		}
		w.statuses[s.DeploymentID] = s
	}
	w.events = append(w.events, p.Events...)
	if p.Containers != nil {
		w.containers, w.digest = p.Containers, d
	}
	if len(p.Facts) > 0 {
		if w.spool != p.SpoolID { // a spool that was lost takes what it held along
			w.spool, w.facts = p.SpoolID, nil
		}
		w.facts = append(w.facts, p.Facts...)
	}
}

// latest returns the statuses in the order in which they were told first.
func (t *told) latest() []deployment.Status {
	list := make([]deployment.Status, len(t.order))
	for i, id := range t.order {
		list[i] = t.statuses[id]
	}
	return list
}

// sizeOf is about how many bytes a report takes in memory.
func sizeOf(p Report) int {
	const perItem, perContainer, perFact = 128, 512, 256
	size := len(p.Statuses) * perItem
	for _, e := range p.Events {
		size += perItem + textBytes(e.Lines)
	}
	if p.Containers != nil {
		size += len(p.Containers.List) * perContainer
	}
	for _, f := range p.Facts {
		size += perFact
		if f.Exit != nil {
			size += len(f.Exit.Reason) + textBytes(f.Exit.LogTail)
		}
	}
	return size
}

func textBytes(lines []string) int {
	n := 0
	for _, line := range lines {
		n += len(line)
	}
	return n
}
