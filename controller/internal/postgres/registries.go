package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"fairlead.dev/controller/internal/registry"
	"fairlead.dev/shared/apperr"
)

type registryRow struct {
	ID              uuid.UUID
	TeamID          uuid.UUID
	Name            string
	Description     string
	Icon            string
	Type            string
	URL             string `gorm:"column:url"`
	APIURL          string `gorm:"column:api_url"`
	ImageNamePrefix string
	Namespace       string
	Username        string
	Password        []byte
	CreatedAt       time.Time
	CreatedBy       string
	UpdatedAt       time.Time
	UpdatedBy       string
}

func (*registryRow) TableName() string { return "registries" }

func (r *registryRow) fields() []any {
	return []any{
		&r.ID, &r.TeamID, &r.Name, &r.Description, &r.Icon, &r.Type, &r.URL, &r.APIURL, &r.ImageNamePrefix, &r.Namespace, &r.Username, &r.Password,
		&r.CreatedAt, &r.CreatedBy, &r.UpdatedAt, &r.UpdatedBy,
	}
}

func fromRegistry(r registry.Registry) registryRow {
	return registryRow{
		ID: r.ID, TeamID: r.TeamID, Name: r.Name, Description: r.Description, Icon: r.Icon,
		Type: string(r.Details.Type), URL: r.Details.URL, APIURL: r.Details.APIURL,
		ImageNamePrefix: r.Details.ImageNamePrefix, Namespace: r.Details.Namespace,
		Username: r.Username, Password: r.SealedPassword,
		CreatedAt: r.CreatedAt, CreatedBy: r.CreatedBy, UpdatedAt: r.UpdatedAt, UpdatedBy: r.UpdatedBy,
	}
}

func (r *registryRow) toRegistry() registry.Registry {
	return registry.Registry{
		ID: r.ID, TeamID: r.TeamID, Name: r.Name, Description: r.Description, Icon: r.Icon,
		Details: registry.Details{
			Type: registry.Type(r.Type), URL: r.URL, APIURL: r.APIURL,
			ImageNamePrefix: r.ImageNamePrefix, Namespace: r.Namespace,
		},
		Username: r.Username, SealedPassword: r.Password,
		CreatedAt: r.CreatedAt, CreatedBy: r.CreatedBy, UpdatedAt: r.UpdatedAt, UpdatedBy: r.UpdatedBy,
	}
}

// usedRegistryRow is a registry and whether an image refers to it.
type usedRegistryRow struct {
	Registry registryRow `gorm:"embedded"`
	InUse    bool
}

func (r usedRegistryRow) toRegistry() registry.Registry {
	found := r.Registry.toRegistry()
	found.InUse = r.InUse
	return found
}

// InsertRegistry adds a registry.
func (db *DB) InsertRegistry(ctx context.Context, r registry.Registry) error {
	row := fromRegistry(r)
	return nameTaken(db.in(ctx).Create(&row).Error, "registries_name_uq", r.Name, "add the registry")
}

// UpdateRegistry writes all of a registry but its id, team and creation.
func (db *DB) UpdateRegistry(ctx context.Context, r registry.Registry) error {
	row := fromRegistry(r)
	err := db.in(ctx).Model(&registryRow{}).Where("id = ? and team_id = ?", r.ID, r.TeamID).
		Select("*").Omit("id", "team_id", "created_at", "created_by").UpdateColumns(&row).Error
	return nameTaken(err, "registries_name_uq", r.Name, "update the registry")
}

// DeleteRegistry removes a registry that no image refers to.
func (db *DB) DeleteRegistry(ctx context.Context, teamID, id uuid.UUID) error {
	result := db.in(ctx).Where("id = ? and team_id = ?", id, teamID).Delete(&registryRow{})
	if violates(result.Error, "images_registry_fk") {
		return apperr.Wrap(apperr.Precondition, result.Error, "the registry is in use: remove the images that come from it first").
			WithField("id", id)
	}
	return oneRow(result, "registry", id)
}

// FindRegistry returns a team's registry.
func (db *DB) FindRegistry(ctx context.Context, teamID, id uuid.UUID) (registry.Registry, error) {
	var row usedRegistryRow
	err := db.registriesWithUse(ctx).Where("registries.id = ? and registries.team_id = ?", id, teamID).Take(&row).Error
	return row.toRegistry(), notThere(err, "registry", id)
}

// LockRegistry is FindRegistry that keeps the row from changing.
func (db *DB) LockRegistry(ctx context.Context, teamID, id uuid.UUID) (registry.Registry, error) {
	var row registryRow
	err := db.in(ctx).Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).
		Where("id = ? and team_id = ?", id, teamID).Take(&row).Error
	return row.toRegistry(), notThere(err, "registry", id)
}

// FindRegistryOfAnyTeam returns a registry.
func (db *DB) FindRegistryOfAnyTeam(ctx context.Context, id uuid.UUID) (registry.Registry, error) {
	found, err := readRow(ctx, db, "find the registry", func(r *registryRow) (registry.Registry, error) { return r.toRegistry(), nil },
		`select id, team_id, name, description, icon, type, url, api_url, image_name_prefix, namespace, username, password,
			created_at, created_by, updated_at, updated_by from registries where id = $1`, id)
	return found, notThere(err, "registry", id)
}

// ListRegistries returns a team's registries by name.
func (db *DB) ListRegistries(ctx context.Context, teamID uuid.UUID) ([]registry.Registry, error) {
	var rows []usedRegistryRow
	err := paged(ctx, db.registriesWithUse(ctx).Where("registries.team_id = ?", teamID).Order("registries.name")).Find(&rows).Error
	return convert(rows, usedRegistryRow.toRegistry), mapError(err, "list the registries")
}

func (db *DB) registriesWithUse(ctx context.Context) *gorm.DB {
	return db.in(ctx).Table("registries").
		Select("registries.*, exists (select from images i where i.registry_id = registries.id) as in_use")
}

// nameTaken maps a violation of a unique name to a Conflict that says so.
func nameTaken(err error, constraint, name, doing string) error {
	if violates(err, constraint) {
		return apperr.Wrap(apperr.Conflict, err, "%s: the name is taken", doing).WithField("name", name)
	}
	return mapError(err, doing)
}

// notThere maps the error of looking for one row by its id.
func notThere(err error, noun string, id uuid.UUID) error {
	err = mapError(err, "find the %s", noun)
	if apperr.Is(err, apperr.NotFound) {
		return apperr.Wrap(apperr.NotFound, err, "no such %s", noun).WithField(noun+"Id", id)
	}
	return err
}

// oneRow maps the outcome of deleting one row by its id.
func oneRow(result *gorm.DB, noun string, id uuid.UUID) error {
	if result.Error == nil && result.RowsAffected == 0 {
		return notThere(gorm.ErrRecordNotFound, noun, id)
	}
	return mapError(result.Error, "delete the %s", noun)
}
