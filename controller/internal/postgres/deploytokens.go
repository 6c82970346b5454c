package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"fairlead.dev/controller/internal/deploytoken"
	"fairlead.dev/shared/apperr"
)

type deployTokenRow struct {
	ID           uuid.UUID
	TeamID       uuid.UUID
	DeploymentID uuid.UUID
	Name         string
	Hash         []byte
	CreatedAt    time.Time
	CreatedBy    string
	ExpiresAt    time.Time
	TrustID      *uuid.UUID
}

func (r deployTokenRow) toToken() deploytoken.Token {
	return deploytoken.Token{
		ID: r.ID, TeamID: r.TeamID, DeploymentID: r.DeploymentID, Name: r.Name, Hash: r.Hash,
		CreatedAt: r.CreatedAt, CreatedBy: r.CreatedBy, ExpiresAt: r.ExpiresAt, TrustID: orZero(r.TrustID),
	}
}

func (deployTokenRow) TableName() string { return "deployment_tokens" }

// InsertDeployToken adds a deployment's token.
func (db *DB) InsertDeployToken(ctx context.Context, t deploytoken.Token) error {
	row := deployTokenRow{
		ID: t.ID, TeamID: t.TeamID, DeploymentID: t.DeploymentID, Name: t.Name, Hash: t.Hash,
		CreatedAt: t.CreatedAt, CreatedBy: t.CreatedBy, ExpiresAt: t.ExpiresAt, TrustID: orNull(t.TrustID),
	}
	err := db.in(ctx).Create(&row).Error
	if violates(err, "deployment_tokens_deployment_uq") {
		return apperr.Wrap(apperr.Conflict, err, "the deployment has a token already; delete that one first").
			WithField("deploymentId", t.DeploymentID)
	}
	return nameTaken(err, "deployment_tokens_name_uq", t.Name, "store the deploy token")
}

// FindPresentedDeployToken returns a token and its team's slug.
func (db *DB) FindPresentedDeployToken(ctx context.Context, id uuid.UUID) (deploytoken.Token, string, error) {
	var row struct {
		Token deployTokenRow `gorm:"embedded"`
		Slug  string
	}
	err := db.in(ctx).Table("deployment_tokens").Select("deployment_tokens.*, t.slug").
		Joins("join teams t on t.id = deployment_tokens.team_id").
		Where("deployment_tokens.id = ?", id).Take(&row).Error
	return row.Token.toToken(), row.Slug, mapError(err, "find the deploy token")
}

// DeleteDeployToken removes the token of a deployment that a person made.
func (db *DB) DeleteDeployToken(ctx context.Context, deploymentID uuid.UUID) (deploytoken.Token, error) {
	var row deployTokenRow
	result := db.in(ctx).Clauses(clause.Returning{}).Where("deployment_id = ? and trust_id is null", deploymentID).Delete(&row)
	if result.Error == nil && result.RowsAffected == 0 {
		result.Error = gorm.ErrRecordNotFound
	}
	return row.toToken(), mapError(result.Error, "delete the deploy token")
}
