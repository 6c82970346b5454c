package notification_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/controller/internal/notification"
	"fairlead.dev/shared/apperr"
)

// log returns what a notification was sent, once as many as wanted have ended.
func (w *world) log(t *testing.T, id uuid.UUID, ended int) []notification.Record {
	t.Helper()
	var list []notification.Record
	controllertest.Await(t, "deliveries have ended", func() (bool, string) {
		var err error
		if list, _, err = w.Deliveries(w.ctx, id, 0, 1000); err != nil {
			t.Fatal(err)
		}
		done := 0
		for _, r := range list {
			if r.State != notification.Waiting {
				done++
			}
		}
		return done == ended, strconv.Itoa(done)
	})
	return list
}

func TestEachAttemptIsLoggedAndAMessageCanBeSentAgain(t *testing.T) {
	w := newWorld(t)
	n := w.add(t, "gone", true, notification.NodeAdded)
	w.answer = func(notification.Delivery) error { return apperr.New(apperr.Precondition, "refused") }
	if err := w.tell(t, w.ctx, notification.NodeAdded); err != nil {
		t.Fatal(err)
	}
	w.run(t, now)
	first := w.log(t, n.ID, 1)[0]
	if first.State != notification.GivenUp || first.Error != "refused" || first.Event != notification.NodeAdded || first.Title != "something happened" ||
		len(first.Attempts) != 1 || first.Attempts[0].Status != 500 || first.Attempts[0].Error != "refused" || first.Attempts[0].At.IsZero() {
		t.Fatalf("logged %+v", first)
	}
	w.mu.Lock()
	w.answer = nil
	w.mu.Unlock()
	if err := w.Redeliver(w.ctx, n.ID, first.ID); err != nil {
		t.Fatal(err)
	}
	controllertest.Await(t, "it was delivered", func() (bool, string) {
		list := w.log(t, n.ID, 1)
		return list[0].State == notification.Delivered && list[0].ID == first.ID && len(list[0].Attempts) == 2 && list[0].Attempts[0].Status == 204, string(list[0].State)
	})
	w.mu.Lock()
	if len(w.got) != 2 || w.got[0].PublicID != w.got[1].PublicID {
		t.Errorf("the same message has ids %s and %s", w.got[0].PublicID, w.got[1].PublicID)
	}
	w.mu.Unlock()
	if err := w.Redeliver(w.ctx, n.ID, uuid.New()); !apperr.Is(err, apperr.NotFound) {
		t.Errorf("a delivery that is not there: %v", err)
	}
	other := w.add(t, "other", true)
	if err := w.Redeliver(w.ctx, other.ID, first.ID); !apperr.Is(err, apperr.NotFound) {
		t.Errorf("a delivery of another notification: %v", err)
	}
	if err := w.Test(w.ctx, n.ID); err != nil {
		t.Fatal(err)
	}
	if list := w.log(t, n.ID, 2); list[0].Event != notification.Test || list[0].State != notification.Delivered || len(list[0].Attempts) != 1 {
		t.Errorf("a test is logged as %+v", list[0])
	}
}

func TestWhatWaitsIsNotSentTwice(t *testing.T) {
	w := newWorld(t)
	n := w.add(t, "slow", true, notification.NodeAdded)
	if err := w.tell(t, w.ctx, notification.NodeAdded); err != nil {
		t.Fatal(err)
	}
	list, total, err := w.Deliveries(w.ctx, n.ID, 0, 10)
	if err != nil || total != 1 || list[0].State != notification.Waiting || list[0].DueAt.IsZero() {
		t.Fatalf("%+v, %d, %v", list, total, err)
	}
	if err := w.Redeliver(w.ctx, n.ID, list[0].ID); !apperr.Is(err, apperr.Precondition) {
		t.Errorf("sending again what waits: %v", err)
	}
	draft := n.Draft
	draft.Active = false
	if _, _, err := w.Update(w.ctx, n.ID, draft); err != nil {
		t.Fatal(err)
	}
	if err := w.Redeliver(w.ctx, n.ID, list[0].ID); !apperr.Is(err, apperr.Precondition) {
		t.Errorf("sending to one that is not active: %v", err)
	}
}

// A receiver that answers nothing has one message under way, so the places
// for messages to all others are free.
func TestADeadReceiverHoldsUpNoOther(t *testing.T) {
	w := newWorld(t)
	w.add(t, "dead", true, notification.NodeAdded)
	w.add(t, "alive", true, notification.VersionCreated)
	release := make(chan struct{})
	hung := 0
	w.answer = func(d notification.Delivery) error {
		if d.URL == "https://example.com/dead" {
			hung++
			w.mu.Unlock()
			<-release
			w.mu.Lock()
		}
		return nil
	}
	for range 30 {
		if err := w.tell(t, w.ctx, notification.NodeAdded); err != nil {
			t.Fatal(err)
		}
	}
	w.run(t, now)
	w.run(t, now)
	t.Cleanup(func() { close(release) }) // before the couriers are waited for
	for range 30 {
		if err := w.tell(t, w.ctx, notification.VersionCreated); err != nil {
			t.Fatal(err)
		}
	}
	w.await(t, 30)
	w.mu.Lock()
	defer w.mu.Unlock()
	if hung != 1 {
		t.Errorf("%d messages are under way to the dead receiver", hung)
	}
}

func TestTheLogIsBounded(t *testing.T) {
	w := newWorld(t)
	n := w.add(t, "chat", true, notification.NodeAdded)
	for range 5 {
		if err := w.tell(t, w.ctx, notification.NodeAdded); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.db.PruneDeliveries(w.ctx, now().Add(-time.Hour), 3); err != nil {
		t.Fatal(err)
	}
	if list, total, err := w.Deliveries(w.ctx, n.ID, 1, 1); err != nil || total != 3 || len(list) != 1 {
		t.Errorf("%d of %d, %v", len(list), total, err)
	}
	w.run(t, now)
	w.log(t, n.ID, 3)
	if err := w.db.PruneDeliveries(w.ctx, now().Add(time.Hour), 3); err != nil {
		t.Fatal(err)
	}
	if _, total, err := w.Deliveries(w.ctx, n.ID, 0, 1); err != nil || total != 0 {
		t.Errorf("%d are left, %v", total, err)
	}
}

func TestASecretIsShownOnceAndChangedWithGrace(t *testing.T) {
	w := newWorld(t)
	at := now()
	w.Service = w.service(t, func() time.Time { return at })
	draft := notification.Draft{Name: "program", Type: notification.Webhook, URL: "https://example.com/hook", Active: true}
	n, first, err := w.Create(w.ctx, draft)
	if err != nil || len(first) < 40 || first[:6] != "whsec_" {
		t.Fatalf("secret %q, %v", first, err)
	}
	keysSent := func() int {
		t.Helper()
		if err := w.Test(w.ctx, n.ID); err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.got[len(w.got)-1].Keys)
	}
	if got := keysSent(); got != 1 {
		t.Errorf("signed with %d secrets", got)
	}
	second, until, err := w.RotateSecret(w.ctx, n.ID)
	if err != nil || second == first || !until.After(at) {
		t.Fatalf("changed to %q until %v, %v", second, until, err)
	}
	if got := keysSent(); got != 2 {
		t.Errorf("signed with %d secrets after a change", got)
	}
	// A change of something else keeps both.
	draft.Name = "renamed"
	if _, shown, err := w.Update(w.ctx, n.ID, draft); err != nil || shown != "" || keysSent() != 2 {
		t.Errorf("showed %q, %v", shown, err)
	}
	at = until
	if got := keysSent(); got != 1 {
		t.Errorf("signed with %d secrets after the grace", got)
	}
	draft.Type = notification.Slack
	if _, _, err := w.Update(w.ctx, n.ID, draft); err != nil || keysSent() != 0 {
		t.Errorf("a chat is sent signatures, %v", err)
	}
	if _, _, err := w.RotateSecret(w.ctx, n.ID); !apperr.Is(err, apperr.Precondition) {
		t.Errorf("a chat has a secret: %v", err)
	}
	draft.Type = notification.Webhook
	if _, shown, err := w.Update(w.ctx, n.ID, draft); err != nil || shown == "" || shown == second {
		t.Errorf("a new webhook's secret is %q, %v", shown, err)
	}
}
