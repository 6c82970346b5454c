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
//	assignments.pb   the assignment set, passwords of registries sealed
//	results.json     how each prefix's last finished assignment ended
//	begun.json       what was begun with under an expected plan
//	commands         the journal of commands; see package command
//	seen.json        the containers that were seen last; see package exits
//	spool/           facts the controller does not have yet; see package spool
//	trouble          since when and why there is no session
//	session          until when the present session counts as healthy
//	revoked          why this agent must never connect again
//	release-keys     what builds of the agent must be signed by
//	update.json      how far the last update came; update.proof, update.tar
//	                 while it is under way
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

const fileLock = "lock"

// Dir is a state folder in use by this process. Its methods may be called
// from several goroutines as long as no two write the same file.
type Dir struct {
	path   string
	lock   *os.File
	faults Faults
	keep   Keep
}

// Keep copies what is in the folder to where it outlives the machine. It is
// called after files were changed: with identity for those without which the
// node cannot come back, which are in use only once Keep returned nil; without
// it for the others, whose copy may come a little later.
type Keep func(identity bool) error

// kept calls Keep, where there is one.
func (d *Dir) kept(identity bool) error {
	if d.keep == nil {
		return nil
	}
	if err := d.keep(identity); err != nil {
		return fmt.Errorf("keep a copy of the agent's state: %w", err)
	}
	return nil
}

// Open makes the folder if it is missing, locks it for this process and ends
// what a crash left half done. It fails with Conflict when another agent runs
// on it. A folder that cannot be written to is opened all the same if there is
// nothing to end: what is in it can still be served.
func Open(path string) (*Dir, error) { return open(path, nil) }

// OpenKept is Open for a folder that does not outlive the machine. Keep may be
// nil.
func OpenKept(path string, keep Keep) (*Dir, error) { return openKept(path, nil, keep) }

func open(path string, faults Faults) (*Dir, error) { return openKept(path, faults, nil) }

func openKept(path string, faults Faults, keep Keep) (*Dir, error) {
	d := &Dir{path: path, faults: faults, keep: keep}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	if err := d.protect(); err != nil {
		return nil, fmt.Errorf("protect the state folder: %w", err)
	}
	lock, err := d.openLock()
	if err != nil {
		return nil, fmt.Errorf("lock the state folder: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, apperr.Wrap(apperr.Conflict, err, "another agent runs on %s: stop it first", path)
	}
	d.lock = lock
	d.sweep()
	if err := d.recoverIdentity(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// protect makes the folder the agent's alone.
func (d *Dir) protect() error {
	if info, err := os.Stat(d.path); err != nil || info.Mode().Perm() == 0o700 {
		return err
	}
	return d.change("protect", func() error { return os.Chmod(d.path, 0o700) }) //nolint:gosec // a folder needs the x bit
}

// openLock opens the file that is locked; a disk that cannot be written to may
// have it from before.
func (d *Dir) openLock() (lock *os.File, err error) {
	err = d.change("make lock", func() (err error) {
		lock, err = os.OpenFile(d.at(fileLock), os.O_CREATE|os.O_RDWR, 0o600)
		return err
	})
	if err == nil {
		return lock, nil
	}
	lock, again := os.Open(d.at(fileLock))
	if again != nil {
		return nil, err
	}
	return lock, nil
}

// Close lets another process have the folder.
func (d *Dir) Close() error { return d.lock.Close() }

func (d *Dir) at(name string) string { return filepath.Join(d.path, name) }

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
