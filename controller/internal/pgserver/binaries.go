package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"
)

const (
	// minMajor is the oldest major version the controller's schema is tested
	// with.
	minMajor = 14

	versionTimeout = 10 * time.Second
)

// ErrNoBinaries says that this machine has no usable PostgreSQL server.
var ErrNoBinaries = errors.New("no PostgreSQL server found on this machine")

// defaultBinDirs are the folders, beyond PATH, where distributions put the
// server: they keep it off PATH so that several majors can live side by side.
func defaultBinDirs() []string {
	return []string{
		"/usr/lib/postgresql/*/bin",          // Debian, Ubuntu
		"/usr/pgsql-*/bin",                   // PostgreSQL's own RPMs
		"/usr/lib/postgresql*/bin",           // openSUSE
		"/usr/libexec/postgresql*",           // Alpine
		"/usr/bin",                           // Fedora, Arch
		"/usr/local/pgsql/bin",               // built from source
		"/usr/local/bin",                     // FreeBSD, container images
		"/usr/local/opt/postgresql@*/bin",    // Homebrew on Intel
		"/opt/homebrew/opt/postgresql@*/bin", // Homebrew on Apple silicon
	}
}

// binaries is one installed PostgreSQL server.
type binaries struct {
	dir   string
	major int
}

func (b binaries) path(program string) string { return filepath.Join(b.dir, program) }

// findBinaries lists the installed servers: the one on PATH first, because
// somebody chose it, then the others, newest first. It returns ErrNoBinaries
// when none is new enough.
func findBinaries(ctx context.Context, patterns []string) ([]binaries, error) {
	var found []binaries
	var tooOld []int
	seen := make(map[string]bool)
	add := func(dir string) {
		dir, err := filepath.EvalSymlinks(dir)
		if err != nil || seen[dir] {
			return
		}
		seen[dir] = true
		major, err := serverMajor(ctx, dir)
		switch {
		case err != nil: // a client-only or a broken installation
		case major < minMajor:
			tooOld = append(tooOld, major)
		default:
			found = append(found, binaries{dir: dir, major: major})
		}
	}
	if program, err := exec.LookPath("postgres"); err == nil {
		if program, err = filepath.EvalSymlinks(program); err == nil {
			add(filepath.Dir(program))
		}
	}
	onPath := len(found)
	for _, pattern := range patterns {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("folder pattern %q: %w", pattern, err)
		}
		for _, dir := range dirs {
			add(dir)
		}
	}
	slices.SortStableFunc(found[onPath:], func(a, b binaries) int { return b.major - a.major })
	if len(found) == 0 {
		return nil, noBinaries(tooOld)
	}
	return found, nil
}

func noBinaries(tooOld []int) error {
	old := ""
	if len(tooOld) > 0 {
		old = fmt.Sprintf(" (found %d, which is too old)", slices.Max(tooOld))
	}
	return fmt.Errorf("%w%s: install PostgreSQL %d or newer (apt-get install postgresql, "+
		"dnf install postgresql-server, apk add postgresql, brew install postgresql), "+
		"or set DATABASE_URL to a server of your own", ErrNoBinaries, old, minMajor)
}

// versionLine matches "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)".
var versionLine = regexp.MustCompile(`^postgres \(PostgreSQL\) (\d{1,4})\D`)

// serverMajor asks the server in dir for its major version. It fails unless
// everything needed to make and run a database is there.
func serverMajor(ctx context.Context, dir string) (int, error) {
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return 0, err
	}
	return parseVersion(string(out))
}

func parseVersion(line string) (int, error) {
	match := versionLine.FindStringSubmatch(line)
	if match == nil {
		return 0, fmt.Errorf("server version %.80q: want \"postgres (PostgreSQL) <major>...\"", line)
	}
	return strconv.Atoi(match[1])
}

// forMajor picks the server that can read a data folder of the given major
// version: exactly that one.
func forMajor(installed []binaries, major int, dataDir string) (binaries, error) {
	var majors []int
	for _, b := range installed {
		if b.major == major {
			return b, nil
		}
		majors = append(majors, b.major)
	}
	return binaries{}, fmt.Errorf("data folder %s was made by PostgreSQL %d, but only %v is installed: "+
		"install PostgreSQL %d again (apt-get install postgresql-%d), or move the data with pg_upgrade or pg_dump; "+
		"nothing was changed", dataDir, major, majors, major, major)
}

// ClientProgram finds a program that came with the newest installed server,
// such as pg_dump, which must not be older than the server it talks to.
func ClientProgram(ctx context.Context, name string) (string, error) {
	installed, err := findBinaries(ctx, defaultBinDirs())
	if err != nil {
		return "", err
	}
	newest := slices.MaxFunc(installed, func(a, b binaries) int { return a.major - b.major })
	path := newest.path(name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find %s of PostgreSQL %d: %w", name, newest.major, err)
	}
	return path, nil
}
