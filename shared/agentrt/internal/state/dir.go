// Package state is what an agent keeps on disk. Every file is written whole:
// to a temporary file that is synced and renamed, with the folder synced
// after it, so that a crash leaves the old content or the new.
//
//	enrol.json       from the install script; gone once the agent is enrolled
//	enrol-error      why enrolment was refused, for the install script to show
//	enrolled         empty; there once enrolment is complete
//	identity/        agent.json, root.pem, key.pem, cert.pem; key.next and
//	                 cert.next while a renewed certificate is on trial;
//	                 trust.pem once the controller changed its roots
//	identity.new/    the identity that an enrolment under way will become
//	assignments.pb   the assignment set, registry credentials included
//	results.json     how each prefix's last finished assignment ended
//	commands         the journal of commands; see package command
//	seen.json        the containers that were seen last; see package exits
//	spool/           facts the controller does not have yet; see package spool
//	session          until when the present session counts as healthy
//	revoked          why this agent must never connect again
//	lock             held by the running agent
//
// Folders are 0700, files 0600.
package state

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"fairlead.dev/shared/apperr"
)

// maxFileBytes bounds what is read back.
const maxFileBytes = 64 << 20

// Dir is a state folder in use by this process. Its methods may be called
// from several goroutines as long as no two write the same file.
type Dir struct {
	path string
	lock *os.File
}

// Open makes the folder if it is missing, locks it for this process and ends
// what a crash left half done. It fails with Conflict when another agent runs
// on it.
func Open(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	if err := os.Chmod(path, 0o700); err != nil { //nolint:gosec // a folder needs the x bit
		return nil, fmt.Errorf("protect the state folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the state folder: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, apperr.Wrap(apperr.Conflict, err, "another agent runs on %s: stop it first", path)
	}
	d := &Dir{path: path, lock: lock}
	if err := d.recoverIdentity(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Close lets another process have the folder.
func (d *Dir) Close() error { return d.lock.Close() }

func (d *Dir) at(name string) string { return filepath.Join(d.path, name) }

func (d *Dir) write(name string, content []byte) error {
	if err := writeFile(d.at(name), content, true); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// read returns a file's content; ok is false when there is none.
func (d *Dir) read(name string) (content []byte, ok bool, err error) {
	f, err := os.Open(d.at(name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = f.Close() }()
	content, err = io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, false, fmt.Errorf("read %s: %w", name, err)
	}
	if len(content) > maxFileBytes {
		return nil, false, apperr.New(apperr.Invalid, "%s is larger than %d bytes", name, maxFileBytes)
	}
	return content, true, nil
}

func (d *Dir) exists(name string) bool {
	_, err := os.Lstat(d.at(name))
	return err == nil
}

// remove removes files; those that are not there are no error.
func (d *Dir) remove(names ...string) error {
	for _, name := range names {
		if err := os.Remove(d.at(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return nil
}

// writeFile replaces a file. Without sync it survives a crash of the process
// but perhaps not one of the machine.
func writeFile(path string, content []byte, sync bool) (err error) {
	folder := filepath.Dir(path)
	temp, err := os.CreateTemp(folder, ".new-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name())
		}
	}()
	_, err = temp.Write(content)
	if err == nil && sync {
		err = temp.Sync()
	}
	if err := errors.Join(err, temp.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return err
	}
	if sync {
		return syncFolder(folder)
	}
	return nil
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
