// Package groupcommit does together what is asked for at the same moment: while
// one group is under way, what comes is gathered into the next. A caller alone
// waits for nobody; ten thousand share few transactions.
package groupcommit

import (
	"context"
	"fmt"
	"sync"
	"time"

	"fairlead.dev/shared/apperr"
)

// Config says what a Group does and within which bounds.
type Config[In, Out any] struct {
	// Commit does what was asked for, all of it or nothing, and answers in the
	// order of the questions.
	Commit func(ctx context.Context, batch []In) ([]Out, error)
	// Key tells which questions are about the same thing; no two of them get
	// into one group, and they are done in the order they came. Nil when it
	// does not matter.
	Key func(In) string
	// Max is how many questions one group may have, Parallel how many groups
	// may be under way.
	Max, Parallel int
	// Timeout bounds one group.
	Timeout time.Duration
}

// Group gathers questions. It is safe for concurrent use.
type Group[In, Out any] struct {
	Config[In, Out]

	mu      sync.Mutex
	waiting []*question[In, Out]
	running int
	// held has the keys of the groups under way.
	held map[string]struct{}
}

type question[In, Out any] struct {
	in   In
	out  Out
	err  error
	done chan struct{}
}

// New returns a group.
func New[In, Out any](c Config[In, Out]) *Group[In, Out] {
	return &Group[In, Out]{Config: c, held: map[string]struct{}{}}
}

// Do has a question answered together with others and returns its own answer.
// It waits for the answer even when ctx ends, because what was asked for takes
// place: ctx only carries values. The timeout bounds the wait once its group
// has begun.
//
// A group that fails for another reason than that the store is away is done
// again one by one, so that nobody fails for another's question.
func (g *Group[In, Out]) Do(ctx context.Context, in In) (Out, error) {
	q := &question[In, Out]{in: in, done: make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, q)
	g.begin(context.WithoutCancel(ctx))
	g.mu.Unlock()
	<-q.done
	return q.out, q.err
}

// begin starts a group of what waits, if there may be one more. The caller
// holds the lock.
func (g *Group[In, Out]) begin(ctx context.Context) {
	if g.running >= g.Parallel {
		return
	}
	group := g.take()
	if len(group) == 0 {
		return
	}
	g.running++
	// Ends with its group; whoever asked waits for it.
	go g.run(ctx, group)
}

// take takes the next group out of those that wait.
func (g *Group[In, Out]) take() []*question[In, Out] {
	var group, rest []*question[In, Out]
	skipped := map[string]struct{}{}
	for i, q := range g.waiting {
		if len(group) == g.Max {
			rest = append(rest, g.waiting[i:]...)
			break
		}
		if g.Key != nil {
			key := g.Key(q.in)
			_, busy := g.held[key]
			_, behind := skipped[key]
			if busy || behind {
				skipped[key] = struct{}{}
				rest = append(rest, q)
				continue
			}
			g.held[key] = struct{}{}
		}
		group = append(group, q)
	}
	g.waiting = rest
	return group
}

func (g *Group[In, Out]) run(ctx context.Context, group []*question[In, Out]) {
	for len(group) > 0 {
		if err := g.answer(ctx, group); err != nil && len(group) > 1 && !apperr.Is(err, apperr.Unavailable) {
			for i := range group {
				_ = g.answer(ctx, group[i:i+1]) // each has its own error
			}
		}
		g.mu.Lock()
		for _, q := range group {
			if g.Key != nil {
				delete(g.held, g.Key(q.in))
			}
			close(q.done)
		}
		if group = g.take(); len(group) == 0 {
			g.running--
		}
		g.mu.Unlock()
	}
}

func (g *Group[In, Out]) answer(ctx context.Context, group []*question[In, Out]) (err error) {
	ctx, cancel := context.WithTimeout(ctx, g.Timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a group of %d panicked: %v", len(group), p)
		}
		for _, q := range group {
			if err != nil {
				q.err = err
			}
		}
	}()
	batch := make([]In, len(group))
	for i, q := range group {
		batch[i], q.err = q.in, nil
	}
	out, err := g.Commit(ctx, batch)
	if err == nil && len(out) != len(group) {
		err = fmt.Errorf("a group of %d got %d answers", len(group), len(out))
	}
	if err != nil {
		return err
	}
	for i, q := range group {
		q.out = out[i]
	}
	return nil
}

// Waiting returns how many questions wait for a group to begin.
func (g *Group[In, Out]) Waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.waiting)
}
