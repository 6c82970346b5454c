// Package courier sends what waits in an outbox: it takes what is due, tries,
// and tries again later what did not arrive, each time after a longer wait. Any
// number of controllers may work on one outbox.
package courier

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"fairlead.dev/shared/apperr"
)

const (
	// parallel tries at once, so that one dead receiver holds up no other.
	parallel = 8
	// sendTimeout bounds one try; lease is after what a try whose controller
	// died is made again.
	sendTimeout = 10 * time.Second
	lease       = time.Minute
	// MaxAttempts is how often something is tried: with the waits between
	// them, over about eight hours.
	MaxAttempts = 12
	firstWait   = 10 * time.Second
	longestWait = 2 * time.Hour
	// lookEvery backs up the hints, and finds what another controller had to
	// try again and did not.
	lookEvery  = 30 * time.Second
	pruneEvery = time.Hour
)

// Outcome is how one try went.
type Outcome struct {
	StartedAt time.Time
	Took      time.Duration
	// Err is nil for what arrived.
	Err error
	// Again is when it is tried again; the zero time when it is over.
	Again time.Time
}

// Outbox is where things of one kind wait, and how they are sent.
type Outbox[T any] interface {
	// Claim returns up to limit things that are due, counts the attempt, and
	// gives them to no other caller before until.
	Claim(ctx context.Context, now, until time.Time, limit int) ([]T, error)
	// Send makes one try. Errors: Unavailable when another one may succeed; any
	// other kind when none will.
	Send(ctx context.Context, thing T) error
	// Settle writes down how a try went.
	Settle(ctx context.Context, thing T, o Outcome) error
	// Prune removes what is over and too old to be kept.
	Prune(ctx context.Context, now time.Time) error
	// Attempts counts the present one too.
	Attempts(thing T) int
	// Names are attributes by which logs tell what it is; no secrets.
	Names(thing T) []any
}

// Courier works on one outbox.
type Courier[T any] struct {
	outbox Outbox[T]
	// hints tell that there may be something new.
	hints <-chan struct{}
	log   *slog.Logger
	now   func() time.Time
}

// New returns a courier. Hints tell it that there may be something new.
func New[T any](outbox Outbox[T], hints <-chan struct{}, log *slog.Logger, now func() time.Time) *Courier[T] {
	return &Courier[T]{outbox: outbox, hints: hints, log: log, now: now}
}

// Run delivers until ctx ends, and then waits for the tries under way.
func (c *Courier[T]) Run(ctx context.Context) error {
	var tries sync.WaitGroup
	defer tries.Wait()
	postponed := make(chan time.Time)
	free := make(chan struct{}, parallel)
	// more tells that a try ended, so that there is room.
	more := make(chan struct{}, 1)
	look, prune := time.NewTicker(lookEvery), time.NewTicker(pruneEvery)
	defer look.Stop()
	defer prune.Stop()
	// again is for the try that is due next, at, of those that failed here.
	again := time.NewTimer(lookEvery)
	defer again.Stop()
	var at time.Time
	for {
		room := parallel - len(free)
		due, err := c.outbox.Claim(ctx, c.now(), c.now().Add(lease), room)
		if err != nil && ctx.Err() == nil {
			c.log.Warn("could not look for what is to be sent; trying again", "error", err)
		}
		for _, thing := range due {
			free <- struct{}{}
			tries.Go(func() {
				defer func() {
					<-free
					select {
					case more <- struct{}{}:
					default:
					}
				}()
				if due := c.try(ctx, thing); !due.IsZero() {
					select {
					case postponed <- due:
					case <-ctx.Done():
					}
				}
			})
		}
		for waits := true; waits; {
			waits = false
			select {
			case due := <-postponed:
				waits = true
				if at.IsZero() || due.Before(at) {
					at = due
					again.Reset(max(due.Sub(c.now()), time.Second)) // a clock may jump
				}
			case <-again.C:
				at = time.Time{}
			case <-look.C:
			case <-more:
			case <-c.hints:
			case <-prune.C:
				if err := c.outbox.Prune(ctx, c.now()); err != nil && ctx.Err() == nil {
					c.log.Warn("could not remove what was sent long ago; trying again", "error", err)
				}
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// try makes one try, has written down how it went, and returns when the next
// one is due, if there is to be one. One that the end of ctx cut off is made
// again after its lease.
func (c *Courier[T]) try(ctx context.Context, thing T) (due time.Time) {
	began, clock := c.now(), time.Now()
	limited, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	err := c.outbox.Send(limited, thing)
	if err != nil && ctx.Err() != nil {
		return time.Time{}
	}
	attempts := c.outbox.Attempts(thing)
	o := Outcome{StartedAt: began, Took: time.Since(clock), Err: err}
	log := c.log.With(c.outbox.Names(thing)...).With("attempt", attempts)
	switch {
	case err == nil:
	case apperr.Is(err, apperr.Unavailable) && attempts < MaxAttempts:
		o.Again = c.now().Add(wait(attempts))
	default:
		log.Warn("gave up sending", "error", err)
	}
	if err := c.outbox.Settle(context.WithoutCancel(ctx), thing, o); err != nil {
		log.Warn("could not note how sending went; it will be sent again", "error", err)
	}
	return o.Again
}

// wait is how long after an attempt the next one is made: twice as long each
// time up to a limit, and up to a half less by chance, so that a receiver that
// comes back is not met by all at once.
func wait(attempts int) time.Duration {
	limit := longestWait
	if shift := max(attempts-1, 0); shift < 16 {
		limit = min(longestWait, firstWait<<shift)
	}
	return limit/2 + rand.N(limit/2) //nolint:gosec // chance, not secrecy
}
