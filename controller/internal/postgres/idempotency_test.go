package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/idempotency"
	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/postgres/pgtest"
	"fairlead.dev/shared/apperr"
)

func claimOf(now time.Time) idempotency.Record {
	return idempotency.Record{
		Claim:       idempotency.Claim{ID: uuid.New(), Caller: "user:x", KeyHash: []byte("hash")},
		Fingerprint: []byte("sealed"), LeaseUntil: now.Add(time.Minute), ExpiresAt: now.Add(time.Hour),
	}
}

func TestAClaimIsMarkedByTheTransactionThatHasTheEffect(t *testing.T) {
	db, now := pgtest.New(t), time.Now()
	first := claimOf(now)
	if _, ok, err := db.ClaimKey(t.Context(), first, now, 10); !ok || err != nil {
		t.Fatalf("claim: %v, %v", ok, err)
	}
	write := func(c idempotency.Claim, key string) error {
		return db.InTx(idempotency.With(t.Context(), c), func(ctx context.Context) error {
			return postgres.In(db, ctx).Create(&setting{key, "1"}).Error
		})
	}
	if found, ok, err := db.ClaimKey(t.Context(), claimOf(now), now, 10); ok || err != nil || found.ID != first.ID || found.CarriedOut {
		t.Fatalf("a second claim: %+v, %v, %v", found, ok, err)
	}
	// The first is so slow that another takes over: then it can have no effect.
	later := now.Add(2 * time.Minute)
	second := claimOf(later)
	if _, ok, err := db.ClaimKey(t.Context(), second, later, 10); !ok || err != nil {
		t.Fatalf("take over: %v, %v", ok, err)
	}
	if err := write(first.Claim, "slow"); !apperr.Is(err, apperr.Conflict) || count(t, db, "slow") != 0 {
		t.Errorf("the slow one got %v and left %d rows", err, count(t, db, "slow"))
	}
	if err := write(second.Claim, "quick"); err != nil || count(t, db, "quick") != 1 {
		t.Errorf("the quick one got %v", err)
	}
	// From now on nobody takes over, and the claim is not released.
	if found, ok, err := db.ClaimKey(t.Context(), claimOf(now), later.Add(2*time.Minute), 10); ok || err != nil || !found.CarriedOut {
		t.Errorf("after the effect: %+v, %v, %v", found, ok, err)
	}
	if released, err := db.ReleaseKey(t.Context(), second.ID); released || err != nil {
		t.Errorf("released: %v, %v", released, err)
	}
	// What the slow one answers is not kept in the other's place.
	if err := db.FinishKey(t.Context(), idempotency.Record{Claim: first.Claim, Status: 500}); err != nil {
		t.Error(err)
	}
	if found, _, err := db.ClaimKey(t.Context(), claimOf(now), later, 10); err != nil || found.Status != 0 {
		t.Errorf("the answer is %+v, %v", found, err)
	}
}
