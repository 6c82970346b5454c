package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm/clause"

	"fairlead.dev/controller/internal/deployment"
)

// plansKept is how many plans of a deployment are kept, the newest.
const plansKept = 20

type planRow struct {
	DeploymentID uuid.UUID `gorm:"primaryKey"`
	Hash         string    `gorm:"primaryKey"`
	ContentHash  string
	Plan         string
	CreatedAt    time.Time
	CreatedBy    string
}

func (planRow) TableName() string { return "deployment_plans" }

// KeepPlan keeps a plan of a deployment and drops its oldest ones.
func (db *DB) KeepPlan(ctx context.Context, deploymentID uuid.UUID, p deployment.Plan) error {
	text, err := encodePlan(&p.Planned)
	if err != nil {
		return err
	}
	row := planRow{DeploymentID: deploymentID, Hash: p.Hash, ContentHash: p.ContentHash, Plan: *text, CreatedAt: p.CreatedAt, CreatedBy: p.CreatedBy}
	return db.InTx(ctx, func(ctx context.Context) error {
		if err := db.in(ctx).Clauses(clause.OnConflict{UpdateAll: true}).Create(&row).Error; err != nil {
			return mapError(err, "keep the plan")
		}
		_, err := db.execRows(ctx, "drop old plans", `delete from deployment_plans where deployment_id = $1 and hash not in (
			select hash from deployment_plans where deployment_id = $1 order by created_at desc, hash limit $2)`, deploymentID, plansKept)
		return err
	})
}

// FindPlan returns a plan of a deployment.
func (db *DB) FindPlan(ctx context.Context, deploymentID uuid.UUID, hash string) (deployment.Plan, error) {
	var row planRow
	if err := db.in(ctx).Where("deployment_id = ? and hash = ?", deploymentID, hash).Take(&row).Error; err != nil {
		return deployment.Plan{}, mapError(err, "find the plan")
	}
	planned, err := decodePlan(&row.Plan)
	if err != nil {
		return deployment.Plan{}, err
	}
	return deployment.Plan{Hash: row.Hash, ContentHash: row.ContentHash, Planned: *planned, CreatedAt: row.CreatedAt, CreatedBy: row.CreatedBy}, nil
}
