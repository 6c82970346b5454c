package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/spec"
)

type instanceRow struct {
	ID           uuid.UUID
	DeploymentID uuid.UUID
	ImageID      uuid.UUID
	Config       *string
	UpdatedAt    time.Time
}

func (instanceRow) TableName() string { return "instances" }

// instanceView is an instance with its image and the image's registry.
type instanceView struct {
	ID             uuid.UUID
	Config         *string
	UpdatedAt      time.Time
	ImageID        uuid.UUID
	ImageName      string
	ImageTag       string
	ImagePosition  int
	ImageConfig    string
	ImageCreatedAt time.Time
	RegistryID     uuid.UUID
	RegistryName   string
	RegistryType   string
}

func (r instanceView) toInstance() (deployment.Instance, error) {
	i := deployment.Instance{
		ID: r.ID, UpdatedAt: r.UpdatedAt,
		Image: deployment.Image{
			ID: r.ImageID, Name: r.ImageName, Tag: r.ImageTag, Position: r.ImagePosition, CreatedAt: r.ImageCreatedAt,
			Registry: deployment.Ref{ID: r.RegistryID, Name: r.RegistryName, Type: r.RegistryType},
		},
	}
	var err error
	if i.Image.Config, err = decodeContainer(r.ImageConfig); err != nil {
		return i, fmt.Errorf("read configuration of image %s: %w", r.ImageID, err)
	}
	if r.Config != nil {
		config, err := decodeContainer(*r.Config)
		if err != nil {
			return i, fmt.Errorf("read configuration of instance %s: %w", r.ID, err)
		}
		i.Config = &config
	}
	return i, nil
}

func (db *DB) instanceViews(ctx context.Context, deploymentID uuid.UUID) *gorm.DB {
	return db.in(ctx).Table("instances").Select(`instances.id, instances.config, instances.updated_at,
			i.id as image_id, i.name as image_name, i.tag as image_tag, i.position as image_position,
			i.config as image_config, i.created_at as image_created_at,
			r.id as registry_id, r.name as registry_name, r.type as registry_type`).
		Joins("join images i on i.id = instances.image_id").
		Joins("join registries r on r.id = i.registry_id").
		Where("instances.deployment_id = ?", deploymentID)
}

// ListInstances returns a deployment's instances in the order of start.
func (db *DB) ListInstances(ctx context.Context, deploymentID uuid.UUID) ([]deployment.Instance, error) {
	var rows []instanceView
	if err := db.instanceViews(ctx, deploymentID).Order("i.position, instances.id").Find(&rows).Error; err != nil {
		return nil, mapError(err, "list the instances")
	}
	return decodeRows(rows, instanceView.toInstance)
}

// FindInstance returns an instance of a deployment.
func (db *DB) FindInstance(ctx context.Context, deploymentID, id uuid.UUID) (deployment.Instance, error) {
	var row instanceView
	if err := db.instanceViews(ctx, deploymentID).Where("instances.id = ?", id).Take(&row).Error; err != nil {
		return deployment.Instance{}, mapError(err, "find the instance")
	}
	return row.toInstance()
}

// UpdateInstance writes what an instance says of its own.
func (db *DB) UpdateInstance(ctx context.Context, id uuid.UUID, config spec.Container, at time.Time) error {
	text, err := encodeContainer(config)
	if err != nil {
		return err
	}
	err = db.in(ctx).Model(&instanceRow{}).Where("id = ?", id).
		UpdateColumns(map[string]any{"config": text, "updated_at": at}).Error
	return mapError(err, "change the instance")
}
