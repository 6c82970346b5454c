package postgres_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"flag"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"fairlead.dev/controller/internal/pgserver"
	"fairlead.dev/controller/internal/postgres/pgtest"
	"fairlead.dev/migrations"
)

var update = flag.Bool("update", false, "write golden files instead of comparing with them")

const goldenSchema = "../../../migrations/schema.sql"

func TestMigrationsMakeTheSchemaOfAFreshDatabase(t *testing.T) {
	dsn := pgtest.NewEmptyDSN(t)
	db := pool(t, dsn)
	before, err := migrations.Version(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if before.Current() || before.Last != "" || before.Pending == 0 {
		t.Errorf("an empty database says %+v", before)
	}
	if dump := schema(t, dsn); dump != "" {
		t.Errorf("asking for the version changed the database:\n%s", dump)
	}
	up(t, db)
	after, err := migrations.Version(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if !after.Current() || after.Last == "" {
		t.Errorf("a migrated database says %+v", after)
	}

	got := schema(t, dsn)
	if *update {
		if err := os.WriteFile(goldenSchema, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenSchema)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the migrations make another schema than %s says; if that is meant, run the test with -update, or make gen", goldenSchema)
		t.Log(difference(string(want), got))
	}
}

func TestMigrationsRunOnceHoweverManyStartTogether(t *testing.T) {
	dsn := pgtest.NewEmptyDSN(t)
	const controllers = 4
	errs := make(chan error, controllers)
	for range controllers {
		db := pool(t, dsn)
		go func() { errs <- migrations.Up(t.Context(), db) }()
	}
	for range controllers {
		if err := <-errs; err != nil {
			t.Errorf("one of them failed: %v", err)
		}
	}
	db := pool(t, dsn)
	var twice int
	err := db.QueryRowContext(t.Context(),
		`SELECT count(*) - count(DISTINCT version_id) FROM schema_migrations`).Scan(&twice)
	if err != nil {
		t.Fatal(err)
	}
	if twice != 0 {
		t.Errorf("%d migrations ran twice", twice)
	}
}

func TestMigrationsCanBeTakenBackAndAppliedAgain(t *testing.T) {
	dsn := pgtest.NewEmptyDSN(t)
	db := pool(t, dsn)
	up(t, db)
	first := schema(t, dsn)
	if err := migrations.DownTo(t.Context(), db, 0); err != nil {
		t.Fatal(err)
	}
	if left := schema(t, dsn); left != "" {
		t.Errorf("taking everything back leaves\n%s", left)
	}
	up(t, db)
	if second := schema(t, dsn); second != first {
		t.Errorf("the second time makes another schema:\n%s", difference(first, second))
	}
}

func TestDatabaseOfANewerControllerIsRefused(t *testing.T) {
	db := pool(t, pgtest.NewDSN(t))
	if _, err := db.ExecContext(t.Context(),
		`INSERT INTO schema_migrations (version_id, is_applied) VALUES (99999, true)`); err != nil {
		t.Fatal(err)
	}
	for name, act := range map[string]func(context.Context, *sql.DB) error{
		"up":   migrations.Up,
		"down": func(ctx context.Context, db *sql.DB) error { return migrations.DownTo(ctx, db, 0) },
	} {
		err := act(t.Context(), db)
		if !errors.Is(err, migrations.ErrNewer) || !strings.Contains(err.Error(), "99999") {
			t.Errorf("%s: error %v, want ErrNewer that names 99999", name, err)
		}
	}
	version, err := migrations.Version(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if version.Current() || !version.Newer || version.Last != "99999" {
		t.Errorf("the version is %+v, want a newer one, 99999", version)
	}
}

func pool(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	db := stdlib.OpenDB(*cfg)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func up(t *testing.T, db *sql.DB) {
	t.Helper()
	if err := migrations.Up(t.Context(), db); err != nil {
		t.Fatal(err)
	}
}

// schema dumps the schema without what differs between versions of pg_dump
// and without the table that records migrations.
func schema(t *testing.T, dsn string) string {
	t.Helper()
	program, err := pgserver.ClientProgram(t.Context(), "pg_dump")
	if err != nil {
		t.Fatal(err)
	}
	// The environment, not argv: the DSN may have a password in it.
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "--schema-only", "--no-owner", "--no-privileges",
		"--exclude-table="+migrations.Table, "--exclude-table="+migrations.Table+"_id_seq")
	cmd.Env = append(slices.Clone(os.Environ()), "PGHOST="+cfg.Host, "PGPORT="+strconv.Itoa(int(cfg.Port)), "PGUSER="+cfg.User,
		"PGPASSWORD="+cfg.Password, "PGDATABASE="+cfg.Database)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", program, err, &complaint)
	}
	noise := regexp.MustCompile(`(?m)^(--.*|SET .*;|SELECT pg_catalog\.set_config.*|\\(un)?restrict .*)\n`)
	text := noise.ReplaceAllString(string(out), "")
	text = strings.TrimSpace(regexp.MustCompile(`\n{2,}`).ReplaceAllString(text, "\n\n"))
	if text == "" {
		return ""
	}
	return text + "\n"
}

// difference lists the lines that only one of the texts has.
func difference(want, got string) string {
	wanted, have := strings.Split(want, "\n"), strings.Split(got, "\n")
	var out strings.Builder
	for _, line := range wanted {
		if !slices.Contains(have, line) {
			out.WriteString("- " + line + "\n")
		}
	}
	for _, line := range have {
		if !slices.Contains(wanted, line) {
			out.WriteString("+ " + line + "\n")
		}
	}
	return out.String()
}
