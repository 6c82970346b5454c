package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

const (
	pidFileName  = "postmaster.pid"
	pidFileLimit = 8 << 10

	// orphanPatience is how long a leftover server may take to write its
	// checkpoint and leave before it is told to drop everything.
	orphanPatience = 30 * time.Second
	// quitPatience is how long it may take after that.
	quitPatience = 15 * time.Second

	pollInterval = 20 * time.Millisecond
)

// clearOrphan sees to what a killed controller left in dataDir: a server that
// is still running is stopped cleanly, a pid file without a server is removed.
//
// A running server could be adopted instead, and is not: as its parent we hear
// of its death at once, it runs with the settings and the version this
// controller means it to have, and transactions the dead controller left open
// are rolled back before anybody waits for their locks. A restart costs about
// a second, once, after a crash.
func clearOrphan(ctx context.Context, dataDir string, log *slog.Logger) error {
	pids, err := serversIn(dataDir)
	if err != nil {
		return fmt.Errorf("look for servers in %s: %w", dataDir, err)
	}
	if len(pids) > 0 {
		log.InfoContext(ctx, "stopping the PostgreSQL server an earlier controller left running", "pids", pids)
		if err := stopOrphan(ctx, dataDir, pids); err != nil {
			return err
		}
	}
	// Nobody works in the folder and, by the lock we hold, nobody is about to:
	// what the file says is history. PostgreSQL itself would refuse to start
	// when another program of the same user now has that process id.
	if err := os.Remove(filepath.Join(dataDir, pidFileName)); err == nil {
		log.InfoContext(ctx, "removed a stale PostgreSQL pid file", "folder", dataDir)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove stale pid file: %w", err)
	}
	return nil
}

// stopOrphan asks the postmaster to stop, then orders it to, and waits until
// no process is left in the folder. Without a postmaster, its backends are on
// their way out by themselves.
func stopOrphan(ctx context.Context, dataDir string, pids []int) error {
	postmaster, err := postmasterPID(dataDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	steps := []struct {
		signal   syscall.Signal
		patience time.Duration
	}{{syscall.SIGINT, orphanPatience}, {syscall.SIGQUIT, quitPatience}}
	for _, step := range steps {
		if slices.Contains(pids, postmaster) {
			if err := syscall.Kill(postmaster, step.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("stop the PostgreSQL server left running as process %d: %w", postmaster, err)
			}
		}
		if pids, err = waitGone(ctx, dataDir, step.patience); err != nil || len(pids) == 0 {
			return err
		}
	}
	return fmt.Errorf("PostgreSQL processes %v still work in %s and do not stop: end them and start again", pids, dataDir)
}

// waitGone waits until no server works in dataDir and returns those that
// still do after patience.
func waitGone(ctx context.Context, dataDir string, patience time.Duration) ([]int, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errImpatient)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		pids, err := serversIn(dataDir)
		if err != nil || len(pids) == 0 {
			return pids, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if err := context.Cause(ctx); !errors.Is(err, errImpatient) {
				return pids, fmt.Errorf("wait for PostgreSQL processes %v in %s to end: %w", pids, dataDir, err)
			}
			return pids, nil
		}
	}
}

var errImpatient = errors.New("waited long enough")

// postmasterPID reads the process id of the server that runs, or ran, in
// dataDir. It returns fs.ErrNotExist when none does.
func postmasterPID(dataDir string) (int, error) {
	content, err := os.ReadFile(filepath.Join(dataDir, pidFileName))
	if err != nil {
		return 0, err
	}
	pid, err := parsePID(content)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", filepath.Join(dataDir, pidFileName), err)
	}
	return pid, nil
}

// parsePID reads the first line of a pid file. A file that a crash left empty
// names nobody, like one that is not there.
func parsePID(content []byte) (int, error) {
	if len(content) > pidFileLimit {
		return 0, fmt.Errorf("%d bytes, a pid file has less than %d", len(content), pidFileLimit)
	}
	line, _, _ := bytes.Cut(content, []byte("\n"))
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return 0, fs.ErrNotExist
	}
	pid, err := strconv.Atoi(string(line))
	if err != nil {
		return 0, fmt.Errorf("first line %.40q: want a process id", line)
	}
	// A postmaster started alone by hand writes its id negated.
	if pid < 0 {
		pid = -pid
	}
	if pid <= 1 {
		return 0, fmt.Errorf("process id %d cannot be a server's", pid)
	}
	return pid, nil
}
