package pgserver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fairlead.dev/controller/internal/pgserver"
)

// patience bounds every wait in these tests.
const patience = 2 * time.Minute

func TestFirstStartMakesADatabaseAndARestartKeepsItsData(t *testing.T) {
	cfg := config(t)

	first := start(t, cfg)
	execute(t, first.DSN(), `CREATE TABLE kept (n int)`)
	execute(t, first.DSN(), `INSERT INTO kept VALUES (42)`)
	stop(t, first)
	if err := first.Err(); err != nil {
		t.Fatalf("a server that was stopped says it failed: %v", err)
	}

	second := start(t, cfg)
	if got := query(t, second.DSN(), `SELECT n::text FROM kept`); got != "42" {
		t.Fatalf("after a restart the row is %q, want 42", got)
	}
}

func TestServerIsOursAlone(t *testing.T) {
	cfg := config(t)
	server := start(t, cfg)

	for setting, want := range map[string]string{
		"listen_addresses": "",
		"data_checksums":   "on",
		"server_encoding":  "UTF8",
		"TimeZone":         "UTC",
	} {
		if got := query(t, server.DSN(), `SHOW `+setting); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	if got := query(t, server.DSN(), `SELECT current_database()`); got != "fairlead" {
		t.Errorf("the DSN leads to database %q, want fairlead", got)
	}
	for _, name := range []string{"postgres", "postgres.run"} {
		info, err := os.Stat(filepath.Join(cfg.StateDir, name))
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o700 {
			t.Errorf("%s has mode %o, want 700", name, mode)
		}
		if owner := info.Sys().(*syscall.Stat_t).Uid; owner == 0 {
			t.Errorf("%s belongs to root, want a user without rights", name)
		}
	}
}

func TestServersLogGoesToAFileAndToDebug(t *testing.T) {
	cfg := config(t)
	var debug bytes.Buffer
	cfg.Log = slog.New(slog.NewTextHandler(&debug, &slog.HandlerOptions{Level: slog.LevelDebug}))
	server := start(t, cfg)
	stop(t, server) // after this, nothing is written any more
	file, err := os.ReadFile(filepath.Join(cfg.StateDir, "postgres.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"ready to accept connections", "database system is shut down"} {
		if !strings.Contains(string(file), line) {
			t.Errorf("the file lacks %q:\n%s", line, file)
		}
		if !strings.Contains(debug.String(), line) {
			t.Errorf("the log lacks %q:\n%s", line, &debug)
		}
	}
}

func TestLargeLogIsSetAside(t *testing.T) {
	cfg := config(t)
	path := filepath.Join(cfg.StateDir, "postgres.log")
	if err := os.WriteFile(path, bytes.Repeat([]byte("old line\n"), 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, cfg)
	for name, old := range map[string]bool{path: false, path + ".1": true} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(content, []byte("old line")) != old {
			t.Errorf("%s has the old lines: %v, want %v", name, !old, old)
		}
	}
}

func TestStoppingTwiceIsNoError(t *testing.T) {
	server := start(t, config(t))
	stop(t, server)
	stop(t, server)
}

func TestStopEndsOpenConnections(t *testing.T) {
	server := start(t, config(t))
	connect(t, server.DSN())
	stop(t, server)
}

func TestStopWithoutTimeQuitsAndTheNextStartRecovers(t *testing.T) {
	cfg := config(t)
	first := start(t, cfg)
	execute(t, first.DSN(), `CREATE TABLE kept (n int)`)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := first.Stop(ended); !errors.Is(err, context.Canceled) {
		t.Fatalf("a stop without time returned %v, want one that says so", err)
	}

	second := start(t, cfg)
	if got := query(t, second.DSN(), `SELECT count(*)::text FROM kept`); got != "0" {
		t.Fatalf("after recovery the table has %s rows, want 0", got)
	}
}

func TestDeathOfTheServerIsTold(t *testing.T) {
	cfg := config(t)
	server := start(t, cfg)
	if err := syscall.Kill(postmaster(t, cfg), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-server.Done():
	case <-time.After(patience):
		t.Fatal("the server was killed and Done is still open")
	}
	if err := server.Err(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("Err is %v, want one that says it was killed", err)
	}
	stop(t, server)

	// Its backends may take a moment to notice; the next start waits for them.
	start(t, cfg)
}

func TestSecondControllerOnTheSameFolderIsRefused(t *testing.T) {
	cfg := config(t)
	first := start(t, cfg)
	_, err := pgserver.Start(t.Context(), cfg)
	wantError(t, err, "in use by another controller", strconv.Itoa(os.Getpid()), "FAIRLEAD_STATE_DIR")
	if got := query(t, first.DSN(), `SELECT 1::text`); got != "1" {
		t.Fatalf("the first server answered %q, want 1", got)
	}
}

func TestKilledControllerLeavesAServerThatTheNextStartReplaces(t *testing.T) {
	cfg := config(t)
	dsn, controller := startInOtherProcess(t, cfg)
	execute(t, dsn, `CREATE TABLE kept (n int)`)
	execute(t, dsn, `INSERT INTO kept VALUES (7)`)
	orphan := postmaster(t, cfg)
	old := connect(t, dsn)

	if err := controller.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = controller.Wait() // says that it was killed
	if got := query(t, dsn, `SELECT n::text FROM kept`); got != "7" {
		t.Fatalf("without its controller the server answered %q, want 7", got)
	}

	server := start(t, cfg)
	if now := postmaster(t, cfg); now == orphan {
		t.Fatalf("process %d still serves, want a new one", orphan)
	}
	if err := old.Ping(t.Context()); err == nil {
		t.Fatalf("the old server, process %d, still answers", orphan)
	}
	if got := query(t, server.DSN(), `SELECT n::text FROM kept`); got != "7" {
		t.Fatalf("the row is %q, want 7", got)
	}
}

func TestStalePidFileIsDealtWith(t *testing.T) {
	// A process that is alive, of the server's user, and no server: the one
	// PostgreSQL itself cannot tell from a server.
	cfg := config(t)
	stop(t, start(t, cfg))
	info, err := os.Stat(filepath.Join(cfg.StateDir, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	other := exec.CommandContext(t.Context(), "sleep", "1000")
	if os.Geteuid() == 0 {
		stat := info.Sys().(*syscall.Stat_t)
		other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stat.Uid, Gid: stat.Gid}}
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	})
	ended := exec.CommandContext(t.Context(), "true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}

	for name, first := range map[string]string{
		"process has ended":                 strconv.Itoa(ended.Process.Pid),
		"process id belongs to another now": strconv.Itoa(other.Process.Pid),
		"file is empty":                     "",
		"file is garbage":                   "\x00\xffgarbage",
	} {
		t.Run(name, func(t *testing.T) {
			dataDir := filepath.Join(cfg.StateDir, "postgres")
			text := first + "\n" + dataDir + "\n1700000000\n5432\n" + cfg.StateDir + "/postgres.run\n\n"
			socketDir := filepath.Join(cfg.StateDir, "postgres.run")
			if err := os.MkdirAll(socketDir, 0o700); err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{
				filepath.Join(dataDir, "postmaster.pid"),
				filepath.Join(socketDir, ".s.PGSQL.5432.lock"),
			} {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			server := start(t, cfg)
			stop(t, server)
			if err := other.Process.Signal(syscall.Signal(0)); err != nil {
				t.Fatalf("the other program was hurt: %v", err)
			}
		})
	}
}

func TestPathTooLongForASocketFallsBackToAShortFolder(t *testing.T) {
	cfg := config(t)
	cfg.StateDir = filepath.Join(cfg.StateDir, strings.Repeat("long,", 20))
	server := start(t, cfg)
	if got := query(t, server.DSN(), `SHOW unix_socket_directories`); len(got) > 60 || strings.Contains(got, "long") {
		t.Fatalf("the socket is in %s, want a short folder", got)
	}
}

func TestStateFolderBehindAClosedOneIsNamed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: the server runs as this user, and no folder is closed to it alone")
	}
	cfg := config(t)
	closed := filepath.Join(cfg.StateDir, "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	cfg.StateDir = filepath.Join(closed, "state")
	_, err := pgserver.Start(t.Context(), cfg)
	wantError(t, err, "cannot enter "+closed+" ", "chmod o+x "+closed, "FAIRLEAD_STATE_DIR")
}

func TestNoBinariesIsOneClearError(t *testing.T) {
	cfg := config(t)
	cfg.BinDirs = []string{}
	t.Setenv("PATH", t.TempDir())
	_, err := pgserver.Start(t.Context(), cfg)
	if !errors.Is(err, pgserver.ErrNoBinaries) {
		t.Fatalf("error %v, want ErrNoBinaries", err)
	}
	wantError(t, err, "apt-get install postgresql", "DATABASE_URL")
}

func TestOldBinariesAreNotUsed(t *testing.T) {
	cfg := config(t)
	old := t.TempDir()
	cfg.BinDirs = []string{old}
	t.Setenv("PATH", "")
	program(t, old, "initdb", "exit 1")
	program(t, old, "postgres", `echo "postgres (PostgreSQL) 9.6.24"`)
	_, err := pgserver.Start(t.Context(), cfg)
	wantError(t, err, "found 9, which is too old", "apt-get install postgresql")
}

func TestForeignFoldersAreLeftAlone(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		want  string
	}{
		"data of another major": {map[string]string{"PG_VERSION": "99\n"}, "made by PostgreSQL 99"},
		"broken version":        {map[string]string{"PG_VERSION": "x"}, "want a major version"},
		"something else":        {map[string]string{"thesis.txt": "years of work"}, "no PostgreSQL data folder"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := config(t)
			dataDir := filepath.Join(cfg.StateDir, "postgres")
			if err := os.Mkdir(dataDir, 0o755); err != nil {
				t.Fatal(err)
			}
			for file, content := range test.files {
				if err := os.WriteFile(filepath.Join(dataDir, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := pgserver.Start(t.Context(), cfg)
			wantError(t, err, test.want, dataDir, "nothing was changed")
			for file, content := range test.files {
				if got, err := os.ReadFile(filepath.Join(dataDir, file)); err != nil || string(got) != content {
					t.Errorf("%s is now %q (%v)", file, got, err)
				}
			}
		})
	}
}

func TestUnfinishedDataFolderIsMadeAnew(t *testing.T) {
	cfg := config(t)
	unfinished := filepath.Join(cfg.StateDir, "postgres.init-123")
	if err := os.MkdirAll(filepath.Join(unfinished, "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	start(t, cfg)
	if _, err := os.Stat(unfinished); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("%s is still there (%v)", unfinished, err)
	}
}

func TestFailedStartShowsTheServersOwnWords(t *testing.T) {
	cfg := config(t)
	cfg.Settings["shared_buffers"] = "many"
	_, err := pgserver.Start(t.Context(), cfg)
	wantError(t, err, "shared_buffers")
}

// config is a configuration on a folder the server's account can reach, which
// t.TempDir is not: Go closes it to other users.
func config(t *testing.T) pgserver.Config {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pgserver-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return pgserver.Config{
		StateDir: dir,
		Log:      slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
		Settings: map[string]string{"fsync": "off", "shared_buffers": "16MB"},
	}
}

func start(t *testing.T, cfg pgserver.Config) *pgserver.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	server, err := pgserver.Start(ctx, cfg)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() { stop(t, server) })
	return server
}

func stop(t *testing.T, server *pgserver.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	if err := server.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func execute(t *testing.T, dsn, sql string) {
	t.Helper()
	conn := connect(t, dsn)
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func query(t *testing.T, dsn, sql string) string {
	t.Helper()
	conn := connect(t, dsn)
	var answer string
	if err := conn.QueryRow(t.Context(), sql).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return answer
}

// postmaster reads the running server's process id.
func postmaster(t *testing.T, cfg pgserver.Config) int {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(cfg.StateDir, "postgres", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.SplitN(string(content), "\n", 2)[0])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v, want it to say %q", err, part)
		}
	}
}

func program(t *testing.T, dir, name, script string) {
	t.Helper()
	text := fmt.Sprintf("#!/bin/sh\n%s\n", script)
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}
