package pgserver_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

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

func TestStateFolderBehindAClosedOneIsHandedToTheServer(t *testing.T) {
	cfg := config(t)
	cfg.StateDir = filepath.Join(closedFolder(t, cfg), "state")
	dsn, controller := startInOtherProcess(t, cfg)
	execute(t, dsn, `CREATE TABLE kept (n int)`)
	if err := controller.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = controller.Wait() // says that it was killed
	orphan := postmaster(t, cfg)

	server := start(t, cfg)
	if now := postmaster(t, cfg); now == orphan {
		t.Fatalf("process %d still serves, want a new one", orphan)
	}
	if got := query(t, server.DSN(), `SELECT count(*)::text FROM kept`); got != "0" {
		t.Fatalf("the table has %s rows, want 0", got)
	}
	if err := syscall.Kill(postmaster(t, cfg), syscall.SIGHUP); err != nil { // reads its files again
		t.Fatal(err)
	}
	execute(t, server.DSN(), `CHECKPOINT`)
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
