package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"fairlead.dev/controller/internal/idempotency"
	"fairlead.dev/shared/apperr"
)

// forgetAtOnce is how many expired keys a new one clears away.
const forgetAtOnce = 100

type idempotencyRow struct {
	Caller      string
	KeyHash     []byte
	ClaimID     uuid.UUID
	Fingerprint []byte
	CarriedOut  bool
	LeaseUntil  time.Time
	ExpiresAt   time.Time
	Status      *int
	Headers     *string
	Body        []byte
}

func (idempotencyRow) TableName() string { return "idempotency_keys" }

func (r idempotencyRow) toRecord() (idempotency.Record, error) {
	record := idempotency.Record{
		Claim:       idempotency.Claim{ID: r.ClaimID, Caller: r.Caller, KeyHash: r.KeyHash},
		Fingerprint: r.Fingerprint, CarriedOut: r.CarriedOut, LeaseUntil: r.LeaseUntil, ExpiresAt: r.ExpiresAt, Body: r.Body,
	}
	if r.Status == nil || r.Headers == nil {
		return record, nil
	}
	record.Status = *r.Status
	if err := json.Unmarshal([]byte(*r.Headers), &record.Headers); err != nil {
		return record, fmt.Errorf("decode the headers of an answer: %w", err)
	}
	return record, nil
}

// ClaimKey adds a key, or returns the record that is in its place.
func (db *DB) ClaimKey(ctx context.Context, r idempotency.Record, now time.Time, maxKeys int) (idempotency.Record, bool, error) {
	err := db.in(ctx).Exec(`delete from idempotency_keys where (caller, key_hash) in (
		select caller, key_hash from idempotency_keys where expires_at <= ? order by expires_at limit ? for update skip locked)`,
		now, forgetAtOnce).Error
	if err != nil {
		return idempotency.Record{}, false, mapError(err, "forget expired keys")
	}
	result := db.in(ctx).Exec(`insert into idempotency_keys (caller, key_hash, claim_id, fingerprint, lease_until, expires_at)
		values (?, ?, ?, ?, ?, ?)
		on conflict (caller, key_hash) do update set claim_id = excluded.claim_id, fingerprint = excluded.fingerprint,
			carried_out = false, lease_until = excluded.lease_until, expires_at = excluded.expires_at,
			status = null, headers = null, body = null
		where idempotency_keys.expires_at <= ?
			or not idempotency_keys.carried_out and idempotency_keys.status is null and idempotency_keys.lease_until <= ?`,
		r.Caller, r.KeyHash, r.ID, r.Fingerprint, r.LeaseUntil, r.ExpiresAt, now, now)
	if result.Error != nil {
		return idempotency.Record{}, false, mapError(result.Error, "claim the key")
	}
	if result.RowsAffected == 0 {
		return db.findKey(ctx, r.Claim)
	}
	var count int64
	if err := db.in(ctx).Model(&idempotencyRow{}).Where("caller = ?", r.Caller).Count(&count).Error; err != nil {
		return idempotency.Record{}, false, mapError(err, "count the caller's keys")
	}
	if count <= int64(maxKeys) {
		return r, true, nil
	}
	if _, err := db.ReleaseKey(ctx, r.ID); err != nil {
		return idempotency.Record{}, false, err
	}
	return idempotency.Record{}, false, apperr.New(apperr.TooMany,
		"you sent %d requests with a key in the last day, which is all that are remembered; try later, or without one", maxKeys).
		WithField(idempotency.Field, nil)
}

func (db *DB) findKey(ctx context.Context, c idempotency.Claim) (idempotency.Record, bool, error) {
	var row idempotencyRow
	if err := db.in(ctx).Where("caller = ? and key_hash = ?", c.Caller, c.KeyHash).Take(&row).Error; err != nil {
		err = mapError(err, "find the key")
		if apperr.Is(err, apperr.NotFound) { // released a moment ago
			err = apperr.New(apperr.Conflict, "the first request with this key has just ended; try again").
				WithField(idempotency.Field, nil).WithReason(idempotency.ReasonInUse)
		}
		return idempotency.Record{}, false, err
	}
	record, err := row.toRecord()
	return record, false, err
}

// FinishKey adds the answer to a claim's record.
func (db *DB) FinishKey(ctx context.Context, r idempotency.Record) error {
	headers, err := json.Marshal(r.Headers)
	if err != nil {
		return fmt.Errorf("encode the headers of an answer: %w", err)
	}
	return mapError(db.in(ctx).Model(&idempotencyRow{}).Where("claim_id = ?", r.ID).
		UpdateColumns(map[string]any{"status": r.Status, "headers": string(headers), "body": r.Body}).Error, "keep the answer")
}

// ReleaseKey forgets a claim whose request had no effect.
func (db *DB) ReleaseKey(ctx context.Context, claimID uuid.UUID) (bool, error) {
	result := db.in(ctx).Where("claim_id = ? and not carried_out", claimID).Delete(&idempotencyRow{})
	return result.RowsAffected == 1, mapError(result.Error, "release the key")
}

// carryOut marks the claim that ctx carries, in the transaction that has the
// effect; it fails, and so undoes the effect, when the claim was lost.
func carryOut(ctx context.Context, tx *gorm.DB) error {
	claim, ok := idempotency.From(ctx)
	if !ok {
		return nil
	}
	result := tx.Exec("update idempotency_keys set carried_out = true where claim_id = ?", claim.ID)
	if result.Error == nil && result.RowsAffected == 0 {
		return apperr.New(apperr.Conflict, "it took so long that another request with the same key was let in; this one changed nothing").
			WithField(idempotency.Field, nil).WithReason(idempotency.ReasonInUse)
	}
	return result.Error
}
