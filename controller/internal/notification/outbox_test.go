package notification_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/courier"
	"fairlead.dev/controller/internal/keys"
	"fairlead.dev/controller/internal/notification"
	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/postgres/pgtest"
	"fairlead.dev/controller/internal/teamtest"
	"fairlead.dev/shared/apperr"
)

func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// receiver remembers what it was sent and answers with what it is told to.
type receiver struct {
	mu     sync.Mutex
	got    []notification.Delivery
	answer func(d notification.Delivery) error
	told   chan struct{}
}

func (r *receiver) Send(_ context.Context, d notification.Delivery) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, d)
	defer func() { r.told <- struct{}{} }()
	if r.answer == nil {
		return 204, nil
	}
	return 500, r.answer(d)
}

type world struct {
	*notification.Service
	db     *postgres.DB
	ctx    context.Context
	outbox *notification.Outbox
	vault  notification.Vault
	*receiver
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{db: pgtest.New(t), receiver: &receiver{told: make(chan struct{}, 100)}}
	w.ctx = teamtest.New(t, w.db)
	k, err := keys.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w.vault = k.Vault
	w.Service = w.service(t, now)
	w.outbox = notification.NewOutbox(w.db, now)
	return w
}

func (w *world) service(t *testing.T, clock func() time.Time) *notification.Service {
	t.Helper()
	return notification.New(w.db, w.receiver, w.vault, audit.New(w.db, clock), clock)
}

func (w *world) add(t *testing.T, name string, active bool, events ...notification.Event) notification.Notification {
	t.Helper()
	n, _, err := w.Create(w.ctx, notification.Draft{
		Name: name, Type: notification.Slack, URL: "https://example.com/" + name, Active: active, Events: events,
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (w *world) tell(t *testing.T, ctx context.Context, event notification.Event) error {
	t.Helper()
	scope, err := actor.TeamFrom(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	return w.outbox.Add(ctx, notification.Message{TeamID: scope.ID, Event: event, Title: "something happened"})
}

// run starts a courier that stops with the test. It is hinted at all the time,
// so that it sees a clock that jumps.
func (w *world) run(t *testing.T, clock func() time.Time) {
	t.Helper()
	w.runOn(t, w.db, clock)
}

// settling is a store that tells when a try was written down.
type settling struct {
	*postgres.DB
	settled chan struct{}
}

func (s settling) SettleDelivery(ctx context.Context, id int64, a notification.Attempt, again time.Time) error {
	err := s.DB.SettleDelivery(ctx, id, a, again)
	s.settled <- struct{}{}
	return err
}

func (w *world) runOn(t *testing.T, store notification.DeliveryStore, clock func() time.Time) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	hints := make(chan struct{})
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			select {
			case hints <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	courier := notification.NewCourier(store, w.receiver, w.vault, hints, slog.New(slog.NewTextHandler(t.Output(), nil)), clock)
	go func() { ended <- courier.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func (w *world) await(t *testing.T, count int) {
	t.Helper()
	w.awaitOn(t, w.told, count)
}

func (w *world) awaitOn(t *testing.T, told <-chan struct{}, count int) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	for range count {
		select {
		case <-told:
		case <-deadline:
			w.mu.Lock()
			defer w.mu.Unlock()
			t.Fatalf("waited too long for %d deliveries; there were %d", count, len(w.got))
		}
	}
}

func TestWhoWantsAnEventIsToldOnce(t *testing.T) {
	w := newWorld(t)
	wants := w.add(t, "wants", true, notification.NodeAdded)
	w.add(t, "other", true, notification.VersionCreated)
	w.add(t, "off", false, notification.NodeAdded)
	if err := w.tell(t, w.ctx, notification.NodeAdded); err != nil {
		t.Fatal(err)
	}
	undone := errors.New("undone")
	err := w.db.InTx(w.ctx, func(ctx context.Context) error {
		if err := w.tell(t, ctx, notification.NodeAdded); err != nil {
			return err
		}
		return undone
	})
	if !errors.Is(err, undone) {
		t.Fatal(err)
	}
	w.run(t, now)
	w.run(t, now) // a second controller
	w.await(t, 1)
	// What is told next comes after whatever would have been told twice.
	if err := w.tell(t, w.ctx, notification.NodeAdded); err != nil {
		t.Fatal(err)
	}
	w.await(t, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.got) != 2 || w.got[0].NotificationID != wants.ID || w.got[0].ID == w.got[1].ID {
		t.Errorf("told %+v", w.got)
	}
}

func TestADeliveryThatFailsIsTriedAgainAndGivenUp(t *testing.T) {
	w := newWorld(t)
	w.add(t, "down", true, notification.NodeAdded)
	w.add(t, "gone", true, notification.NodeAdded)
	w.answer = func(d notification.Delivery) error {
		if d.URL == "https://example.com/gone" {
			return apperr.New(apperr.Precondition, "refused")
		}
		return apperr.New(apperr.Unavailable, "away")
	}
	if err := w.tell(t, w.ctx, notification.NodeAdded); err != nil {
		t.Fatal(err)
	}
	// A clock on which hours pass, but none while a try is under way: it would
	// be taken for one whose controller died.
	var passed atomic.Int64
	began, store := now(), settling{w.db, make(chan struct{}, 100)}
	w.runOn(t, store, func() time.Time { return began.Add(time.Duration(passed.Load())) })
	w.awaitOn(t, store.settled, 2)
	for range courier.MaxAttempts - 1 {
		passed.Add(int64(3 * time.Hour))
		w.awaitOn(t, store.settled, 1)
	}
	// The clock goes on, and nothing is tried any more: what is told next would
	// come after it.
	passed.Add(int64(3 * time.Hour))
	if err := w.tell(t, w.ctx, notification.NodeAdded); err != nil {
		t.Fatal(err)
	}
	w.awaitOn(t, store.settled, 2)
	w.mu.Lock()
	defer w.mu.Unlock()
	tries := map[string]int{}
	for _, d := range w.got {
		if d.ID == w.got[0].ID || d.ID == w.got[1].ID {
			tries[d.URL]++
		}
	}
	if tries["https://example.com/down"] != courier.MaxAttempts || tries["https://example.com/gone"] != 1 {
		t.Errorf("tries %v", tries)
	}
}

func TestDraftsAreChecked(t *testing.T) {
	w := newWorld(t)
	good := notification.Draft{Name: "chat", Type: notification.Teams, URL: "https://example.com/hook"}
	for field, spoil := range map[string]func(d *notification.Draft){
		"name":          func(d *notification.Draft) { d.Name = " " },
		"type":          func(d *notification.Draft) { d.Type = "pigeon" },
		"url":           func(d *notification.Draft) { d.URL = "ftp://example.com" },
		"enabledEvents": func(d *notification.Draft) { d.Events = []notification.Event{"rain"} },
	} {
		d := good
		spoil(&d)
		_, _, err := w.Create(w.ctx, d)
		var known *apperr.Error
		if !errors.As(err, &known) || known.Kind != apperr.Invalid || known.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	w.add(t, "chat", true)
	if _, _, err := w.Create(w.ctx, good); !apperr.Is(err, apperr.Conflict) {
		t.Errorf("a second of the name: %v", err)
	}
	if _, err := w.List(teamtest.As(w.ctx, t, actor.Member)); !apperr.Is(err, apperr.Forbidden) {
		t.Errorf("a user reads webhook URLs: %v", err)
	}
}
