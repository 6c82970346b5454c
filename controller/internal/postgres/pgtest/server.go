package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"fairlead.dev/controller/internal/pgserver"
)

// EnvDSN names the environment variable for a server to use in place of the
// throw-away one.
const EnvDSN = "FAIRLEAD_TEST_DATABASE_URL"

// serverDSN returns how to reach the server, which answers.
func serverDSN(ctx context.Context) (string, error) {
	if dsn := os.Getenv(EnvDSN); dsn != "" {
		if err := answers(ctx, dsn); err != nil {
			return "", fmt.Errorf("the server that %s names: %w", EnvDSN, err)
		}
		return dsn, nil
	}
	dir, err := sharedDir()
	if err != nil {
		return "", err
	}
	if dsn, err := running(ctx, dir); dsn != "" || err != nil {
		return dsn, err
	}
	return launch(ctx, dir)
}

// sharedDir is where the shared server lives: the same for all test binaries
// of one user, whatever their TMPDIR, and nobody else's.
func sharedDir() (string, error) {
	dir := fmt.Sprintf("/tmp/fairlead-pgtest-%d", os.Geteuid())
	//nolint:gosec // the server's own account must pass through it
	if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || int(stat.Uid) != os.Geteuid() {
		return "", fmt.Errorf("%s is not a folder of user id %d: move it away, or set %s", dir, os.Geteuid(), EnvDSN)
	}
	return dir, nil
}

// running returns the shared server's DSN, or "" when there is none that
// answers.
func running(ctx context.Context, dir string) (string, error) {
	content, err := os.ReadFile(filepath.Join(dir, "dsn"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	dsn := strings.TrimSpace(string(content))
	err = answers(ctx, dsn)
	var answer *pgconn.PgError
	if errors.As(err, &answer) && strings.HasPrefix(answer.Code, "57P") {
		return "", nil // it starts or stops under another test binary, which holds the lock
	}
	if err == nil || ctx.Err() != nil || answer != nil {
		return dsn, err // there is a server, even if it said no: it must not be replaced
	}
	return "", nil
}

// launch starts the shared server, unless another test binary is faster, and
// leaves it running.
func launch(ctx context.Context, dir string) (string, error) {
	lock, err := os.OpenFile(filepath.Join(dir, "start.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }() // lets go of it
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("wait for another test binary to start the server: %w", err)
	}
	if dsn, err := running(ctx, dir); dsn != "" || err != nil {
		return dsn, err
	}
	server, err := pgserver.Start(ctx, pgserver.Config{
		StateDir: dir,
		Log:      slog.New(slog.DiscardHandler),
		Settings: map[string]string{
			"fsync":              "off",
			"synchronous_commit": "off",
			"full_page_writes":   "off",
			"max_connections":    "500",
			"autovacuum":         "off",
			"timezone":           zone,
		},
	})
	if err != nil {
		return "", err
	}
	defer server.Release()
	unfinished := filepath.Join(dir, "dsn.new")
	if err := os.WriteFile(unfinished, []byte(server.DSN()+"\n"), 0o600); err != nil {
		return "", err
	}
	return server.DSN(), os.Rename(unfinished, filepath.Join(dir, "dsn"))
}

func answers(ctx context.Context, dsn string) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}
