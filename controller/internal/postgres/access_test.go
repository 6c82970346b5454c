package postgres_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/postgres/pgtest"
)

// TestWhatEndsARightIsTold changes, past the program, everything that decides
// who presents a token and what they are in a team.
func TestWhatEndsARightIsTold(t *testing.T) {
	dsn := pgtest.NewDSN(t)
	db, err := postgres.Open(t.Context(), postgres.Config{DSN: dsn, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	exec := func(statement string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	exec(`insert into users (id, email, name, password_hash, created_at, updated_at)
		values ('00000000-0000-0000-0000-000000000001', 'ann@example.com', 'Ann', '', now(), now())`)
	exec(`insert into teams (id, name, slug, created_at, updated_at) values ('00000000-0000-0000-0000-000000000002', 'Acme', 'acme', now(), now())`)
	exec(`insert into team_members (team_id, user_id, role, joined_at)
		values ('00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000001', 'owner', now())`)
	exec(`insert into access_tokens (id, user_id, kind, name, hash, created_at)
		values (gen_random_uuid(), '00000000-0000-0000-0000-000000000001', 'personal', 'x', '', now())`)

	told, ready := make(chan struct{}, 16), make(chan struct{}, 16)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- db.Listen(ctx, slog.New(slog.DiscardHandler), map[string]func(string){
			postgres.ChannelAccess: func(string) { told <- struct{}{} },
		}, func() { ready <- struct{}{} })
	}()
	t.Cleanup(func() { cancel(); <-ended })
	await := func(what string, c <-chan struct{}) {
		t.Helper()
		select {
		case <-c:
		case <-time.After(2 * time.Minute):
			t.Fatalf("nothing was told: %s", what)
		}
	}
	await("listening", ready)
	for _, statement := range []string{
		"update access_tokens set expires_at = now()", "delete from access_tokens",
		"update team_members set role = 'user'", "update users set name = 'Ann B.'",
		"update teams set slug = 'other'", "delete from team_members",
	} {
		exec(statement)
		await(statement, told)
	}
}
