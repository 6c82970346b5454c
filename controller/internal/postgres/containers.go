package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm/clause"

	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

type containerRow struct {
	NodeID       uuid.UUID
	EngineID     string
	Prefix       string
	Name         string
	Managed      bool
	DeploymentID *uuid.UUID
	InstanceID   *uuid.UUID
	Release      int64
	ImageName    string
	ImageTag     string
	ImageDigest  string
	Command      string
	CreatedAt    time.Time
	State        string
	Reason       string
	ExitCode     int
	Health       string
	Ports        string
}

func (containerRow) TableName() string { return "containers" }

// portJSON is a port in the column ports.
type portJSON struct {
	Internal int32  `json:"internal"`
	External int32  `json:"external"`
	Protocol string `json:"protocol"`
}

func toContainerRow(nodeID uuid.UUID, c workload.Container) (containerRow, error) {
	ports, err := json.Marshal(convert(c.Ports, func(p workload.Port) portJSON { return portJSON(p) }))
	if err != nil {
		return containerRow{}, fmt.Errorf("encode ports: %w", err)
	}
	return containerRow{
		NodeID: nodeID, EngineID: c.EngineID, Prefix: c.ID.Prefix, Name: c.ID.Name, Managed: c.Managed,
		DeploymentID: idOrNull(c.DeploymentID), InstanceID: idOrNull(c.InstanceID), Release: c.Release,
		ImageName: c.ImageName, ImageTag: c.ImageTag, ImageDigest: c.ImageDigest, Command: c.Command,
		CreatedAt: c.CreatedAt, State: string(c.State), Reason: c.Reason, ExitCode: c.ExitCode, Health: c.Health,
		Ports: string(ports),
	}, nil
}

func (r containerRow) toContainer() workload.Container {
	var ports []portJSON
	_ = json.Unmarshal([]byte(r.Ports), &ports) // written by toContainerRow
	c := workload.Container{
		ID: workload.ContainerID{Prefix: r.Prefix, Name: r.Name}, EngineID: r.EngineID, Managed: r.Managed,
		Release: r.Release, ImageName: r.ImageName, ImageTag: r.ImageTag, ImageDigest: r.ImageDigest, Command: r.Command,
		CreatedAt: r.CreatedAt, State: spec.ContainerState(r.State), Reason: r.Reason, ExitCode: r.ExitCode, Health: r.Health,
		Ports: convert(ports, func(p portJSON) workload.Port { return workload.Port(p) }),
	}
	if r.DeploymentID != nil {
		c.DeploymentID = r.DeploymentID.String()
	}
	if r.InstanceID != nil {
		c.InstanceID = r.InstanceID.String()
	}
	return c
}

// ReplaceContainers makes the list the whole of what is known of a node's
// containers.
func (db *DB) ReplaceContainers(ctx context.Context, nodeID uuid.UUID, list []workload.Container, at time.Time) error {
	rows := make([]containerRow, len(list))
	seen := make([]string, len(list))
	for i, c := range list {
		row, err := toContainerRow(nodeID, c)
		if err != nil {
			return err
		}
		rows[i], seen[i] = row, c.EngineID
	}
	return db.InTx(ctx, func(ctx context.Context) error {
		gone := db.in(ctx).Where("node_id = ?", nodeID)
		if len(seen) > 0 {
			gone = gone.Where("engine_id not in ?", seen)
		}
		if err := gone.Delete(&containerRow{}).Error; err != nil {
			return mapError(err, "forget containers that are gone")
		}
		if len(rows) > 0 {
			err := db.in(ctx).Clauses(clause.OnConflict{
				Columns: []clause.Column{{Name: "node_id"}, {Name: "engine_id"}}, UpdateAll: true,
			}).CreateInBatches(&rows, containerBatch).Error
			if err != nil {
				return mapError(err, "store the node's containers")
			}
		}
		err := db.in(ctx).Exec("update agents set containers_seen_at = ? where node_id = ? and revoked_at is null", at, nodeID).Error
		return mapError(err, "note when the containers were seen")
	})
}

// containerBatch keeps one statement below PostgreSQL's 65,535 parameters.
const containerBatch = 500

// ListContainers returns what was last seen on a node, by prefix and name.
func (db *DB) ListContainers(ctx context.Context, nodeID uuid.UUID, prefix *string) ([]workload.Container, error) {
	query := db.in(ctx).Where("node_id = ?", nodeID)
	if prefix != nil {
		query = query.Where("prefix = ?", *prefix)
	}
	var rows []containerRow
	err := query.Order("prefix, name, engine_id").Find(&rows).Error
	return convert(rows, containerRow.toContainer), mapError(err, "list the node's containers")
}

// idOrNull reads an id that an agent sent; what is none becomes null.
func idOrNull(text string) *uuid.UUID {
	id, err := uuid.Parse(text)
	if err != nil {
		return nil
	}
	return &id
}
