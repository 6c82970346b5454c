package notification

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"fairlead.dev/shared/apperr"
)

// How deliveries are tried.
const (
	// parallel tries at once, so that one dead receiver holds up no other.
	parallel = 8
	// sendTimeout bounds one try; lease is after what a try whose controller
	// died is made again.
	sendTimeout = 10 * time.Second
	lease       = time.Minute
	// MaxAttempts is how often a delivery is tried: with the waits between
	// them, over about eight hours.
	MaxAttempts = 12
	firstWait   = 10 * time.Second
	longestWait = 2 * time.Hour
	// lookEvery backs up the hints, and finds what another controller had to
	// try again and did not.
	lookEvery  = 30 * time.Second
	keepFor    = 30 * 24 * time.Hour
	pruneEvery = time.Hour
)

// DeliveryStore hands deliveries out.
type DeliveryStore interface {
	// ClaimDeliveries returns up to limit deliveries that are due, counts the
	// attempt and moves their next one to until; no other caller gets them
	// before that.
	ClaimDeliveries(ctx context.Context, now, until time.Time, limit int) ([]Delivery, error)
	// FinishDelivery ends a delivery; failure is "" for one that arrived.
	FinishDelivery(ctx context.Context, id int64, failure string, at time.Time) error
	// PostponeDelivery sets when a delivery is tried again.
	PostponeDelivery(ctx context.Context, id int64, failure string, dueAt time.Time) error
	// PruneDeliveries removes what ended before a time.
	PruneDeliveries(ctx context.Context, before time.Time) error
}

// Courier sends what is in the outbox. Any number of controllers may run one.
type Courier struct {
	store  DeliveryStore
	sender Sender
	// hints tell that there may be something new.
	hints <-chan struct{}
	log   *slog.Logger
	now   func() time.Time
}

// NewCourier returns a courier. Hints tell it that there may be something new.
func NewCourier(store DeliveryStore, sender Sender, hints <-chan struct{}, log *slog.Logger, now func() time.Time) *Courier {
	return &Courier{store: store, sender: sender, hints: hints, log: log.With("component", "notifications"), now: now}
}

// Run delivers until ctx ends, and then waits for the tries under way.
func (c *Courier) Run(ctx context.Context) error {
	var tries sync.WaitGroup
	defer tries.Wait()
	postponed := make(chan time.Time)
	free := make(chan struct{}, parallel)
	// more tells that there was more than there was room for.
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
		due, err := c.store.ClaimDeliveries(ctx, c.now(), c.now().Add(lease), room)
		if err != nil && ctx.Err() == nil {
			c.log.Warn("could not look for notifications to send; trying again", "error", err)
		}
		for _, d := range due {
			free <- struct{}{}
			tries.Go(func() {
				defer func() {
					<-free
					if len(due) == room {
						select {
						case more <- struct{}{}:
						default:
						}
					}
				}()
				if due := c.deliver(ctx, d); !due.IsZero() {
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
				if err := c.store.PruneDeliveries(ctx, c.now().Add(-keepFor)); err != nil && ctx.Err() == nil {
					c.log.Warn("could not remove old notifications; trying again", "error", err)
				}
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// deliver makes one try, notes how it went, and returns when the next one is
// due, if there is to be one. A try that the end of ctx cut off is made again
// after its lease.
func (c *Courier) deliver(ctx context.Context, d Delivery) (due time.Time) {
	try, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	err := c.sender.Send(try, d)
	if err != nil && ctx.Err() != nil {
		return time.Time{}
	}
	now := c.now()
	note := context.WithoutCancel(ctx)
	log := c.log.With("notification", d.NotificationID, "delivery", d.ID, "attempt", d.Attempts)
	switch {
	case err == nil:
		err = c.store.FinishDelivery(note, d.ID, "", now)
	case apperr.Is(err, apperr.Unavailable) && d.Attempts < MaxAttempts:
		due = now.Add(wait(d.Attempts))
		err = c.store.PostponeDelivery(note, d.ID, err.Error(), due)
	default:
		log.Warn("gave up sending a notification", "error", err)
		err = c.store.FinishDelivery(note, d.ID, err.Error(), now)
	}
	if err != nil {
		log.Warn("could not note how sending a notification went; it will be sent again", "error", err)
	}
	return due
}

// wait is how long after an attempt the next one is made: twice as long each
// time up to a limit, and up to a half less by chance, so that a receiver that
// comes back is not met by all at once.
func wait(attempts int) time.Duration {
	limit := longestWait
	if shift := attempts - 1; shift < 16 {
		limit = min(longestWait, firstWait<<shift)
	}
	return limit/2 + rand.N(limit/2) //nolint:gosec // chance, not secrecy
}
