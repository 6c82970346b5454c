package postgres_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/postgres/pgtest"
	"fairlead.dev/shared/apperr"
)

// setting is a row of the one table these tests need.
type setting struct {
	Key   string `gorm:"primaryKey"`
	Value string
}

func TestTransactionIsAllOrNothing(t *testing.T) {
	failure := errors.New("changed my mind")
	tests := map[string]struct {
		end  func(cancel context.CancelFunc) error
		kept int64
	}{
		"nil commits":                 {func(context.CancelFunc) error { return nil }, 1},
		"an error undoes":             {func(context.CancelFunc) error { return failure }, 0},
		"the end of the context does": {func(cancel context.CancelFunc) error { cancel(); return nil }, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			db := pgtest.New(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := db.InTx(ctx, func(ctx context.Context) error {
				if err := postgres.In(db, ctx).Create(&setting{"a", "1"}).Error; err != nil {
					return err
				}
				return test.end(cancel)
			})
			if (err == nil) != (test.kept == 1) {
				t.Errorf("the transaction ended with %v", err)
			}
			if got := count(t, db, "a"); got != test.kept {
				t.Errorf("%d rows are there, want %d", got, test.kept)
			}
		})
	}
}

func TestPanicUndoesTheTransaction(t *testing.T) {
	db := pgtest.New(t)
	func() {
		defer func() { _ = recover() }()
		_ = db.InTx(t.Context(), func(ctx context.Context) error {
			if err := postgres.In(db, ctx).Create(&setting{"a", "1"}).Error; err != nil {
				t.Error(err)
			}
			panic("oh no")
		})
	}()
	if got := count(t, db, "a"); got != 0 {
		t.Fatalf("%d rows are there, want none", got)
	}
}

func TestTransactionInsideAnotherJoinsIt(t *testing.T) {
	db := pgtest.New(t)
	failure := errors.New("outer fails after inner")
	err := db.InTx(t.Context(), func(ctx context.Context) error {
		err := db.InTx(ctx, func(ctx context.Context) error {
			return postgres.In(db, ctx).Create(&setting{"a", "1"}).Error
		})
		if err != nil {
			return err
		}
		return failure
	})
	if !errors.Is(err, failure) {
		t.Fatalf("error %v, want %v", err, failure)
	}
	if got := count(t, db, "a"); got != 0 {
		t.Fatalf("%d rows are there, want none", got)
	}
}

func TestDeadlockIsTriedAgain(t *testing.T) {
	db := pgtest.New(t)
	rows := []setting{{"a", ""}, {"b", ""}}
	if err := postgres.In(db, t.Context()).Create(&rows).Error; err != nil {
		t.Fatal(err)
	}
	// Each locks one row, and only when both have, the other's.
	var met sync.WaitGroup
	met.Add(2)
	work := func(first, second string) error {
		arrived := sync.OnceFunc(func() { met.Done(); met.Wait() })
		return db.InTx(t.Context(), func(ctx context.Context) error {
			tx := postgres.In(db, ctx)
			if err := lock(tx, first); err != nil {
				return err
			}
			arrived()
			if err := lock(tx, second); err != nil {
				return err
			}
			return tx.Exec(`UPDATE settings SET value = value || 'x' WHERE key IN ('a', 'b')`).Error
		})
	}
	errs := make(chan error, 2)
	go func() { errs <- work("a", "b") }()
	go func() { errs <- work("b", "a") }()
	for range 2 {
		if err := <-errs; err != nil {
			t.Errorf("a transaction of the deadlock ended with %v", err)
		}
	}
	var values []string
	if err := postgres.In(db, t.Context()).Model(&setting{}).
		Where("key IN ?", []string{"a", "b"}).Pluck("value", &values).Error; err != nil {
		t.Fatal(err)
	}
	if len(values) != 2 || values[0] != "xx" || values[1] != "xx" {
		t.Fatalf("values are %q, want both transactions in both", values)
	}
}

func TestOnlyLostRacesAreTriedAgain(t *testing.T) {
	tests := map[string]struct {
		sql  string
		once bool
		kind apperr.Kind
	}{
		"serialization failure": {`DO $$ BEGIN RAISE SQLSTATE '40001'; END $$`, false, apperr.Unavailable},
		"deadlock":              {`DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$`, false, apperr.Unavailable},
		"duplicate":             {`INSERT INTO settings SELECT * FROM settings`, true, apperr.Conflict},
		"server going down":     {`DO $$ BEGIN RAISE SQLSTATE '57P01'; END $$`, true, apperr.Unavailable},
		"syntax error":          {`SELEC`, true, apperr.Internal},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			db := pgtest.New(t)
			tries := 0
			err := db.InTx(t.Context(), func(ctx context.Context) error {
				tries++
				return postgres.MapError(postgres.In(db, ctx).Exec(test.sql).Error, "try")
			})
			if (tries == 1) != test.once {
				t.Errorf("tried %d times", tries)
			}
			if !apperr.Is(err, test.kind) {
				t.Errorf("error %v is %v, want %v", err, apperr.KindOf(err), test.kind)
			}
		})
	}
}

func lock(tx *gorm.DB, key string) error {
	var row setting
	return tx.Clauses(clause.Locking{Strength: "UPDATE"}).First(&row, "key = ?", key).Error
}

func count(t *testing.T, db *postgres.DB, key string) int64 {
	t.Helper()
	var n int64
	if err := postgres.In(db, t.Context()).Model(&setting{}).Where("key = ?", key).Count(&n).Error; err != nil {
		t.Fatal(err)
	}
	return n
}
