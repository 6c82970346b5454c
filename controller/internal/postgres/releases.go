package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/specpb"
	"fairlead.dev/shared/workload"
)

type releaseRow struct {
	ID           uuid.UUID
	DeploymentID uuid.UUID
	Number       int64
	Spec         string
	Trigger      string
	CreatedAt    time.Time
	CreatedBy    string
	Outcome      string
	FinishedAt   *time.Time
	Failure      *string
	// SetPart is what the spec adds to the hash of a node's set.
	SetPart *string
}

func (releaseRow) TableName() string { return "releases" }

// toRelease leaves the spec empty when it was not selected.
func (r releaseRow) toRelease() (deployment.Release, error) {
	failure, err := decodeFailure(r.Failure)
	if err != nil {
		return deployment.Release{}, fmt.Errorf("read release %d of deployment %s: %w", r.Number, r.DeploymentID, err)
	}
	var content spec.Deployment
	if r.Spec != "" {
		if content, err = decodeSpec(r.Spec); err != nil {
			return deployment.Release{}, fmt.Errorf("read release %d of deployment %s: %w", r.Number, r.DeploymentID, err)
		}
	}
	return deployment.Release{
		ID: r.ID, DeploymentID: r.DeploymentID, Number: r.Number, Spec: content, Trigger: deployment.Trigger(r.Trigger),
		CreatedAt: r.CreatedAt, CreatedBy: r.CreatedBy,
		Outcome: deployment.Outcome(r.Outcome), FinishedAt: orZero(r.FinishedAt), Failure: failure,
	}, nil
}

// InsertRelease adds a release to the ledger.
func (db *DB) InsertRelease(ctx context.Context, r deployment.Release) error {
	content, err := encodeSpec(r.Spec)
	if err != nil {
		return err
	}
	row := releaseRow{
		ID: r.ID, DeploymentID: r.DeploymentID, Number: r.Number, Spec: content, Trigger: string(r.Trigger),
		CreatedAt: r.CreatedAt, CreatedBy: r.CreatedBy, Outcome: string(r.Outcome), FinishedAt: orNull(r.FinishedAt),
		SetPart: setPart(specpb.DeploymentToProto(r.Spec)),
	}
	return mapError(db.in(ctx).Create(&row).Error, "store the release")
}

// SetOutcome notes how far a release is; at is when it finished, if it did.
func (db *DB) SetOutcome(ctx context.Context, id uuid.UUID, o deployment.Outcome, failure *workload.Failure, at time.Time) error {
	card, err := encodeFailure(failure)
	if err != nil {
		return err
	}
	columns := map[string]any{"outcome": string(o), "failure": card, "finished_at": nil}
	if o.Final() {
		columns["finished_at"] = at
	}
	err = db.in(ctx).Model(&releaseRow{}).Where("id = ?", id).UpdateColumns(columns).Error
	return mapError(err, "note the release's outcome")
}

// FindRelease returns a release, without its spec.
func (db *DB) FindRelease(ctx context.Context, id uuid.UUID) (deployment.Release, error) {
	var row releaseRow
	if err := db.in(ctx).Omit("spec", "set_part").Where("id = ?", id).Take(&row).Error; err != nil {
		return deployment.Release{}, mapError(err, "find the release")
	}
	return row.toRelease()
}

// FindReleaseByNumber returns a release of a deployment, without its spec.
func (db *DB) FindReleaseByNumber(ctx context.Context, deploymentID uuid.UUID, number int64) (deployment.Release, error) {
	var row releaseRow
	err := db.in(ctx).Omit("spec", "set_part").Where("deployment_id = ? and number = ?", deploymentID, number).Take(&row).Error
	if err != nil {
		return deployment.Release{}, mapError(err, "find the release")
	}
	return row.toRelease()
}

// FindLatestRelease returns a deployment's newest release of an outcome.
func (db *DB) FindLatestRelease(ctx context.Context, deploymentID uuid.UUID, o deployment.Outcome) (deployment.Release, error) {
	var row releaseRow
	err := db.in(ctx).Where("deployment_id = ? and outcome = ?", deploymentID, string(o)).Order("number desc").Take(&row).Error
	if err != nil {
		return deployment.Release{}, mapError(err, "find the latest release")
	}
	return row.toRelease()
}

// ListReleases returns a deployment's newest releases, newest first, without
// their specs.
func (db *DB) ListReleases(ctx context.Context, deploymentID uuid.UUID, limit int) ([]deployment.Release, error) {
	var rows []releaseRow
	err := paged(ctx, db.in(ctx).Omit("spec", "set_part").Where("deployment_id = ?", deploymentID).Order("number desc").Limit(limit)).Find(&rows).Error
	if err != nil {
		return nil, mapError(err, "list the releases")
	}
	return decodeRows(rows, releaseRow.toRelease)
}
