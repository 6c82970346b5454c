// Package backoff spaces attempts: full jitter below a ceiling that doubles
// with each attempt, and a floor under the sum of the pauses, so that luck does
// not make anybody hammer.
package backoff

import (
	"context"
	"time"
)

// Policy bounds the pauses. The ceiling starts at Base and ends at Cap.
type Policy struct {
	Base time.Duration
	Cap  time.Duration
}

// After this many pauses the sum of all is at least a part of the sum of their
// ceilings; the first ones may be as short as they like.
const (
	freePauses = 3
	floorPart  = 4 // a quarter
)

// Backoff counts attempts. It is not safe for concurrent use.
type Backoff struct {
	policy   Policy
	random   func() float64
	attempts int
	pauses   int
	paused   time.Duration // sum of the pauses since the last reset
	ceilings time.Duration // sum of their ceilings
}

// New returns a back-off that begins at the base. Random returns numbers in
// [0, 1).
func New(policy Policy, random func() float64) *Backoff {
	return &Backoff{policy: policy, random: random}
}

// Next returns the pause before the next attempt: anything from 0 to the
// present ceiling, so that many who failed together do not return together.
// With the default policy no series has more than 8 attempts in its first 30
// seconds.
func (b *Backoff) Next() time.Duration {
	ceiling, least := b.step()
	pause := least + time.Duration(b.random()*float64(ceiling-least))
	b.paused += pause
	return pause
}

// After is Next for when the other side asked to be left alone for so long: the
// pause is not shorter, and spread by a quarter, since others were told the
// same. It counts as an attempt all the same.
func (b *Backoff) After(asked time.Duration) time.Duration {
	_, least := b.step()
	pause := max(asked, least) + time.Duration(b.random()*float64(max(asked/4, b.policy.Base)))
	b.paused += pause
	return pause
}

// step counts an attempt. It returns the ceiling of the pause before it, and
// what the pause must be at least.
func (b *Backoff) step() (ceiling, least time.Duration) {
	ceiling = b.policy.Base
	for range b.attempts {
		if ceiling >= b.policy.Cap/2 {
			ceiling = b.policy.Cap
			break
		}
		ceiling *= 2
	}
	if ceiling < b.policy.Cap {
		b.attempts++
	}
	ceiling = min(ceiling, b.policy.Cap)
	b.pauses++
	b.ceilings += ceiling
	if b.pauses > freePauses {
		least = min(max(0, b.ceilings/floorPart-b.paused), ceiling)
	}
	return ceiling, least
}

// Reset begins at the base again.
func (b *Backoff) Reset() { b.attempts, b.pauses, b.paused, b.ceilings = 0, 0, 0, 0 }

// Adopt takes another policy and keeps the count of attempts. Values that are
// not positive leave the present ones.
func (b *Backoff) Adopt(p Policy) {
	if p.Base > 0 {
		b.policy.Base = p.Base
	}
	if p.Cap > 0 {
		b.policy.Cap = p.Cap
	}
}

// Sleep waits, and reports whether it could do so until the end: it returns
// false at once when ctx ends.
func Sleep(ctx context.Context, d time.Duration) bool {
	if ctx.Err() != nil {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
