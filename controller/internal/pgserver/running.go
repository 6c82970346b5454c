package pgserver

import (
	"os"
	"path/filepath"
	"syscall"
)

// Running returns how to connect to the database of the controller that runs
// on the state folder; ok is false when none does.
func Running(stateDir string) (address string, ok bool, err error) {
	if stateDir, err = filepath.Abs(stateDir); err != nil {
		return "", false, err
	}
	lock, err := os.Open(filepath.Join(stateDir, "postgres.lock"))
	if os.IsNotExist(err) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	defer func() { _ = lock.Close() }() // gives the lock back
	if flock(lock, syscall.LOCK_SH|syscall.LOCK_NB) == nil {
		return "", false, nil
	}
	for _, dir := range socketDirs(stateDir) {
		if _, err := os.Stat(filepath.Join(dir, socketFile)); err == nil {
			return dsn(dir, database), true, nil
		}
	}
	return "", false, nil
}
