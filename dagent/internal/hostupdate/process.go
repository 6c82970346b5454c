package hostupdate

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"fairlead.dev/shared/apperr"
)

// look is how often processes that were asked to end are looked at, grace how long
// they may take.
const (
	look  = 100 * time.Millisecond
	grace = 10 * time.Second
)

// running returns the processes of a build, this one aside. What counts is the
// file that runs, not what a process calls itself.
func running(program string) ([]int, error) {
	file, err := os.Stat(program)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		own, err := os.Stat(filepath.Join("/proc", entry.Name(), "exe"))
		if err == nil && os.SameFile(own, file) { // it may have ended, or be a kernel's
			found = append(found, pid)
		}
	}
	return found, nil
}

// end asks the processes of a build to end, and makes them after a while.
func end(ctx context.Context, program string) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	late := time.After(grace)
	signal := syscall.SIGTERM
	asked := map[int]syscall.Signal{}
	for {
		left, err := running(program)
		if err != nil {
			return err
		}
		if len(left) == 0 {
			return nil
		}
		for _, pid := range left {
			if asked[pid] == signal {
				continue
			}
			asked[pid] = signal
			if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
				return apperr.Wrap(apperr.Internal, err, "end the process %d", pid)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
			signal = syscall.SIGKILL
		case <-tick.C:
		}
	}
}
