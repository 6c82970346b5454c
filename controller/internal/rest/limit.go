package rest

import (
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxLimited bounds how many addresses are remembered; past it the fullest
// ones are forgotten first, which only ever helps honest callers.
const maxLimited = 10_000

// Limiter limits how often an address may try something.
type Limiter struct {
	every time.Duration
	burst int
	now   func() time.Time

	mu      sync.Mutex
	callers map[string]*rate.Limiter
}

// NewLimiter allows burst tries at once and one more each period after.
func NewLimiter(burst int, every time.Duration, now func() time.Time) *Limiter {
	return &Limiter{every: every, burst: burst, now: now, callers: map[string]*rate.Limiter{}}
}

// Allow reports whether the caller at this address ("host:port" or "host") may
// try now; if not, after how long it may.
func (l *Limiter) Allow(address string) (bool, time.Duration) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	limiter := l.callers[host]
	if limiter == nil {
		if len(l.callers) >= maxLimited {
			l.forgetRested(now)
		}
		limiter = rate.NewLimiter(rate.Every(l.every), l.burst)
		l.callers[host] = limiter
	}
	if limiter.AllowN(now, 1) {
		return true, 0
	}
	reservation := limiter.ReserveN(now, 1)
	defer reservation.CancelAt(now)
	return false, reservation.DelayFrom(now)
}

// forgetRested drops the callers whose allowance is whole again; when there
// are none, all.
func (l *Limiter) forgetRested(now time.Time) {
	for host, limiter := range l.callers {
		if limiter.TokensAt(now) >= float64(l.burst) {
			delete(l.callers, host)
		}
	}
	if len(l.callers) >= maxLimited {
		clear(l.callers)
	}
}
