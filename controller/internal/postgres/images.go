package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"fairlead.dev/controller/internal/image"
	"fairlead.dev/controller/internal/registry"
)

type imageRow struct {
	ID         uuid.UUID
	VersionID  uuid.UUID
	RegistryID uuid.UUID
	Name       string
	Tag        string
	Position   int
	Config     string
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

func (imageRow) TableName() string { return "images" }

// imageView is an image with what it shows of its registry.
type imageView struct {
	Image        imageRow `gorm:"embedded"`
	RegistryName string
	RegistryType string
}

func (r imageView) toImage() (image.Image, error) {
	i := image.Image{
		ID: r.Image.ID, VersionID: r.Image.VersionID, Name: r.Image.Name, Tag: r.Image.Tag, Position: r.Image.Position,
		Registry: registry.Registry{
			ID: r.Image.RegistryID, Name: r.RegistryName, Details: registry.Details{Type: registry.Type(r.RegistryType)},
		},
		CreatedAt: r.Image.CreatedAt, UpdatedAt: r.Image.UpdatedAt,
	}
	var err error
	if i.Config, err = decodeContainer(r.Image.Config); err != nil {
		return i, fmt.Errorf("read configuration of image %s: %w", i.ID, err)
	}
	return i, nil
}

// ListImages returns a version's images in the order of start.
func (db *DB) ListImages(ctx context.Context, versionID uuid.UUID) ([]image.Image, error) {
	var rows []imageView
	err := paged(ctx, db.imageViews(ctx).Where("images.version_id = ?", versionID).Order("images.position, images.id")).Find(&rows).Error
	if err != nil {
		return nil, mapError(err, "list the images")
	}
	return decodeRows(rows, imageView.toImage)
}

// FindImage returns an image of a version.
func (db *DB) FindImage(ctx context.Context, versionID, id uuid.UUID) (image.Image, error) {
	var row imageView
	err := db.imageViews(ctx).Where("images.version_id = ? and images.id = ?", versionID, id).Take(&row).Error
	if err != nil {
		return image.Image{}, notThere(err, "image", id)
	}
	return row.toImage()
}

func (db *DB) imageViews(ctx context.Context) *gorm.DB {
	return db.in(ctx).Table("images").Select("images.*, r.name as registry_name, r.type as registry_type").
		Joins("join registries r on r.id = images.registry_id")
}

// InsertImages adds images, and an instance of each to every deployment of
// their version.
func (db *DB) InsertImages(ctx context.Context, list []image.Image) error {
	rows := make([]imageRow, len(list))
	ids := make([]uuid.UUID, len(list))
	for n, i := range list {
		config, err := encodeContainer(i.Config)
		if err != nil {
			return err
		}
		rows[n] = imageRow{
			ID: i.ID, VersionID: i.VersionID, RegistryID: i.Registry.ID, Name: i.Name, Tag: i.Tag, Position: i.Position,
			Config: config, CreatedAt: i.CreatedAt, UpdatedAt: i.UpdatedAt,
		}
		ids[n] = i.ID
	}
	return db.InTx(ctx, func(ctx context.Context) error {
		if err := db.in(ctx).Create(&rows).Error; err != nil {
			return mapError(err, "add the images")
		}
		err := db.in(ctx).Exec(`insert into instances (id, deployment_id, image_id, updated_at)
			select gen_random_uuid(), d.id, i.id, i.created_at
			from images i join deployments d on d.version_id = i.version_id
			where i.id in ?`, ids).Error
		return mapError(err, "add the images to the deployments of their version")
	})
}

// UpdateImage writes an image's tag and configuration.
func (db *DB) UpdateImage(ctx context.Context, i image.Image) error {
	config, err := encodeContainer(i.Config)
	if err != nil {
		return err
	}
	err = db.in(ctx).Model(&imageRow{}).Where("id = ?", i.ID).
		UpdateColumns(map[string]any{"tag": i.Tag, "config": config, "updated_at": i.UpdatedAt}).Error
	return mapError(err, "change the image")
}

// DeleteImage removes an image and its instances.
func (db *DB) DeleteImage(ctx context.Context, versionID, id uuid.UUID) error {
	result := db.in(ctx).Where("version_id = ? and id = ?", versionID, id).Delete(&imageRow{})
	return oneRow(result, "image", id)
}

// OrderImages gives the images of a version their positions, from 1.
func (db *DB) OrderImages(ctx context.Context, versionID uuid.UUID, order []uuid.UUID, at time.Time) error {
	_, err := db.execRows(ctx, "order the images", `update images
		set position = o.position, updated_at = greatest($3, images.updated_at + interval '1 microsecond')
		from unnest($2::uuid[]) with ordinality as o (id, position)
		where images.id = o.id and images.version_id = $1 and images.position <> o.position`,
		versionID, ids(order, func(id uuid.UUID) uuid.UUID { return id }), at)
	return err
}
