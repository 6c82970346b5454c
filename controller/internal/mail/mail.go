// Package mail sends e-mails to people. They are written down in the
// transaction of the act that they tell of and sent afterwards, so no act waits
// for a mail server.
package mail

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/courier"
	"fairlead.dev/shared/apperr"
)

const (
	// A day's mails: what one person may have written, and what one address is
	// sent, so that nobody makes the controller pester others.
	maxPerSender    = 100
	maxPerRecipient = 5
	day             = 24 * time.Hour
	keepFor         = 30 * day
)

// Message is an e-mail in plain text.
type Message struct {
	// Sender is the actor who made the controller write.
	Sender string
	// InvitationID is what the mail is about: it is not sent once the
	// invitation was answered or taken back.
	InvitationID uuid.UUID
	To           string
	Subject      string
	Text         string
}

// Mail is a message on its way.
type Mail struct {
	ID int64
	Message
	// Attempts counts the present one too.
	Attempts  int
	CreatedAt time.Time
}

// Stored is a mail as the store holds it: subject and text are sealed.
type Stored struct {
	Mail
	Sealed []byte
}

// Store keeps mails; it joins the transaction in ctx.
type Store interface {
	InsertMail(ctx context.Context, m Stored) error
	// CountMails returns how many mails since a time are due to the sender, and
	// how many to the recipient.
	CountMails(ctx context.Context, sender, recipient string, since time.Time) (bySender, toRecipient int, err error)
	// ClaimMails returns up to limit mails that are due and whose invitation
	// still waits, counts the attempt, and gives them to nobody else before
	// until.
	ClaimMails(ctx context.Context, now, until time.Time, limit int) ([]Stored, error)
	// SettleMail writes down how a try went; a zero again ends the mail and
	// forgets what it says.
	SettleMail(ctx context.Context, id int64, failure string, at, again time.Time) error
	// PruneMails removes those made before a time.
	PruneMails(ctx context.Context, before time.Time) error
}

// Vault keeps what mails say unreadable for whoever reads the database.
type Vault interface {
	Seal(purpose, text string) []byte
	Open(purpose string, sealed []byte) (string, error)
}

// Sender hands mails to a mail server. Errors: Unavailable when another try
// may succeed; any other kind when none will.
type Sender interface {
	Send(ctx context.Context, m Mail) error
}

// Outbox takes mails. A nil one stands for an installation that sends none.
type Outbox struct {
	store Store
	vault Vault
	now   func() time.Time
}

// NewOutbox returns an outbox over a store.
func NewOutbox(store Store, vault Vault, now func() time.Time) *Outbox {
	return &Outbox{store: store, vault: vault, now: now}
}

// Sends tells whether this installation sends mails.
func (o *Outbox) Sends() bool { return o != nil }

// Add writes a mail down. It must be called inside the transaction of the act.
// Errors: TooMany.
func (o *Outbox) Add(ctx context.Context, m Message) error {
	at := o.now()
	bySender, toRecipient, err := o.store.CountMails(ctx, m.Sender, m.To, at.Add(-day))
	switch {
	case err != nil:
		return err
	case bySender >= maxPerSender:
		return apperr.New(apperr.TooMany, "you had %d e-mails sent within a day, which is the most; go on tomorrow", maxPerSender)
	case toRecipient >= maxPerRecipient:
		return apperr.New(apperr.TooMany, "this address was sent %d e-mails within a day, which is the most; go on tomorrow", maxPerRecipient).
			WithField("email", m.To)
	}
	return o.store.InsertMail(ctx, Stored{
		Mail:   Mail{Message: m, CreatedAt: at},
		Sealed: o.vault.Seal(purpose(m.To), m.Subject+"\n"+m.Text),
	})
}

// purpose binds what a mail says to who gets it.
func purpose(to string) string { return "mail:" + to }

// NewCourier returns what sends the mails of an outbox. Hints tell it that
// there may be a new one.
func NewCourier(o *Outbox, sender Sender, hints <-chan struct{}, log *slog.Logger) *courier.Courier[Stored] {
	return courier.New(parcels{o, sender}, hints, log.With("component", "mail"), o.now)
}

// parcels are the mails of an outbox.
type parcels struct {
	*Outbox
	sender Sender
}

// Claim returns mails that are due.
func (p parcels) Claim(ctx context.Context, now, until time.Time, limit int) ([]Stored, error) {
	return p.store.ClaimMails(ctx, now, until, limit)
}

// Send opens a mail and hands it over.
func (p parcels) Send(ctx context.Context, s Stored) error {
	text, err := p.vault.Open(purpose(s.To), s.Sealed)
	if err != nil {
		return err
	}
	m := s.Mail
	m.Subject, m.Text, _ = strings.Cut(text, "\n") // a subject is one line
	return p.sender.Send(ctx, m)
}

// Settle writes down how a try went.
func (p parcels) Settle(ctx context.Context, s Stored, o courier.Outcome) error {
	failure := ""
	if o.Err != nil {
		failure = o.Err.Error()
	}
	return p.store.SettleMail(ctx, s.ID, failure, o.StartedAt.Add(o.Took), o.Again)
}

// Prune removes old mails.
func (p parcels) Prune(ctx context.Context, now time.Time) error {
	return p.store.PruneMails(ctx, now.Add(-keepFor))
}

// Attempts counts the present one too.
func (p parcels) Attempts(s Stored) int { return s.Attempts }

// Names are what logs call a mail.
func (p parcels) Names(s Stored) []any { return []any{"mail", s.ID} }
