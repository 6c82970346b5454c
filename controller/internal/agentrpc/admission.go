package agentrpc

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/time/rate"

	"fairlead.dev/shared/apperr"
)

// Limits bound what agents that come all at once, and strangers, can cost.
// Zero fields are the defaults.
type Limits struct {
	// OpenRate is how many sessions may be opened a second, OpenBurst how many
	// at once after a quiet time, Opening how many may be under way.
	OpenRate  float64
	OpenBurst int
	Opening   int
	// Newcomers is how many connections there may be that have not begun a
	// call. PerAddress is how many of them an address may have wait for longer
	// than Patience.
	Newcomers  int
	PerAddress int
	Patience   time.Duration
	// HelloTimeout is how long a connection may take to begin a call, and a
	// session to say hello.
	HelloTimeout time.Duration
	// Idle is how long a connection may be without a call after its last.
	Idle time.Duration
	// EnrolRate is how many may try to enrol a second, EnrolBurst how many at
	// once.
	EnrolRate  float64
	EnrolBurst int
	// FailBurst and FailEvery bound enrolments that fail, per address.
	FailBurst int
	FailEvery time.Duration
}

func orDefault[T comparable](value *T, fallback T) {
	var zero T
	if *value == zero {
		*value = fallback
	}
}

func (l Limits) withDefaults() Limits {
	orDefault(&l.OpenRate, 1000)
	orDefault(&l.OpenBurst, 1000)
	orDefault(&l.Opening, 1024)
	orDefault(&l.Newcomers, 512)
	orDefault(&l.PerAddress, 128)
	orDefault(&l.Patience, 2*time.Second)
	orDefault(&l.HelloTimeout, 10*time.Second)
	orDefault(&l.Idle, 2*time.Minute)
	orDefault(&l.EnrolRate, 400)
	orDefault(&l.EnrolBurst, 400)
	orDefault(&l.FailBurst, 50)
	orDefault(&l.FailEvery, time.Second)
	return l
}

const (
	// shortestWait and longestWait bound what an agent is told to wait.
	shortestWait = time.Second
	longestWait  = time.Minute
	// slotKept is how long the place of an agent that does not come is kept.
	slotKept = time.Minute
	// maxSlots bounds the queue; who comes then has no place in it.
	maxSlots = 100_000
)

// admission decides which sessions may be opened now. Whoever may not is told
// when to come back: each gets a place of its own in the queue, in the order
// they came, so that nobody has to be lucky.
type admission struct {
	limits Limits
	now    func() time.Time

	mu      sync.Mutex
	limiter *rate.Limiter
	opening int
	slots   map[uuid.UUID]time.Time
	swept   time.Time
}

func newAdmission(limits Limits, now func() time.Time) *admission {
	return &admission{
		limits: limits, now: now, limiter: rate.NewLimiter(rate.Limit(limits.OpenRate), limits.OpenBurst),
		slots: map[uuid.UUID]time.Time{},
	}
}

// enter lets an agent open a session, or returns how long it should wait.
// Every enter that returns 0 is followed by a leave.
func (a *admission) enter(id uuid.UUID) time.Duration {
	now := a.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	slot, hasSlot := a.slots[id]
	switch full := a.opening >= a.limits.Opening; {
	case hasSlot && now.Before(slot):
		return max(slot.Sub(now), shortestWait/4) // too early: it keeps its place
	case hasSlot && full:
		return shortestWait + rand.N(shortestWait) //nolint:gosec // chance, not secrecy
	case hasSlot:
		delete(a.slots, id)
	case full || !a.limiter.AllowN(now, 1):
		return a.queue(id, now)
	}
	a.opening++
	return 0
}

// queue gives an agent a place and returns the wait until then.
func (a *admission) queue(id uuid.UUID, now time.Time) time.Duration {
	a.forget(now)
	place := a.limiter.ReserveN(now, 1)
	wait := shortestWait + place.DelayFrom(now)
	if wait > longestWait || len(a.slots) >= maxSlots {
		place.CancelAt(now)
		return longestWait/2 + rand.N(longestWait/2) //nolint:gosec // chance, not secrecy
	}
	a.slots[id] = now.Add(wait)
	return wait
}

// forget drops, now and then, the places of agents that did not come.
func (a *admission) forget(now time.Time) {
	if now.Sub(a.swept) < slotKept {
		return
	}
	a.swept = now
	for id, slot := range a.slots {
		if now.Sub(slot) > slotKept {
			delete(a.slots, id)
		}
	}
}

func (a *admission) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.opening--
}

// later is an error that tells the agent when to come back.
type later struct {
	error
	after time.Duration
}

// Unwrap returns what kept the agent out.
func (l *later) Unwrap() error { return l.error }

func busy(after time.Duration, format string, args ...any) error {
	return &later{apperr.New(apperr.Unavailable, format, args...).WithReason(reasonBusy), after}
}

// gate bounds the attempts to get an identity: all of them together, and those
// that failed per address.
type gate struct {
	limits Limits
	now    func() time.Time
	all    *rate.Limiter

	mu     sync.Mutex
	failed map[string]*rate.Limiter
}

// maxFailed bounds how many addresses are remembered.
const maxFailed = 10_000

func newGate(limits Limits, now func() time.Time) *gate {
	return &gate{
		limits: limits, now: now, all: rate.NewLimiter(rate.Limit(limits.EnrolRate), limits.EnrolBurst),
		failed: map[string]*rate.Limiter{},
	}
}

// enter lets an attempt from a host pass, or says why not.
func (g *gate) enter(host string) error {
	now := g.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if l := g.failed[host]; l != nil {
		if tokens := l.TokensAt(now); tokens < 1 {
			wait := time.Duration((1 - tokens) * float64(g.limits.FailEvery))
			return &later{apperr.New(apperr.TooMany,
				"too many attempts from this address failed; try again in %s", wait.Round(time.Second)), wait}
		}
	}
	if g.all.AllowN(now, 1) {
		return nil
	}
	place := g.all.ReserveN(now, 1)
	wait := max(place.DelayFrom(now), shortestWait)
	if wait > longestWait {
		place.CancelAt(now)
		wait = longestWait/2 + rand.N(longestWait/2) //nolint:gosec // chance, not secrecy
	}
	return busy(wait, "many agents enrol at once; try again in %s", wait.Round(time.Second))
}

// fail notes that an attempt from a host failed.
func (g *gate) fail(host string) {
	now := g.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.failed[host]
	if l == nil {
		if len(g.failed) >= maxFailed {
			for other, rested := range g.failed {
				if rested.TokensAt(now) >= float64(g.limits.FailBurst) {
					delete(g.failed, other)
				}
			}
			if len(g.failed) >= maxFailed {
				clear(g.failed)
			}
		}
		l = rate.NewLimiter(rate.Every(g.limits.FailEvery), g.limits.FailBurst)
		g.failed[host] = l
	}
	l.AllowN(now, 1)
}
