package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/mail"
)

type mailRow struct {
	ID           int64 `gorm:"primaryKey"`
	Sender       string
	InvitationID *uuid.UUID
	Recipient    string
	Sealed       []byte
	Attempts     int
	DueAt        time.Time
	CreatedAt    time.Time
}

func (mailRow) TableName() string { return "mails" }

// InsertMail adds a mail and wakes who sends them.
func (db *DB) InsertMail(ctx context.Context, m mail.Stored) error {
	row := mailRow{
		Sender: m.Sender, InvitationID: &m.InvitationID, Recipient: m.To, Sealed: m.Sealed,
		DueAt: m.CreatedAt, CreatedAt: m.CreatedAt,
	}
	if err := db.in(ctx).Create(&row).Error; err != nil {
		return mapError(err, "write down the e-mail")
	}
	return db.notify(ctx, ChannelMail, "")
}

// CountMails counts mails since a time.
func (db *DB) CountMails(ctx context.Context, sender, recipient string, since time.Time) (bySender, toRecipient int, err error) {
	var counted struct{ BySender, ToRecipient int }
	err = db.in(ctx).Raw(`select
		(select count(*) from mails where sender = ? and created_at > ?) as by_sender,
		(select count(*) from mails where recipient = ? and created_at > ?) as to_recipient`,
		sender, since, recipient, since).Scan(&counted).Error
	return counted.BySender, counted.ToRecipient, mapError(err, "count the e-mails")
}

// ClaimMails hands out mails that are due, each to one caller until the time
// given.
func (db *DB) ClaimMails(ctx context.Context, now, until time.Time, limit int) ([]mail.Stored, error) {
	if limit < 1 {
		return nil, nil
	}
	var rows []mailRow
	err := db.in(ctx).Raw(`
		with due as (select m.id from mails m join invitations i on i.id = m.invitation_id and not i.declined
			where m.finished_at is null and m.due_at <= ? order by m.due_at, m.id limit ? for update of m skip locked)
		update mails set due_at = ?, attempts = attempts + 1 from due where mails.id = due.id
		returning mails.*`, now, limit, until).Scan(&rows).Error
	return convert(rows, func(r mailRow) mail.Stored {
		return mail.Stored{Sealed: r.Sealed, Mail: mail.Mail{
			ID: r.ID, Message: mail.Message{Sender: r.Sender, To: r.Recipient}, Attempts: r.Attempts, CreatedAt: r.CreatedAt,
		}}
	}), mapError(err, "look for e-mails to send")
}

// SettleMail writes down how a try went.
func (db *DB) SettleMail(ctx context.Context, id int64, failure string, at, again time.Time) error {
	changes := map[string]any{"error": failure, "due_at": again}
	if again.IsZero() {
		changes = map[string]any{"error": failure, "finished_at": at, "sealed": []byte{}}
	}
	return mapError(db.in(ctx).Table("mails").Where("id = ?", id).UpdateColumns(changes).Error, "note the e-mail")
}

// PruneMails removes mails made before a time.
func (db *DB) PruneMails(ctx context.Context, before time.Time) error {
	return mapError(db.in(ctx).Exec("delete from mails where created_at < ?", before).Error, "remove old e-mails")
}
