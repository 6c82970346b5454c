//go:build unix && !linux

package pgserver

import (
	"errors"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// serversIn returns the postmaster that dataDir's pid file names, if a process
// of that id is a PostgreSQL server. Without /proc its backends stay unseen;
// a new postmaster notices them itself by the shared memory they hold.
func serversIn(dataDir string) ([]int, error) {
	pid, err := postmasterPID(dataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out, err := exec.Command("ps", "-o", "comm=", "-p", strconv.Itoa(pid)).Output()
	if err != nil { // there is no such process
		return nil, nil //nolint:nilerr // ps has no other way to say so
	}
	switch filepath.Base(strings.TrimSpace(string(out))) {
	case "postgres", "postmaster":
		return []int{pid}, nil
	}
	return nil, nil
}
