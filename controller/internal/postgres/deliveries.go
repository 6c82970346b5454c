package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/notification"
)

// messageJSON is a message as the outbox holds it.
type messageJSON struct {
	TeamID uuid.UUID
	Event  string
	Title  string
	Failed bool
	Facts  []notification.Fact
	Error  string
	Lines  []string
	Path   string
	At     time.Time
}

// EnqueueMessage adds a delivery for each active notification of the team that
// wants the event.
func (db *DB) EnqueueMessage(ctx context.Context, m notification.Message) error {
	content, err := json.Marshal(messageJSON{
		TeamID: m.TeamID, Event: string(m.Event), Title: m.Title, Failed: m.Failed, Facts: m.Facts,
		Error: m.Error, Lines: m.Lines, Path: m.Path, At: m.At,
	})
	if err != nil {
		return fmt.Errorf("encode the message: %w", err)
	}
	result := db.in(ctx).Exec(`insert into notification_deliveries (notification_id, event, message, due_at, created_at)
		select id, ?, ?::jsonb, ?, ? from notifications where team_id = ? and active and jsonb_exists(events, ?)`,
		string(m.Event), string(content), m.At, m.At, m.TeamID, string(m.Event))
	if result.Error != nil || result.RowsAffected == 0 {
		return mapError(result.Error, "write down the notifications")
	}
	return db.notify(ctx, ChannelDelivery, "")
}

// ClaimDeliveries hands out deliveries that are due, each to one caller until
// the time given.
func (db *DB) ClaimDeliveries(ctx context.Context, now, until time.Time, limit int) ([]notification.Delivery, error) {
	if limit < 1 {
		return nil, nil
	}
	var rows []struct {
		ID             int64
		NotificationID uuid.UUID
		Slug           string
		Type           string
		URL            string
		Message        string
		Attempts       int
		CreatedAt      time.Time
	}
	err := db.in(ctx).Raw(`
		with due as (select id from notification_deliveries where finished_at is null and due_at <= ?
			order by due_at, id limit ? for update skip locked)
		update notification_deliveries d set due_at = ?, attempts = d.attempts + 1
		from due, notifications n, teams t
		where d.id = due.id and n.id = d.notification_id and t.id = n.team_id
		returning d.id, d.notification_id, t.slug, n.type, n.url, d.message, d.attempts, d.created_at`, now, limit, until).Scan(&rows).Error
	if err != nil {
		return nil, mapError(err, "look for notifications to send")
	}
	list := make([]notification.Delivery, len(rows))
	for i, r := range rows {
		var m messageJSON
		if err := json.Unmarshal([]byte(r.Message), &m); err != nil {
			return nil, fmt.Errorf("decode the message of delivery %d: %w", r.ID, err)
		}
		list[i] = notification.Delivery{
			ID: r.ID, NotificationID: r.NotificationID, TeamSlug: r.Slug, Type: notification.Type(r.Type), URL: r.URL,
			Attempts: r.Attempts, CreatedAt: r.CreatedAt,
			Message: notification.Message{
				TeamID: m.TeamID, Event: notification.Event(m.Event), Title: m.Title, Failed: m.Failed, Facts: m.Facts,
				Error: m.Error, Lines: m.Lines, Path: m.Path, At: m.At,
			},
		}
	}
	return list, nil
}

// FinishDelivery ends a delivery.
func (db *DB) FinishDelivery(ctx context.Context, id int64, failure string, at time.Time) error {
	err := db.in(ctx).Table("notification_deliveries").Where("id = ?", id).
		UpdateColumns(map[string]any{"finished_at": at, "error": failure}).Error
	return mapError(err, "note the delivery")
}

// PostponeDelivery sets when a delivery is tried again.
func (db *DB) PostponeDelivery(ctx context.Context, id int64, failure string, dueAt time.Time) error {
	err := db.in(ctx).Table("notification_deliveries").Where("id = ?", id).
		UpdateColumns(map[string]any{"due_at": dueAt, "error": failure}).Error
	return mapError(err, "postpone the delivery")
}

// PruneDeliveries removes what ended before a time.
func (db *DB) PruneDeliveries(ctx context.Context, before time.Time) error {
	return mapError(db.in(ctx).Exec("delete from notification_deliveries where finished_at < ?", before).Error, "remove old deliveries")
}
