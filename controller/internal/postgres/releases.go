package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/specpb"
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
	// Wire is the spec as it goes to agents; nil of releases of before.
	Wire       []byte
	ConfigHash *string
	Digests    *string
	ActorKind  string
	ActorName  string
	RollbackOf *int64
	BeganAt    *time.Time
	// PlanHash is the node's agent's.
	PlanHash string
	Plan     *string
}

// releaseView is a release with who holds it.
type releaseView struct {
	Release    releaseRow `gorm:"embedded"`
	Reason     *string
	HeldAt     *time.Time
	HeldBy     *string
	HeldByName *string
}

// holdRow keeps a release from being started again.
type holdRow struct {
	ReleaseID  uuid.UUID `gorm:"primaryKey"`
	Reason     string
	HeldAt     time.Time
	HeldBy     string
	HeldByName string
}

func (holdRow) TableName() string { return "release_holds" }

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
	planned, err := decodePlan(r.Plan)
	if err != nil {
		return deployment.Release{}, fmt.Errorf("read release %d of deployment %s: %w", r.Number, r.DeploymentID, err)
	}
	var plan *deployment.Plan
	if planned != nil {
		plan = &deployment.Plan{Planned: *planned}
	}
	digests, err := decodeDigests(r.Digests)
	if err != nil {
		return deployment.Release{}, fmt.Errorf("read release %d of deployment %s: %w", r.Number, r.DeploymentID, err)
	}
	return deployment.Release{
		ID: r.ID, DeploymentID: r.DeploymentID, Number: r.Number, Spec: content, Trigger: deployment.Trigger(r.Trigger),
		ConfigHash: orZero(r.ConfigHash), RollbackOf: orZero(r.RollbackOf),
		CreatedAt: r.CreatedAt, CreatedBy: r.CreatedBy, Actor: deployment.Maker{Kind: actor.Kind(r.ActorKind), Name: r.ActorName},
		Outcome: deployment.Outcome(r.Outcome), BeganAt: orZero(r.BeganAt), FinishedAt: orZero(r.FinishedAt), Failure: failure,
		Digests: digests, Plan: plan,
	}, nil
}

func (v releaseView) toRelease() (deployment.Release, error) {
	r, err := v.Release.toRelease()
	if v.Reason != nil {
		r.Hold = &deployment.Hold{Reason: *v.Reason, At: orZero(v.HeldAt), By: orZero(v.HeldBy), ByName: orZero(v.HeldByName)}
	}
	return r, err
}

// InsertRelease adds a release to the ledger.
func (db *DB) InsertRelease(ctx context.Context, r deployment.Release) error {
	content, wire, err := encodeSpec(r.Spec)
	if err != nil {
		return err
	}
	var planHash string
	var plan *string
	if r.Plan != nil {
		planHash = r.Plan.Planned.Hash
		if plan, err = encodePlan(&r.Plan.Planned); err != nil {
			return err
		}
	}
	row := releaseRow{
		ID: r.ID, DeploymentID: r.DeploymentID, Number: r.Number, Spec: content, Trigger: string(r.Trigger),
		CreatedAt: r.CreatedAt, CreatedBy: r.CreatedBy, Outcome: string(r.Outcome), FinishedAt: orNull(r.FinishedAt),
		ConfigHash: orNull(r.ConfigHash), ActorKind: string(r.Actor.Kind), ActorName: r.Actor.Name, RollbackOf: orNull(r.RollbackOf),
		PlanHash: planHash, Plan: plan,
		Wire: wire, SetPart: setPart(specpb.DeploymentToProto(r.Spec)),
	}
	return mapError(db.in(ctx).Create(&row).Error, "store the release")
}

// SetOutcome notes how a release ended. One that has ended differently is not
// changed, which is an error.
func (db *DB) SetOutcome(ctx context.Context, id uuid.UUID, e deployment.Ending) error {
	card, err := encodeFailure(e.Failure)
	if err != nil {
		return err
	}
	digests, err := encodeDigests(e.Digests)
	if err != nil {
		return err
	}
	_, err = db.execRows(ctx, "note the release's outcome",
		"update releases set outcome = $2, failure = $3, finished_at = $4, digests = $5 where id = $1", [16]byte(id), string(e.Outcome), card, e.At, digests)
	return err
}

// FindRelease returns a release, without its spec.
func (db *DB) FindRelease(ctx context.Context, id uuid.UUID) (deployment.Release, error) {
	var row releaseRow
	if err := db.in(ctx).Omit("spec", "wire", "set_part", "plan").Where("id = ?", id).Take(&row).Error; err != nil {
		return deployment.Release{}, mapError(err, "find the release")
	}
	return row.toRelease()
}

// FindReleaseByNumber returns a release of a deployment, without its spec.
func (db *DB) FindReleaseByNumber(ctx context.Context, deploymentID uuid.UUID, number int64) (deployment.Release, error) {
	var row releaseRow
	err := db.in(ctx).Omit("spec", "wire", "set_part", "plan").Where("deployment_id = ? and number = ?", deploymentID, number).Take(&row).Error
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

// views returns releases with their holds.
func (db *DB) releaseViews(ctx context.Context) *gorm.DB {
	return db.in(ctx).Table("releases").Joins("left join release_holds h on h.release_id = releases.id")
}

// Columns of a release with its hold; the spec, which may be large, is left
// out where nobody looks at it.
const (
	releaseColumns = `releases.id, releases.deployment_id, releases.number, releases.trigger, releases.created_at, releases.created_by,
		releases.outcome, releases.finished_at, releases.failure, releases.config_hash, releases.digests, releases.actor_kind,
		releases.actor_name, releases.rollback_of, releases.began_at, h.reason, h.held_at, h.held_by, h.held_by_name`
	releaseColumnsWithSpec = releaseColumns + ", releases.spec, releases.plan"
)

// ReadRelease returns a release of a deployment with its spec.
func (db *DB) ReadRelease(ctx context.Context, deploymentID uuid.UUID, number int64) (deployment.Release, error) {
	var row releaseView
	err := db.releaseViews(ctx).Select(releaseColumnsWithSpec).
		Where("releases.deployment_id = ? and releases.number = ?", deploymentID, number).Take(&row).Error
	if err != nil {
		return deployment.Release{}, mapError(err, "read the release")
	}
	return row.toRelease()
}

// ListReleases returns a page of a deployment's releases, newest first, without
// their specs.
func (db *DB) ListReleases(ctx context.Context, deploymentID uuid.UUID, limit int) ([]deployment.Release, error) {
	var rows []releaseView
	err := paged(ctx, db.releaseViews(ctx).Select(releaseColumns).Where("releases.deployment_id = ?", deploymentID).
		Order("releases.number desc").Limit(limit)).Find(&rows).Error
	if err != nil {
		return nil, mapError(err, "list the releases")
	}
	return decodeRows(rows, releaseView.toRelease)
}

// ListHeldReleases returns a deployment's releases that are held, newest first.
func (db *DB) ListHeldReleases(ctx context.Context, deploymentID uuid.UUID) ([]deployment.Release, error) {
	var rows []releaseView
	err := db.releaseViews(ctx).Select(releaseColumnsWithSpec).
		Where("releases.deployment_id = ? and h.release_id is not null", deploymentID).Order("releases.number desc").Find(&rows).Error
	if err != nil {
		return nil, mapError(err, "list the held releases")
	}
	return decodeRows(rows, releaseView.toRelease)
}

// PutHold holds a release, or replaces why it is held.
func (db *DB) PutHold(ctx context.Context, releaseID uuid.UUID, h deployment.Hold) error {
	row := holdRow{ReleaseID: releaseID, Reason: h.Reason, HeldAt: h.At, HeldBy: h.By, HeldByName: h.ByName}
	return mapError(db.in(ctx).Clauses(clause.OnConflict{UpdateAll: true}).Create(&row).Error, "hold the release")
}

// DropHold ends that a release is held.
func (db *DB) DropHold(ctx context.Context, releaseID uuid.UUID) error {
	result := db.in(ctx).Where("release_id = ?", releaseID).Delete(&holdRow{})
	if result.Error == nil && result.RowsAffected == 0 {
		result.Error = gorm.ErrRecordNotFound
	}
	return mapError(result.Error, "let go of the release")
}

// encodeDigests makes none null.
func encodeDigests(digests map[string]string) (*string, error) {
	if len(digests) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(digests)
	if err != nil {
		return nil, fmt.Errorf("encode digests: %w", err)
	}
	encoded := string(text)
	return &encoded, nil
}

func decodeDigests(text *string) (map[string]string, error) {
	if text == nil {
		return nil, nil
	}
	var digests map[string]string
	if err := json.Unmarshal([]byte(*text), &digests); err != nil {
		return nil, fmt.Errorf("decode digests: %w", err)
	}
	return digests, nil
}
