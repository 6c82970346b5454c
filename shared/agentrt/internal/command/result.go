package command

import (
	"slices"

	"google.golang.org/protobuf/proto"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
)

// results are what the controller is to be told, in order.
type results struct {
	waiting []*waiting
	// acks is whether the controller acknowledges results.
	acks bool
}

type waiting struct {
	result *agentv1.CommandResult
	// sent is whether it was sent on the present session.
	sent bool
	// repeatable results need not be kept: the command can be done again.
	repeatable bool
}

// put adds a result, or has the one that is there sent again.
func (r *results) put(result *agentv1.CommandResult, repeatable bool) {
	if at := r.find(result.GetId()); at >= 0 {
		r.waiting[at] = &waiting{result: result, repeatable: repeatable}
		return
	}
	r.waiting = append(r.waiting, &waiting{result: result, repeatable: repeatable})
	size := 0
	for i := len(r.waiting) - 1; i >= 0; i-- {
		if w := r.waiting[i]; w.repeatable {
			if size += proto.Size(w.result); size > maxReadBytes {
				r.waiting = slices.Delete(r.waiting, i, i+1)
			}
		}
	}
}

func (r *results) find(id string) int {
	return slices.IndexFunc(r.waiting, func(w *waiting) bool { return w.result.GetId() == id })
}

// Ready is signalled when there are results to take.
func (e *Executor) Ready() <-chan struct{} { return e.ready }

// Opened tells that a session begins, and whether its controller acknowledges
// results: everything that is not acknowledged is to be sent again.
func (e *Executor) Opened(acks bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.results.acks = acks
	for _, w := range e.results.waiting {
		w.sent = false
	}
	e.signal()
}

// Take returns the results that were not taken yet on this session. They are
// kept until they are acknowledged; a controller that does not acknowledge asks
// again for what it misses.
func (e *Executor) Take() []*agentv1.CommandResult {
	e.mu.Lock()
	defer e.mu.Unlock()
	var taken []*agentv1.CommandResult
	for _, w := range e.results.waiting {
		if !w.sent {
			w.sent = true
			taken = append(taken, w.result)
		}
	}
	if !e.results.acks {
		for _, result := range taken {
			e.forget(result.GetId())
		}
	}
	return taken
}

// Acked tells that the controller has a result.
func (e *Executor) Acked(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.forget(id)
}

// forget ends the sending of a result; e.mu is held.
func (e *Executor) forget(id string) {
	if at := e.results.find(id); at >= 0 {
		e.results.waiting = slices.Delete(e.results.waiting, at, at+1)
	}
	e.journal.ack(id)
	select {
	case e.acked <- struct{}{}:
	default:
	}
}

// tell has a result told.
func (e *Executor) tell(result *agentv1.CommandResult, repeatable bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer(result, repeatable)
}

// answer has a result told; e.mu is held.
func (e *Executor) answer(result *agentv1.CommandResult, repeatable bool) {
	e.results.put(result, repeatable)
	e.signal()
}

func (e *Executor) signal() {
	select {
	case e.ready <- struct{}{}:
	default:
	}
}
