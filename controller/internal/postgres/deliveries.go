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

func toMessageJSON(m notification.Message) messageJSON {
	return messageJSON{
		TeamID: m.TeamID, Event: string(m.Event), Title: m.Title, Failed: m.Failed, Facts: m.Facts,
		Error: m.Error, Lines: m.Lines, Path: m.Path, At: m.At,
	}
}

// EnqueueMessages adds, in the order of the messages, a delivery for each active
// notification of a message's team that wants its event.
func (db *DB) EnqueueMessages(ctx context.Context, list []notification.Message) error {
	texts := make([]string, len(list))
	for i, m := range list {
		content, err := json.Marshal(toMessageJSON(m))
		if err != nil {
			return fmt.Errorf("encode the message: %w", err)
		}
		texts[i] = string(content)
	}
	added, err := db.execRows(ctx, "write down the notifications", `insert into notification_deliveries (notification_id, event, message, due_at, created_at)
		select n.id, m.event, m.message::jsonb, m.at, m.at
		from unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[]) with ordinality as m (team_id, event, message, at, place)
		join notifications n on n.team_id = m.team_id and n.active and jsonb_exists(n.events, m.event)
		order by m.place, n.id`,
		ids(list, func(m notification.Message) uuid.UUID { return m.TeamID }),
		column(list, func(m notification.Message) string { return string(m.Event) }), texts,
		column(list, func(m notification.Message) time.Time { return m.At }))
	if err != nil || added == 0 {
		return err
	}
	return db.notify(ctx, ChannelDelivery, "")
}

// deliveryRow is a delivery with what its receiver wants.
type deliveryRow struct {
	ID                  int64
	PublicID            uuid.UUID
	NotificationID      uuid.UUID
	Slug                string
	Type                string
	URL                 string
	Message             string
	Attempts            int
	CreatedAt           time.Time
	Secret              []byte
	PreviousSecret      []byte
	PreviousSecretUntil *time.Time
}

func (r deliveryRow) toDelivery() (notification.Delivery, error) {
	var m messageJSON
	if err := json.Unmarshal([]byte(r.Message), &m); err != nil {
		return notification.Delivery{}, fmt.Errorf("decode the message of delivery %d: %w", r.ID, err)
	}
	return notification.Delivery{
		ID: r.ID, PublicID: r.PublicID, NotificationID: r.NotificationID, TeamSlug: r.Slug, Type: notification.Type(r.Type), URL: r.URL,
		Attempts: r.Attempts, CreatedAt: r.CreatedAt, Secret: toSecret(r.Secret, r.PreviousSecret, r.PreviousSecretUntil),
		Message: notification.Message{
			TeamID: m.TeamID, Event: notification.Event(m.Event), Title: m.Title, Failed: m.Failed, Facts: m.Facts,
			Error: m.Error, Lines: m.Lines, Path: m.Path, At: m.At,
		},
	}, nil
}

// ClaimDeliveries hands out deliveries that are due, each to one caller until
// the time given, and of each notification one at a time.
func (db *DB) ClaimDeliveries(ctx context.Context, now, until time.Time, limit int) ([]notification.Delivery, error) {
	if limit < 1 {
		return nil, nil
	}
	var rows []deliveryRow
	// Controllers that look at the same moment see the same first delivery of a
	// notification: who does not get its lock gets none of that notification.
	err := db.in(ctx).Raw(`
		with first as (select distinct on (w.notification_id) w.id from notification_deliveries w
			where w.finished_at is null and w.due_at <= @now and not exists (select from notification_deliveries o
				where o.notification_id = w.notification_id and o.finished_at is null and o.leased_until > @now)
			order by w.notification_id, w.due_at, w.id),
		due as (select d.id from notification_deliveries d join first on first.id = d.id
			where d.finished_at is null and d.due_at <= @now order by d.due_at, d.id limit @limit for update of d skip locked)
		update notification_deliveries d set due_at = @until, leased_until = @until, attempts = d.attempts + 1
		from due, notifications n, teams t
		where d.id = due.id and n.id = d.notification_id and t.id = n.team_id
		returning d.id, d.public_id, d.notification_id, t.slug, n.type, n.url, d.message, d.attempts, d.created_at,
			n.secret, n.previous_secret, n.previous_secret_until`,
		map[string]any{"now": now, "until": until, "limit": limit}).Scan(&rows).Error
	if err != nil {
		return nil, mapError(err, "look for notifications to send")
	}
	list := make([]notification.Delivery, len(rows))
	for i, r := range rows {
		if list[i], err = r.toDelivery(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// SettleDelivery writes down a try; a zero again ends the delivery.
func (db *DB) SettleDelivery(ctx context.Context, id int64, a notification.Attempt, again time.Time) error {
	return db.InTx(ctx, func(ctx context.Context) error {
		changes := map[string]any{"error": a.Error, "leased_until": nil, "due_at": again}
		if again.IsZero() {
			changes = map[string]any{"error": a.Error, "leased_until": nil, "finished_at": a.At.Add(a.Took)}
		}
		result := db.in(ctx).Table("notification_deliveries").Where("id = ?", id).UpdateColumns(changes)
		if result.Error != nil || result.RowsAffected == 0 { // deleted meanwhile, with its notification
			return mapError(result.Error, "note the delivery")
		}
		return db.insertAttempt(ctx, id, a)
	})
}

func (db *DB) insertAttempt(ctx context.Context, delivery int64, a notification.Attempt) error {
	err := db.in(ctx).Exec("insert into notification_attempts (delivery_id, started_at, took_ms, status, error) values (?, ?, ?, ?, ?)",
		delivery, a.At, a.Took.Milliseconds(), a.Status, a.Error).Error
	return mapError(err, "note the attempt")
}

// PruneDeliveries removes what ended before a time, and of each notification
// all but the newest count.
func (db *DB) PruneDeliveries(ctx context.Context, before time.Time, count int) error {
	err := db.in(ctx).Exec(`delete from notification_deliveries d using (select id,
			row_number() over (partition by notification_id order by id desc) as place from notification_deliveries) p
		where d.id = p.id and (d.finished_at < ? or p.place > ?)`, before, count).Error
	return mapError(err, "remove old deliveries")
}
