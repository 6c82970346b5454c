package pgserver

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// serversIn lists the PostgreSQL processes that work in dataDir. Every one of
// them, postmaster and backends, has the data folder as its working folder
// for life, which a process id from a stale file, reused by some other
// program, has not.
func serversIn(dataDir string) ([]int, error) {
	want, err := os.Stat(dataDir)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		proc := filepath.Join("/proc", entry.Name())
		// Processes end and hide while we look: what cannot be read is not ours.
		comm, err := os.ReadFile(filepath.Join(proc, "comm"))
		if name := strings.TrimSpace(string(comm)); err != nil || name != "postgres" && name != "postmaster" {
			continue
		}
		if cwd, err := os.Stat(filepath.Join(proc, "cwd")); err == nil && os.SameFile(cwd, want) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
