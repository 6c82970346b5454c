package postgres_test

import (
	"bytes"
	"context"
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
		StatementTimeout: time.Second,
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

// TestReservedConnectionsDoNotWaitForOthers takes every connection of the pool.
func TestReservedConnectionsDoNotWaitForOthers(t *testing.T) {
	db, err := postgres.Open(t.Context(), postgres.Config{DSN: pgtest.NewDSN(t), Log: slog.New(slog.DiscardHandler), MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	ask := func(ctx context.Context) (pid int, err error) {
		err = postgres.In(db, ctx).Raw("select pg_backend_pid()").Scan(&pid).Error
		return pid, err
	}
	err = db.InTx(t.Context(), func(tx context.Context) error {
		own, err := ask(tx)
		if err != nil {
			return err
		}
		if pid, err := ask(postgres.Reserved(t.Context())); err != nil || pid == own {
			t.Errorf("reserved: connection %d, %v; the transaction's is %d", pid, err, own)
		}
		if pid, err := ask(postgres.Reserved(tx)); err != nil || pid != own { // what belongs to a transaction stays in it
			t.Errorf("reserved within the transaction: connection %d, %v; the transaction's is %d", pid, err, own)
		}
		hurried, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if pid, err := ask(hurried); err == nil {
			t.Errorf("there was another connection, %d, in a pool of one", pid)
		}
		return db.InTx(postgres.Reserved(t.Context()), func(ctx context.Context) error {
			pid, err := ask(ctx)
			if err == nil && pid == own {
				t.Error("another transaction has the same connection")
			}
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}
