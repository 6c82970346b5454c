package postgres_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/postgres/pgtest"
	"fairlead.dev/shared/apperr"
)

func TestWhatTheServerSaysBecomesAKindAndAField(t *testing.T) {
	db := pgtest.New(t)
	for _, sql := range []string{
		`CREATE TABLE boats (id int PRIMARY KEY, name varchar(5), length int,
			CONSTRAINT boats_length_ck CHECK (length > 0))`,
		`CREATE UNIQUE INDEX boats_name_uq ON boats (name)`,
		`CREATE TABLE oars (boat_id int, CONSTRAINT oars_boat_fk FOREIGN KEY (boat_id) REFERENCES boats (id))`,
		`INSERT INTO boats VALUES (1, 'Argo', 9)`,
		`INSERT INTO oars VALUES (1)`,
	} {
		if err := postgres.In(db, t.Context()).Exec(sql).Error; err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	tests := map[string]struct {
		sql   string
		args  []any
		kind  apperr.Kind
		field string
	}{
		"duplicate":            {`INSERT INTO boats VALUES (2, 'Argo', 9)`, nil, apperr.Conflict, "name"},
		"duplicate id":         {`INSERT INTO boats VALUES (1, 'Ark', 9)`, nil, apperr.Conflict, ""},
		"refers to nothing":    {`INSERT INTO oars VALUES (2)`, nil, apperr.Conflict, "boat"},
		"still referred to":    {`DELETE FROM boats`, nil, apperr.Conflict, "boat"},
		"check":                {`INSERT INTO boats VALUES (2, 'Ark', -1)`, nil, apperr.Invalid, "length"},
		"too long":             {`INSERT INTO boats VALUES (2, 'Rainbow', 9)`, nil, apperr.Invalid, ""},
		"zero byte":            {`INSERT INTO boats VALUES (2, ?, 9)`, []any{"a\x00"}, apperr.Invalid, ""},
		"out of range":         {`SELECT 3000000000::int`, nil, apperr.Invalid, ""},
		"no such column (bug)": {`SELECT nothing FROM boats`, nil, apperr.Internal, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cause := postgres.In(db, t.Context()).Exec(test.sql, test.args...).Error
			err := postgres.MapError(cause, "launch %s", "a boat")
			if apperr.KindOf(err) != test.kind || !errors.Is(err, cause) {
				t.Fatalf("error %v is %v, want %v", err, apperr.KindOf(err), test.kind)
			}
			if !strings.Contains(err.Error(), "launch a boat") {
				t.Errorf("error %v does not say what was attempted", err)
			}
			var mapped *apperr.Error
			if errors.As(err, &mapped) && mapped.Field != test.field {
				t.Errorf("field %q, want %q", mapped.Field, test.field)
			}
		})
	}
	cause := postgres.In(db, t.Context()).Exec(`DELETE FROM boats`).Error
	if !postgres.Violates(cause, "oars_boat_fk") || postgres.Violates(cause, "boats_name_uq") {
		t.Errorf("%v: the violated constraint is not recognised by its name", cause)
	}
}

func TestWhatHappensAroundTheServerBecomesAKind(t *testing.T) {
	known := apperr.New(apperr.Precondition, "not now")
	tests := map[string]struct {
		err  error
		kind apperr.Kind
	}{
		"no row":            {gorm.ErrRecordNotFound, apperr.NotFound},
		"broken connection": {driver.ErrBadConn, apperr.Unavailable},
		"deadline":          {context.DeadlineExceeded, apperr.Unavailable},
		"caller left":       {context.Canceled, apperr.Internal},
		"shut down":         {&pgconn.PgError{Code: "57P01"}, apperr.Unavailable},
		"too many":          {&pgconn.PgError{Code: "53300"}, apperr.Unavailable},
		"standby":           {&pgconn.PgError{Code: "25006"}, apperr.Unavailable},
		"has a kind":        {fmt.Errorf("outer: %w", known), apperr.Precondition},
		"anything else":     {errors.New("surprise"), apperr.Internal},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := postgres.MapError(test.err, "try")
			if apperr.KindOf(err) != test.kind || !errors.Is(err, test.err) {
				t.Fatalf("error %v is %v, want %v", err, apperr.KindOf(err), test.kind)
			}
		})
	}
	if err := postgres.MapError(nil, "try"); err != nil {
		t.Fatalf("no error became %v", err)
	}
}

func TestConnectionThatTheServerEndsIsUnavailable(t *testing.T) {
	db := pgtest.New(t)
	err := db.InTx(t.Context(), func(ctx context.Context) error {
		return postgres.In(db, ctx).Exec(`SELECT pg_terminate_backend(pg_backend_pid())`).Error
	})
	if !apperr.Is(err, apperr.Unavailable) {
		t.Fatalf("error %v is %v, want unavailable", err, apperr.KindOf(err))
	}
	if err := db.Ping(t.Context()); err != nil {
		t.Fatalf("the pool does not recover: %v", err)
	}
}
