// Package durable writes small files that are whole whenever they are read and
// stay after a loss of power.
package durable

import (
	"errors"
	"os"
	"path/filepath"
)

// pattern names files that are being written: what a crash leaves of them in an
// agent's state folder goes at its next start.
const pattern = ".new-*"

// Replace writes beside the file at path, and puts the whole in its place; only
// its owner may read it. It is on the disk when Replace returns nil; otherwise
// the file is as it was, or whole and perhaps not on the disk yet. Errors are
// those of package os.
func Replace(path string, content []byte) error {
	fresh, err := os.CreateTemp(filepath.Dir(path), pattern) // 0600
	if err != nil {
		return err
	}
	_, err = fresh.Write(content)
	err = errors.Join(err, fresh.Sync(), fresh.Close())
	if err == nil {
		err = os.Rename(fresh.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(fresh.Name()))
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
