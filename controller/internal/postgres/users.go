package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/user"
)

type userRow struct {
	ID           uuid.UUID
	Email        string
	Name         string
	PasswordHash string
	Admin        bool
	CreatedAt    time.Time
	UpdatedAt    time.Time
	LastLoginAt  *time.Time
}

func (userRow) TableName() string { return "users" }

func (r userRow) toUser() user.User {
	return user.User{
		ID: r.ID, Email: r.Email, Name: r.Name, PasswordHash: r.PasswordHash, Admin: r.Admin,
		CreatedAt: r.CreatedAt, LastLoginAt: orZero(r.LastLoginAt),
	}
}

// InsertUser adds a user.
func (db *DB) InsertUser(ctx context.Context, u user.User) error {
	row := userRow{
		ID: u.ID, Email: u.Email, Name: u.Name, PasswordHash: u.PasswordHash, Admin: u.Admin,
		CreatedAt: u.CreatedAt, UpdatedAt: u.CreatedAt,
	}
	return mapError(db.in(ctx).Create(&row).Error, "make the account")
}

// FindUser returns the user with this id.
func (db *DB) FindUser(ctx context.Context, id uuid.UUID) (user.User, error) {
	var row userRow
	err := db.in(ctx).Where("id = ?", id).Take(&row).Error
	return row.toUser(), mapError(err, "find the user")
}

// FindUserByEmail returns the user with this address, which is lower case.
func (db *DB) FindUserByEmail(ctx context.Context, email string) (user.User, error) {
	var row userRow
	err := db.in(ctx).Where("email = ?", email).Take(&row).Error
	return row.toUser(), mapError(err, "find the user")
}

// TouchLogin notes a log-in.
func (db *DB) TouchLogin(ctx context.Context, id uuid.UUID, at time.Time) error {
	err := db.in(ctx).Model(&userRow{}).Where("id = ?", id).UpdateColumn("last_login_at", at).Error
	return mapError(err, "note the log-in")
}

// LockFirstUser locks out other registrations until the transaction ends, and
// reports whether there is no user yet.
func (db *DB) LockFirstUser(ctx context.Context) (bool, error) {
	// Conflicts with itself only: readers and log-ins go on.
	if err := db.in(ctx).Exec("lock table users in share row exclusive mode").Error; err != nil {
		return false, mapError(err, "take turns at registering")
	}
	var exists bool
	err := db.in(ctx).Raw("select exists (select from users)").Scan(&exists).Error
	return !exists, mapError(err, "look for the first user")
}

// orZero makes null the zero value.
func orZero[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// orNull makes the zero value null.
func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
