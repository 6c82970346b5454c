package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

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

func (r *instanceView) toInstance() (deployment.Instance, error) {
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

func (r *instanceView) fields() []any {
	return []any{
		&r.ID, &r.Config, &r.UpdatedAt, &r.ImageID, &r.ImageName, &r.ImageTag, &r.ImagePosition, &r.ImageConfig, &r.ImageCreatedAt,
		&r.RegistryID, &r.RegistryName, &r.RegistryType,
	}
}

const selectInstances = `select s.id, s.config, s.updated_at, i.id, i.name, i.tag, i.position, i.config, i.created_at, r.id, r.name, r.type
	from instances s join images i on i.id = s.image_id join registries r on r.id = i.registry_id where s.deployment_id = $1`

// ListInstances returns a deployment's instances in the order of start.
func (db *DB) ListInstances(ctx context.Context, deploymentID uuid.UUID) ([]deployment.Instance, error) {
	return readRows(ctx, db, "list the instances", (*instanceView).toInstance, selectInstances+" order by i.position, s.id", deploymentID)
}

// FindInstance returns an instance of a deployment.
func (db *DB) FindInstance(ctx context.Context, deploymentID, id uuid.UUID) (deployment.Instance, error) {
	return readRow(ctx, db, "find the instance", (*instanceView).toInstance, selectInstances+" and s.id = $2", deploymentID, id)
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
