package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"fairlead.dev/controller/internal/notification"
	"fairlead.dev/controller/internal/page"
	"fairlead.dev/shared/apperr"
)

// attemptsShown is how many tries of a delivery are listed.
const attemptsShown = 50

type recordRow struct {
	ID         int64
	PublicID   uuid.UUID
	Event      string
	Title      string
	CreatedAt  time.Time
	DueAt      time.Time
	FinishedAt *time.Time
	Error      string
}

func (r recordRow) toRecord() notification.Record {
	record := notification.Record{
		ID: r.PublicID, Event: notification.Event(r.Event), Title: r.Title, CreatedAt: r.CreatedAt, Error: r.Error,
	}
	switch {
	case r.FinishedAt == nil:
		record.State, record.DueAt = notification.Waiting, r.DueAt
	case r.Error == "":
		record.State = notification.Delivered
	default:
		record.State = notification.GivenUp
	}
	return record
}

// ListDeliveries returns a page of a notification's deliveries, newest first,
// and how many there are, see page.Counted.
func (db *DB) ListDeliveries(ctx context.Context, notificationID uuid.UUID, skip, take int) ([]notification.Record, int, error) {
	all := func() *gorm.DB {
		return db.in(ctx).Table("notification_deliveries").Where("notification_id = ?", notificationID)
	}
	total, err := db.countSome(ctx, all(), page.Page{Skip: skip, Take: take})
	if err != nil {
		return nil, 0, mapError(err, "count the deliveries")
	}
	var rows []recordRow
	err = all().Select("id, public_id, event, message->>'Title' as title, created_at, due_at, finished_at, error").
		Order("id desc").Offset(skip).Limit(take).Scan(&rows).Error
	if err != nil {
		return nil, 0, mapError(err, "list the deliveries")
	}
	list, places, ids := convert(rows, recordRow.toRecord), map[int64]int{}, make([]int64, len(rows))
	for i, r := range rows {
		places[r.ID], ids[i] = i, r.ID
	}
	var attempts []struct {
		DeliveryID int64
		StartedAt  time.Time
		TookMs     int64
		Status     int
		Error      string
	}
	err = db.in(ctx).Raw(`select * from (select *, row_number() over (partition by delivery_id order by id desc) as place
		from notification_attempts where delivery_id in ?) a where place <= ? order by delivery_id, place`, ids, attemptsShown).Scan(&attempts).Error
	for _, a := range attempts {
		record := &list[places[a.DeliveryID]]
		record.Attempts = append(record.Attempts, notification.Attempt{
			At: a.StartedAt, Took: time.Duration(a.TookMs) * time.Millisecond, Status: a.Status, Error: a.Error,
		})
	}
	return list, total, mapError(err, "list the attempts")
}

// RepeatDelivery makes a delivery that ended due again.
func (db *DB) RepeatDelivery(ctx context.Context, notificationID, id uuid.UUID, at time.Time) error {
	var row recordRow
	err := db.in(ctx).Raw("select * from notification_deliveries where notification_id = ? and public_id = ? for update", notificationID, id).Take(&row).Error
	if err != nil {
		return notThere(err, "delivery", id)
	}
	if row.FinishedAt == nil {
		return apperr.New(apperr.Precondition, "the delivery waits to be sent already").WithField("deliveryId", id)
	}
	err = db.in(ctx).Table("notification_deliveries").Where("id = ?", row.ID).
		UpdateColumns(map[string]any{"finished_at": nil, "attempts": 0, "due_at": at}).Error
	if err != nil {
		return mapError(err, "send the delivery again")
	}
	return db.notify(ctx, ChannelDelivery, "")
}

// InsertTest adds a delivery that ended with its one attempt.
func (db *DB) InsertTest(ctx context.Context, d notification.Delivery, a notification.Attempt) error {
	content, err := json.Marshal(toMessageJSON(d.Message))
	if err != nil {
		return fmt.Errorf("encode the message: %w", err)
	}
	return db.InTx(ctx, func(ctx context.Context) error {
		var id int64
		err := db.in(ctx).Raw(`insert into notification_deliveries (public_id, notification_id, event, message, attempts, due_at, created_at, finished_at, error)
			select ?, id, ?, ?::jsonb, 1, ?, ?, ?, ? from notifications where id = ? returning id`, d.PublicID,
			string(d.Message.Event), string(content), a.At, d.CreatedAt, a.At.Add(a.Took), a.Error, d.NotificationID).Scan(&id).Error
		if err != nil || id == 0 { // deleted meanwhile
			return mapError(err, "note the test")
		}
		return db.insertAttempt(ctx, id, a)
	})
}
