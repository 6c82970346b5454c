package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

const (
	// superuser owns the databases; only the socket folder leads to it.
	superuser = "fairlead"

	unfinishedPrefix = "postgres.init-"

	outputLimit = 4 << 10
)

// dataMajor reads which major version made the data folder; 0 when there is
// no data yet. A folder with anything else in it is an error: it is somebody's.
func dataMajor(dataDir string) (int, error) {
	path := filepath.Join(dataDir, "PG_VERSION")
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		entries, err := os.ReadDir(dataDir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("look for data: %w", err)
		}
		if len(entries) > 0 {
			return 0, fmt.Errorf("folder %s has files but no PG_VERSION, so it is no PostgreSQL data folder: "+
				"move it away, or restore it from a backup; nothing was changed", dataDir)
		}
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read version of the data folder: %w", err)
	}
	return parseMajor(path, content)
}

func parseMajor(path string, content []byte) (int, error) {
	text := strings.TrimSpace(string(content))
	major, err := strconv.Atoi(text)
	if err != nil || major < minMajor || major > 1000 {
		return 0, fmt.Errorf("%s says %.20q: want a major version from %d on; nothing was changed", path, text, minMajor)
	}
	return major, nil
}

// initData makes the data folder. It appears under its name only when it is
// complete, so a crash half way leaves nothing that looks like data.
func initData(ctx context.Context, stateDir, dataDir string, a account, b binaries, log *slog.Logger) error {
	leftovers, _ := filepath.Glob(filepath.Join(stateDir, unfinishedPrefix+"*")) // the pattern is sound
	for _, dir := range leftovers {
		if err := os.RemoveAll(dir); err != nil {
			log.WarnContext(ctx, "could not remove an unfinished data folder", "folder", dir, "error", err)
		}
	}
	unfinished, err := os.MkdirTemp(stateDir, unfinishedPrefix+"*")
	if err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	if err := a.privateDir(unfinished); err != nil {
		return fmt.Errorf("prepare data folder: %w", err)
	}
	in, err := a.enter(ctx, unfinished, b)
	if err != nil {
		return errors.Join(err, os.RemoveAll(unfinished))
	}
	defer in.close()
	log.InfoContext(ctx, "making a PostgreSQL data folder", "folder", dataDir, "major", b.major)
	cmd := a.command(ctx, in, b.path("initdb"),
		"--pgdata="+in.name(),
		"--username="+superuser,
		"--auth-local=trust", // behind the socket folder's mode
		"--auth-host=reject",
		"--data-checksums",
		"--encoding=UTF8",
		// Byte order never changes with the C library, which would break
		// indexes on text; upper and lower case still follow Unicode.
		"--lc-collate=C",
		"--lc-ctype="+unicodeCtype(),
		"--lc-messages=C",
		"--no-instructions",
	)
	if out, err := cmd.CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("make data folder with %s: %w: %s", cmd.Path, err, tail(out, outputLimit)),
			os.RemoveAll(unfinished))
	}
	// An empty folder may stand in the place; rename replaces it, and only it.
	if err := os.Rename(unfinished, dataDir); err != nil {
		return fmt.Errorf("put data folder in place: %w", err)
	}
	return syncDir(stateDir)
}

// unicodeCtype names the character class locale that knows Unicode and no
// language.
func unicodeCtype() string {
	if runtime.GOOS == "darwin" {
		return "UTF-8"
	}
	return "C.UTF-8"
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open folder to sync it: %w", err)
	}
	defer func() { _ = dir.Close() }()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}

// tail returns the last bytes of a program's output, at most limit.
func tail(output []byte, limit int) string {
	if len(output) > limit {
		output = output[len(output)-limit:]
	}
	return strings.TrimSpace(string(output))
}
