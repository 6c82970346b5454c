package notification

import (
	"context"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
)

// MaxPage bounds how many deliveries are listed at once.
const MaxPage = 1000

// Attempt is one try of a delivery.
type Attempt struct {
	At   time.Time
	Took time.Duration
	// Status is what the receiver answered with, 0 for no answer.
	Status int
	// Error is why it did not arrive; empty when it did.
	Error string
}

// State is where a delivery stands.
type State string

// States.
const (
	Waiting   State = "waiting" // for its first try or for another one
	Delivered State = "delivered"
	GivenUp   State = "failed"
)

// Record is a delivery as the log has it.
type Record struct {
	ID        uuid.UUID
	Event     Event
	Title     string
	State     State
	CreatedAt time.Time
	// DueAt is when a waiting one is tried next.
	DueAt time.Time
	// Error is of the last try; empty for what was delivered.
	Error string
	// Attempts are its tries, the newest first, at most the last 50.
	Attempts []Attempt
}

// LogStore keeps deliveries; it joins the transaction in ctx.
type LogStore interface {
	// ListDeliveries returns a notification's deliveries, newest first, and how
	// many there are, see page.Counted.
	ListDeliveries(ctx context.Context, notificationID uuid.UUID, skip, take int) ([]Record, int, error)
	// RepeatDelivery makes a delivery that ended due, with all its attempts to
	// come. NotFound when the notification has none of this id, Precondition
	// when it has not ended.
	RepeatDelivery(ctx context.Context, notificationID, id uuid.UUID, at time.Time) error
	// InsertTest adds a delivery that ended with its one attempt.
	InsertTest(ctx context.Context, d Delivery, a Attempt) error
}

// Deliveries returns what a notification was sent, newest first, and how many
// there are, see page.Counted. Errors: NotFound.
func (s *Service) Deliveries(ctx context.Context, id uuid.UUID, skip, take int) ([]Record, int, error) {
	if _, err := s.find(ctx, authz.NotificationRead, id); err != nil {
		return nil, 0, err
	}
	return s.store.ListDeliveries(ctx, id, max(skip, 0), min(max(take, 1), MaxPage))
}

// Redeliver sends once more what was sent, or given up. Errors: NotFound;
// Precondition while it waits to be sent, and while the notification is not
// active.
func (s *Service) Redeliver(ctx context.Context, id, deliveryID uuid.UUID) error {
	n, err := s.find(ctx, authz.NotificationTest, id)
	if err != nil {
		return err
	}
	if !n.Active {
		return apperr.New(apperr.Precondition, "the notification is not active").WithField("active", false)
	}
	return s.store.InTx(ctx, func(ctx context.Context) error {
		if err := s.store.RepeatDelivery(ctx, id, deliveryID, s.now()); err != nil {
			return err
		}
		return s.audit.Record(ctx, authz.NotificationTest, map[string]any{"id": id, "name": n.Name, "delivery": deliveryID})
	})
}
