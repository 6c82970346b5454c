package filler

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lock waits until nobody else fills the volume, in another container or on
// another node. On file systems that know no locks it does not wait: then one of
// two that fill at once may fail, and is run again.
func lock(root *os.Root) (unlock func(), err error) {
	f, err := root.OpenFile(fileLock, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the volume: %w", err)
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.ENOLCK) {
		return nil, errors.Join(fmt.Errorf("lock the volume: %w", err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}
