package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"fairlead.dev/controller/internal/notification"
)

type notificationRow struct {
	ID        uuid.UUID
	TeamID    uuid.UUID
	Name      string
	Type      string
	URL       string
	Active    bool
	Events    string
	CreatedAt time.Time
	CreatedBy string
	UpdatedAt time.Time
	UpdatedBy string

	Secret              []byte
	PreviousSecret      []byte
	PreviousSecretUntil *time.Time
}

func (notificationRow) TableName() string { return "notifications" }

func toNotificationRow(n notification.Notification) (notificationRow, error) {
	events, err := json.Marshal(append([]notification.Event{}, n.Events...))
	if err != nil {
		return notificationRow{}, fmt.Errorf("encode the notification's events: %w", err)
	}
	return notificationRow{
		ID: n.ID, TeamID: n.TeamID, Name: n.Name, Type: string(n.Type), URL: n.URL, Active: n.Active, Events: string(events),
		CreatedAt: n.CreatedAt, CreatedBy: n.CreatedBy, UpdatedAt: n.UpdatedAt, UpdatedBy: n.UpdatedBy,
		Secret: n.Secret.Sealed, PreviousSecret: n.Secret.Previous, PreviousSecretUntil: timeOrNull(n.Secret.PreviousUntil),
	}, nil
}

type notificationView struct {
	Row         notificationRow `gorm:"embedded"`
	CreatorName string
}

func (r notificationView) toNotification() (notification.Notification, error) {
	n := r.Row
	var events []notification.Event
	if err := json.Unmarshal([]byte(n.Events), &events); err != nil {
		return notification.Notification{}, fmt.Errorf("decode the notification's events: %w", err)
	}
	return notification.Notification{
		ID: n.ID, TeamID: n.TeamID, CreatedAt: n.CreatedAt, CreatedBy: n.CreatedBy, CreatorName: r.CreatorName,
		UpdatedAt: n.UpdatedAt, UpdatedBy: n.UpdatedBy,
		Secret: toSecret(n.Secret, n.PreviousSecret, n.PreviousSecretUntil),
		Draft:  notification.Draft{Name: n.Name, Type: notification.Type(n.Type), URL: n.URL, Active: n.Active, Events: events},
	}, nil
}

func toSecret(sealed, previous []byte, until *time.Time) notification.Secret {
	s := notification.Secret{Sealed: sealed, Previous: previous}
	if until != nil {
		s.PreviousUntil = *until
	}
	return s
}

func (db *DB) notifications(ctx context.Context, teamID uuid.UUID) *gorm.DB {
	return db.in(ctx).Table("notifications").Select("notifications.*, coalesce(users.name, '') as creator_name").
		Joins("left join users on users.id::text = notifications.created_by").
		Where("notifications.team_id = ?", teamID)
}

// InsertNotification adds a notification.
func (db *DB) InsertNotification(ctx context.Context, n notification.Notification) error {
	row, err := toNotificationRow(n)
	if err != nil {
		return err
	}
	return mapError(db.in(ctx).Create(&row).Error, "make the notification")
}

// UpdateNotification changes what a person says about a notification.
func (db *DB) UpdateNotification(ctx context.Context, n notification.Notification) error {
	row, err := toNotificationRow(n)
	if err != nil {
		return err
	}
	err = db.in(ctx).Model(&notificationRow{}).Where("id = ?", n.ID).UpdateColumns(map[string]any{
		"name": row.Name, "type": row.Type, "url": row.URL, "active": row.Active, "events": row.Events,
		"updated_at": row.UpdatedAt, "updated_by": row.UpdatedBy,
		"secret": row.Secret, "previous_secret": row.PreviousSecret, "previous_secret_until": row.PreviousSecretUntil,
	}).Error
	return mapError(err, "change the notification")
}

// DeleteNotification removes a notification and its deliveries.
func (db *DB) DeleteNotification(ctx context.Context, id uuid.UUID) error {
	return mapError(db.in(ctx).Where("id = ?", id).Delete(&notificationRow{}).Error, "delete the notification")
}

// FindNotification returns a notification of the team.
func (db *DB) FindNotification(ctx context.Context, teamID, id uuid.UUID) (notification.Notification, error) {
	var row notificationView
	if err := db.notifications(ctx, teamID).Where("notifications.id = ?", id).Take(&row).Error; err != nil {
		return notification.Notification{}, mapError(err, "find the notification")
	}
	return row.toNotification()
}

// ListNotifications returns the team's notifications by name.
func (db *DB) ListNotifications(ctx context.Context, teamID uuid.UUID) ([]notification.Notification, error) {
	var rows []notificationView
	if err := paged(ctx, db.notifications(ctx, teamID).Order("notifications.name")).Find(&rows).Error; err != nil {
		return nil, mapError(err, "list the notifications")
	}
	list := make([]notification.Notification, len(rows))
	for i, row := range rows {
		var err error
		if list[i], err = row.toNotification(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
