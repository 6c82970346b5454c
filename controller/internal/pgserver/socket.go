package pgserver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

const (
	socketFile = ".s.PGSQL.5432"

	// maxSocketPath is what fits into sockaddr_un with its final zero on
	// every system we run on: Linux takes 107 bytes, macOS and the BSDs 103.
	maxSocketPath = 103
)

// socketDir makes the folder of the server's only listener and returns it. It
// is closed to everyone but the server's account, which is what guards the
// database: whoever gets in needs no password. It lies in the state folder,
// or, where that path is too long for a socket or closed to the account, in a
// short folder that the log names.
func socketDir(ctx context.Context, stateDir string, reachable bool, a account, log *slog.Logger) (string, error) {
	dirs := socketDirs(stateDir)
	dir := dirs[0]
	// A comma separates folders in the server's setting and in a DSN.
	if !reachable || len(filepath.Join(dir, socketFile)) > maxSocketPath || strings.Contains(dir, ",") {
		unfit := dir
		dir = dirs[1]
		log.InfoContext(ctx, "the state folder is no place for a socket, PostgreSQL listens elsewhere",
			"unfit", unfit, "folder", dir)
	}
	if err := a.privateDir(dir); err != nil {
		return "", fmt.Errorf("prepare socket folder: %w", err)
	}
	// What a killed server left. Like the pid file, the lock would stop the
	// next one when another program has the process id in it.
	for _, name := range []string{socketFile, socketFile + ".lock"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("remove stale socket: %w", err)
		}
	}
	return dir, nil
}

// socketDirs are where the socket of a state folder can be: in it, or in a
// short folder.
func socketDirs(stateDir string) []string {
	sum := sha256.Sum256([]byte(stateDir))
	return []string{
		filepath.Join(stateDir, "postgres.run"),
		filepath.Join(shortDir(), "fairlead-"+hex.EncodeToString(sum[:6])),
	}
}

// shortDir is where short-lived files with short names go.
func shortDir() string {
	if os.Geteuid() == 0 {
		if info, err := os.Stat("/run"); err == nil && info.IsDir() {
			return "/run"
		}
	}
	// Not os.TempDir: TMPDIR can be as long as any path.
	return "/tmp"
}
