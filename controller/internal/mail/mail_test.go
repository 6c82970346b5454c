package mail_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/courier"
	"fairlead.dev/controller/internal/keys"
	"fairlead.dev/controller/internal/mail"
	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/postgres/pgtest"
	"fairlead.dev/controller/internal/team"
	"fairlead.dev/controller/internal/teamtest"
	"fairlead.dev/shared/apperr"
)

// server remembers what it was sent and answers with what it is told to.
type server struct {
	mu     sync.Mutex
	got    []mail.Mail
	answer error
	told   chan struct{}
}

func (s *server) Send(_ context.Context, m mail.Mail) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, m)
	return s.answer
}

// telling is a store that tells when a try was written down.
type telling struct {
	*postgres.DB
	told chan struct{}
}

func (s telling) SettleMail(ctx context.Context, id int64, failure string, at, again time.Time) error {
	err := s.DB.SettleMail(ctx, id, failure, at, again)
	s.told <- struct{}{}
	return err
}

type world struct {
	*server
	db     *postgres.DB
	ctx    context.Context
	outbox *mail.Outbox
	mu     sync.Mutex
	clock  time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	k, err := keys.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{server: &server{told: make(chan struct{}, 100)}, db: pgtest.New(t), clock: time.Now().UTC().Truncate(time.Microsecond)}
	w.ctx = teamtest.New(t, w.db)
	w.outbox = mail.NewOutbox(telling{w.db, w.told}, k.Vault, w.now)
	return w
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(d)
}

// invitation makes one, so that there is something to write about.
func (w *world) invitation(t *testing.T, email string) uuid.UUID {
	t.Helper()
	scope, err := actor.TeamFrom(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	i := team.Invitation{
		ID: uuid.New(), TeamID: scope.ID, Email: email, TokenHash: []byte(email),
		CreatedAt: w.now(), ExpiresAt: w.now().Add(time.Hour), CreatedBy: "system",
	}
	if err := w.db.InsertInvitation(w.ctx, i); err != nil {
		t.Fatal(err)
	}
	return i.ID
}

func (w *world) write(t *testing.T, sender, to string, about uuid.UUID) error {
	t.Helper()
	return w.db.InTx(w.ctx, func(ctx context.Context) error {
		return w.outbox.Add(ctx, mail.Message{Sender: sender, To: to, InvitationID: about, Subject: "Come in", Text: "s3cret\nlink"})
	})
}

// run starts a courier that is hinted at all the time, so that it sees a clock
// that jumps.
func (w *world) run(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	hints, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
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
	c := mail.NewCourier(w.outbox, w.server, hints, slog.New(slog.NewTextHandler(t.Output(), nil)))
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func (w *world) await(t *testing.T) {
	t.Helper()
	select {
	case <-w.told:
	case <-time.After(2 * time.Minute):
		t.Fatal("waited too long for a mail")
	}
}

func TestAMailIsSentOnceAndUnreadableUntilThen(t *testing.T) {
	w := newWorld(t)
	if err := w.write(t, "user:1", "nell@example.com", w.invitation(t, "nell@example.com")); err != nil {
		t.Fatal(err)
	}
	stored, err := w.db.ClaimMails(w.ctx, w.now(), w.now(), 1)
	if err != nil || len(stored) != 1 || strings.Contains(string(stored[0].Sealed), "s3cret") {
		t.Fatalf("stored %+v, %v", stored, err)
	}
	w.run(t)
	w.run(t) // a second controller
	w.await(t)
	if err := w.write(t, "user:1", "mary@example.com", w.invitation(t, "mary@example.com")); err != nil {
		t.Fatal(err)
	}
	w.await(t)
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	if len(w.got) != 2 || w.got[0].To != "nell@example.com" || w.got[0].Subject != "Come in" || w.got[0].Text != "s3cret\nlink" || w.got[1].To != "mary@example.com" {
		t.Errorf("sent %+v", w.got)
	}
}

func TestAMailServerThatIsAwayIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	w.answer = apperr.New(apperr.Unavailable, "away")
	if err := w.write(t, "user:1", "nell@example.com", w.invitation(t, "nell@example.com")); err != nil {
		t.Fatal(err)
	}
	w.run(t)
	for range courier.MaxAttempts {
		w.await(t)
		w.pass(3 * time.Hour)
	}
	w.server.mu.Lock()
	w.answer = nil
	w.server.mu.Unlock()
	// Given up: the next mail is another one.
	if err := w.write(t, "user:1", "mary@example.com", w.invitation(t, "mary@example.com")); err != nil {
		t.Fatal(err)
	}
	w.await(t)
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	if last := w.got[len(w.got)-1]; len(w.got) != courier.MaxAttempts+1 || last.To != "mary@example.com" {
		t.Errorf("%d mails, the last to %s", len(w.got), last.To)
	}
}

func TestAnInvitationTakenBackIsNotSent(t *testing.T) {
	w := newWorld(t)
	id := w.invitation(t, "nell@example.com")
	if err := w.write(t, "user:1", "nell@example.com", id); err != nil {
		t.Fatal(err)
	}
	if err := w.db.DeleteInvitation(w.ctx, id); err != nil {
		t.Fatal(err)
	}
	if due, err := w.db.ClaimMails(w.ctx, w.now(), w.now(), 10); err != nil || len(due) != 0 {
		t.Errorf("due %+v, %v", due, err)
	}
	// It counts all the same, or inviting and taking back would pester without end.
	if by, to, err := w.db.CountMails(w.ctx, "user:1", "nell@example.com", w.now().Add(-time.Hour)); err != nil || by != 1 || to != 1 {
		t.Errorf("counted %d and %d, %v", by, to, err)
	}
}

func TestNobodyIsPestered(t *testing.T) {
	w := newWorld(t)
	id := w.invitation(t, "nell@example.com")
	sent := 0
	for i := range 200 {
		if err := w.write(t, fmt.Sprintf("user:%d", i), "nell@example.com", id); apperr.Is(err, apperr.TooMany) {
			break
		}
		sent++
	}
	if sent != 5 {
		t.Errorf("one address was sent %d mails", sent)
	}
	for i := range 200 {
		if err := w.write(t, "user:x", fmt.Sprintf("%d@example.com", i), id); apperr.Is(err, apperr.TooMany) {
			break
		}
		sent++
	}
	if sent != 105 {
		t.Errorf("one sender sent %d mails", sent-5)
	}
	w.pass(25 * time.Hour)
	if err := w.write(t, "user:x", "nell@example.com", id); err != nil {
		t.Errorf("a day later: %v", err)
	}
}
