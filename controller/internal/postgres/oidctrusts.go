package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"fairlead.dev/controller/internal/oidctrust"
)

type oidcTrustRow struct {
	ID           uuid.UUID
	TeamID       uuid.UUID
	DeploymentID uuid.UUID
	Name         string
	Provider     string
	Issuer       string
	Audience     string
	Conditions   string
	CreatedAt    time.Time
	CreatedBy    string
}

func (oidcTrustRow) TableName() string { return "oidc_trusts" }

func (r oidcTrustRow) toTrust() (oidctrust.Trust, error) {
	t := oidctrust.Trust{
		ID: r.ID, TeamID: r.TeamID, DeploymentID: r.DeploymentID, Name: r.Name, Provider: oidctrust.Provider(r.Provider),
		Issuer: r.Issuer, Audience: r.Audience, CreatedAt: r.CreatedAt, CreatedBy: r.CreatedBy,
	}
	if err := json.Unmarshal([]byte(r.Conditions), &t.Conditions); err != nil {
		return t, fmt.Errorf("decode the conditions of trust %s: %w", r.ID, err)
	}
	return t, nil
}

// InsertOIDCTrust adds a trust.
func (db *DB) InsertOIDCTrust(ctx context.Context, t oidctrust.Trust) error {
	conditions, err := json.Marshal(t.Conditions)
	if err != nil {
		return fmt.Errorf("encode the conditions: %w", err)
	}
	row := oidcTrustRow{
		ID: t.ID, TeamID: t.TeamID, DeploymentID: t.DeploymentID, Name: t.Name, Provider: string(t.Provider),
		Issuer: t.Issuer, Audience: t.Audience, Conditions: string(conditions), CreatedAt: t.CreatedAt, CreatedBy: t.CreatedBy,
	}
	return nameTaken(db.in(ctx).Create(&row).Error, "oidc_trusts_name_uq", t.Name, "add the trust")
}

// ListOIDCTrusts returns a team's trusts by name.
func (db *DB) ListOIDCTrusts(ctx context.Context, teamID uuid.UUID) ([]oidctrust.Trust, error) {
	var rows []oidcTrustRow
	if err := paged(ctx, db.in(ctx).Where("team_id = ?", teamID).Order("name, id")).Find(&rows).Error; err != nil {
		return nil, mapError(err, "list the trusts")
	}
	return decodeRows(rows, oidcTrustRow.toTrust)
}

// ListDeploymentOIDCTrusts returns the trusts of a deployment in the team of a
// slug.
func (db *DB) ListDeploymentOIDCTrusts(ctx context.Context, teamSlug string, deploymentID uuid.UUID) ([]oidctrust.Trust, error) {
	var rows []oidcTrustRow
	err := db.in(ctx).Table("oidc_trusts").Select("oidc_trusts.*").Joins("join teams t on t.id = oidc_trusts.team_id").
		Where("t.slug = ? and oidc_trusts.deployment_id = ?", teamSlug, deploymentID).
		Order("oidc_trusts.name, oidc_trusts.id").Find(&rows).Error
	if err != nil {
		return nil, mapError(err, "list the deployment's trusts")
	}
	return decodeRows(rows, oidcTrustRow.toTrust)
}

// DeleteOIDCTrust removes a trust of a team; its tokens go with it.
func (db *DB) DeleteOIDCTrust(ctx context.Context, teamID, id uuid.UUID) (oidctrust.Trust, error) {
	var row oidcTrustRow
	result := db.in(ctx).Clauses(clause.Returning{}).Where("team_id = ? and id = ?", teamID, id).Delete(&row)
	if result.Error == nil && result.RowsAffected == 0 {
		result.Error = gorm.ErrRecordNotFound
	}
	if result.Error != nil {
		return oidctrust.Trust{}, mapError(result.Error, "delete the trust")
	}
	return row.toTrust()
}

// MarkExchanged notes that a token was exchanged.
func (db *DB) MarkExchanged(ctx context.Context, issuer string, tokenHash []byte, expiresAt, now time.Time) (bool, error) {
	if err := db.in(ctx).Exec("delete from oidc_exchanges where expires_at < ?", now).Error; err != nil {
		return false, mapError(err, "forget expired identity tokens")
	}
	result := db.in(ctx).Exec(`insert into oidc_exchanges (issuer, token_hash, expires_at) values (?, ?, ?)
		on conflict do nothing`, issuer, tokenHash, expiresAt)
	return result.RowsAffected == 1, mapError(result.Error, "note the identity token")
}
