package postgres_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/postgres/pgtest"
	"fairlead.dev/shared/apperr"
)

func TestTimesComeBackInUTCAsTheyWentIn(t *testing.T) {
	db := pgtest.New(t)
	now := postgres.In(db, t.Context()).NowFunc()

	var got struct {
		At   time.Time
		Text string
	}
	err := postgres.In(db, t.Context()).
		Raw(`SELECT ?::timestamptz AS at, (?::timestamptz)::text AS text`, now, now).Scan(&got).Error
	if err != nil {
		t.Fatal(err)
	}
	if got.At != now { // location and all
		t.Errorf("wrote %v, read %v", now, got.At)
	}
	if !strings.HasSuffix(got.Text, "+00") {
		t.Errorf("the session sees the time as %s, want it in UTC", got.Text)
	}
}

func TestServerThatIsNotThereIsUnavailable(t *testing.T) {
	_, err := postgres.Open(t.Context(), postgres.Config{
		DSN: "host=" + t.TempDir() + " user=nobody password=hunter2",
		Log: slog.New(slog.DiscardHandler),
	})
	if !apperr.Is(err, apperr.Unavailable) {
		t.Fatalf("error %v, want an unavailable one", err)
	}
}

func TestBadAddressIsToldWithoutItsPassword(t *testing.T) {
	_, err := postgres.Open(t.Context(), postgres.Config{DSN: "postgres://me:hunter2@db:port/x"})
	if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "DATABASE_URL") {
		t.Fatalf("error %v, want one about DATABASE_URL, without the password", err)
	}
}

func TestStatementTimeoutEndsAStatement(t *testing.T) {
	db, err := postgres.Open(t.Context(), postgres.Config{
		DSN:              pgtest.NewDSN(t),
		Log:              slog.New(slog.DiscardHandler),
		StatementTimeout: 10 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	err = postgres.MapError(postgres.In(db, t.Context()).Exec(`SELECT pg_sleep(60)`).Error, "dream")
	if !apperr.Is(err, apperr.Unavailable) {
		t.Fatalf("error %v, want an unavailable one", err)
	}
}

func TestLogShowsSlowAndFailedStatementsWithoutValues(t *testing.T) {
	var log bytes.Buffer
	db, err := postgres.Open(t.Context(), postgres.Config{
		DSN: pgtest.NewDSN(t),
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := postgres.In(db, t.Context()).Exec(`SELECT pg_sleep(0.6), ?::text`, "hunter2").Error; err != nil {
		t.Fatal(err)
	}
	if err := postgres.In(db, t.Context()).Exec(`SELECT no_such_column, ?::text`, "hunter2").Error; err == nil {
		t.Fatal("a statement on no column succeeded")
	}
	for _, want := range []string{"slow query", "pg_sleep", "query failed", "no_such_column"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if strings.Contains(log.String(), "hunter2") {
		t.Error("the log shows a value")
	}
	if t.Failed() {
		t.Log(log.String())
	}
}
