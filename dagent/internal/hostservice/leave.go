package hostservice

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// supervisor is what starts a service of OpenRC again when it ends, with
// whichever exit code.
const supervisor = "supervise-daemon"

// Leave has the service manager not start this process again after its end:
// systemd goes by the exit code, and OpenRC's supervisor is ended.
func Leave(context.Context) error {
	parent := os.Getppid()
	program, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(parent), "exe"))
	if err != nil || filepath.Base(program) != supervisor {
		return nil //nolint:nilerr // a parent that can't be seen is not one of a service of root's
	}
	if err := syscall.Kill(parent, syscall.SIGTERM); err != nil {
		return fmt.Errorf("end the supervisor of this service: %w", err)
	}
	return nil
}
