package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"fairlead.dev/controller/internal/storage"
)

type storageRow struct {
	ID          uuid.UUID
	TeamID      uuid.UUID
	Name        string
	Description string
	Icon        string
	URL         string
	AccessKey   []byte
	SecretKey   []byte
	CreatedAt   time.Time
	CreatedBy   string
	UpdatedAt   time.Time
	UpdatedBy   string
}

func (storageRow) TableName() string { return "storages" }

func fromStorage(s storage.Storage) storageRow {
	return storageRow{
		ID: s.ID, TeamID: s.TeamID, Name: s.Name, Description: s.Description, Icon: s.Icon, URL: s.URL,
		AccessKey: s.SealedAccessKey, SecretKey: s.SealedSecretKey,
		CreatedAt: s.CreatedAt, CreatedBy: s.CreatedBy, UpdatedAt: s.UpdatedAt, UpdatedBy: s.UpdatedBy,
	}
}

// usedStorageRow is a storage and whether a configuration refers to it.
type usedStorageRow struct {
	Storage storageRow `gorm:"embedded"`
	InUse   bool
}

func (r usedStorageRow) toStorage() storage.Storage {
	s := r.Storage
	return storage.Storage{
		ID: s.ID, TeamID: s.TeamID, Name: s.Name, Description: s.Description, Icon: s.Icon, URL: s.URL,
		SealedAccessKey: s.AccessKey, SealedSecretKey: s.SecretKey, InUse: r.InUse,
		CreatedAt: s.CreatedAt, CreatedBy: s.CreatedBy, UpdatedAt: s.UpdatedAt, UpdatedBy: s.UpdatedBy,
	}
}

// InsertStorage adds a storage.
func (db *DB) InsertStorage(ctx context.Context, s storage.Storage) error {
	row := fromStorage(s)
	return nameTaken(db.in(ctx).Create(&row).Error, "storages_name_uq", s.Name, "add the storage")
}

// UpdateStorage writes all of a storage but its id, team and creation.
func (db *DB) UpdateStorage(ctx context.Context, s storage.Storage) error {
	row := fromStorage(s)
	err := db.in(ctx).Model(&storageRow{}).Where("id = ? and team_id = ?", s.ID, s.TeamID).
		Select("*").Omit("id", "team_id", "created_at", "created_by").UpdateColumns(&row).Error
	return nameTaken(err, "storages_name_uq", s.Name, "update the storage")
}

// DeleteStorage removes a storage.
func (db *DB) DeleteStorage(ctx context.Context, teamID, id uuid.UUID) error {
	return oneRow(db.in(ctx).Where("id = ? and team_id = ?", id, teamID).Delete(&storageRow{}), "storage", id)
}

// FindStorage returns a team's storage.
func (db *DB) FindStorage(ctx context.Context, teamID, id uuid.UUID) (storage.Storage, error) {
	var row usedStorageRow
	err := db.storagesWithUse(ctx).Where("storages.id = ? and storages.team_id = ?", id, teamID).Take(&row).Error
	return row.toStorage(), notThere(err, "storage", id)
}

// FindStorageOfAnyTeam returns a storage, without looking for uses.
func (db *DB) FindStorageOfAnyTeam(ctx context.Context, id uuid.UUID) (storage.Storage, error) {
	var row usedStorageRow
	err := db.in(ctx).Where("id = ?", id).Take(&row.Storage).Error
	return row.toStorage(), notThere(err, "storage", id)
}

// LockStorage is FindStorage that keeps the row from changing; it does not look
// for uses.
func (db *DB) LockStorage(ctx context.Context, teamID, id uuid.UUID) (storage.Storage, error) {
	var row usedStorageRow
	err := db.in(ctx).Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).
		Where("id = ? and team_id = ?", id, teamID).Take(&row.Storage).Error
	return row.toStorage(), notThere(err, "storage", id)
}

// HoldStorage keeps a team's storage from being deleted until the transaction
// ends.
func (db *DB) HoldStorage(ctx context.Context, teamID, id uuid.UUID) error {
	var row storageRow
	err := db.in(ctx).Select("id").Clauses(clause.Locking{Strength: clause.LockingStrengthShare}).
		Where("id = ? and team_id = ?", id, teamID).Take(&row).Error
	return notThere(err, "storage", id)
}

// ListStorages returns a team's storages by name.
func (db *DB) ListStorages(ctx context.Context, teamID uuid.UUID) ([]storage.Storage, error) {
	var rows []usedStorageRow
	err := paged(ctx, db.storagesWithUse(ctx).Where("storages.team_id = ?", teamID).Order("storages.name")).Find(&rows).Error
	return convert(rows, usedStorageRow.toStorage), mapError(err, "list the storages")
}

func (db *DB) storagesWithUse(ctx context.Context) *gorm.DB {
	return db.in(ctx).Table("storages").Select(`storages.*,
		exists (select from images c where c.config -> 'storage' ->> 'storageId' = storages.id::text)
		or exists (select from instances c where c.config -> 'storage' ->> 'storageId' = storages.id::text) as in_use`)
}
