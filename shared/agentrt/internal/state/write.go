package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// tempPattern names files that are being written; what a crash leaves of them
// goes at the next start.
const tempPattern = ".new-"

// Faults stands, in tests, for a disk that fails and for a process that dies:
// it is asked before each step that changes something on the disk. An error
// fails the step; a panic is the end of the process.
type Faults func(step string) error

// Inject makes the folder ask for faults from now on.
func (d *Dir) Inject(faults Faults) { d.faults = faults }

// change makes one step that changes something on the disk.
func (d *Dir) change(step string, f func() error) error {
	if d.faults != nil {
		if err := d.faults(step); err != nil {
			return err
		}
	}
	return f()
}

// write replaces a file. When it returns nil the content survives a crash of
// the machine.
func (d *Dir) write(name string, content []byte) error {
	if err := d.replace(d.at(name), content, true); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return d.kept(!isWork(name))
}

// writeLoosely replaces a file whose content survives a crash of the process,
// but perhaps not one of the machine.
func (d *Dir) writeLoosely(name string, content []byte) error {
	if err := d.replace(d.at(name), content, false); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// replace writes beside the file, and puts the whole in its place.
func (d *Dir) replace(path string, content []byte, sync bool) (err error) {
	folder, name := filepath.Dir(path), filepath.Base(path)
	var temp *os.File
	err = d.change("create "+name, func() (err error) {
		temp, err = os.CreateTemp(folder, tempPattern+"*") // 0600
		return err
	})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name())
		}
	}()
	err = d.change("write "+name, func() error {
		_, err := temp.Write(content)
		return err
	})
	if err == nil && sync {
		err = d.change("sync "+name, temp.Sync)
	}
	if err := errors.Join(err, temp.Close()); err != nil {
		return err
	}
	if err := d.rename(temp.Name(), path); err != nil {
		return err
	}
	if sync {
		return d.syncFolder(folder)
	}
	return nil
}

func (d *Dir) rename(from, to string) error {
	return d.change("rename to "+filepath.Base(to), func() error { return os.Rename(from, to) })
}

func (d *Dir) syncFolder(path string) error {
	return d.change("sync the folder", func() error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// remove removes files; those that are not there are no error.
func (d *Dir) remove(names ...string) error {
	for _, name := range names {
		if !d.exists(name) {
			continue
		}
		if err := d.change("remove "+name, func() error { return os.Remove(d.at(name)) }); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return nil
}

// sweep removes what a crash left of files that were being written. It is of
// no importance when it can't.
func (d *Dir) sweep() {
	for _, folder := range []string{d.path, d.at(folderIdentity), d.at(folderNewIdentity)} {
		entries, err := os.ReadDir(folder)
		if err != nil {
			continue
		}
		for _, entry := range entries {
			if strings.HasPrefix(entry.Name(), tempPattern) {
				_ = os.Remove(filepath.Join(folder, entry.Name()))
			}
		}
	}
}
