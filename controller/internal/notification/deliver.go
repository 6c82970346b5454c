package notification

import (
	"context"
	"log/slog"
	"time"

	"fairlead.dev/controller/internal/courier"
)

const (
	// keepFor and keepCount bound the log of a notification.
	keepFor   = 30 * 24 * time.Hour
	keepCount = 1000
)

// DeliveryStore hands deliveries out.
type DeliveryStore interface {
	// ClaimDeliveries returns up to limit deliveries that are due, of each
	// receiver at most one and none while another of it is under way; counts
	// the attempt and moves their next one to until: no other caller gets them
	// before that.
	ClaimDeliveries(ctx context.Context, now, until time.Time, limit int) ([]Delivery, error)
	// SettleDelivery writes down a try; a zero again ends the delivery.
	SettleDelivery(ctx context.Context, id int64, a Attempt, again time.Time) error
	// PruneDeliveries removes what ended before a time, and of each
	// notification all but the newest count.
	PruneDeliveries(ctx context.Context, before time.Time, count int) error
}

// Courier sends what is in the outbox. Any number of controllers may run one.
type Courier = courier.Courier[*parcel]

// NewCourier returns a courier. Hints tell it that there may be something new.
func NewCourier(store DeliveryStore, sender Sender, vault Vault, hints <-chan struct{}, log *slog.Logger, now func() time.Time) *Courier {
	p := parcels{store: store, sender: sender, vault: vault, now: now}
	return courier.New(p, hints, log.With("component", "notifications"), now)
}

// parcel is a delivery under way, and what was answered.
type parcel struct {
	Delivery
	status int
}

// parcels are what waits to be sent.
type parcels struct {
	store  DeliveryStore
	sender Sender
	vault  Vault
	now    func() time.Time
}

// Claim returns deliveries that are due.
func (p parcels) Claim(ctx context.Context, now, until time.Time, limit int) ([]*parcel, error) {
	due, err := p.store.ClaimDeliveries(ctx, now, until, limit)
	list := make([]*parcel, len(due))
	for i, d := range due {
		list[i] = &parcel{Delivery: d}
	}
	return list, err
}

// Send makes one try.
func (p parcels) Send(ctx context.Context, d *parcel) (err error) {
	if d.Type == Webhook {
		if d.Keys, err = d.Secret.keys(p.vault, d.NotificationID, p.now()); err != nil {
			return err
		}
	}
	d.status, err = p.sender.Send(ctx, d.Delivery)
	return err
}

// Settle writes down how a try went.
func (p parcels) Settle(ctx context.Context, d *parcel, o courier.Outcome) error {
	return p.store.SettleDelivery(ctx, d.ID, attempt(o.StartedAt, o.Took, d.status, o.Err), o.Again)
}

// Prune removes what is too old to be kept.
func (p parcels) Prune(ctx context.Context, now time.Time) error {
	return p.store.PruneDeliveries(ctx, now.Add(-keepFor), keepCount)
}

// Attempts counts the present one too.
func (p parcels) Attempts(d *parcel) int { return d.Attempts }

// Names are what logs call a delivery.
func (p parcels) Names(d *parcel) []any {
	return []any{"notification", d.NotificationID, "delivery", d.PublicID}
}

func attempt(at time.Time, took time.Duration, status int, err error) Attempt {
	a := Attempt{At: at, Took: took, Status: status}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}
