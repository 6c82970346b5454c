// Package secretfile keeps the files of secrets where containers can mount
// them: in memory on the host, and nowhere else in the clear.
//
// A set of files lies in a folder of a tmpfs, which is gone after a restart of
// the host. What it is made from again lies sealed in the agent's state folder,
// one record a set. The key for that never leaves the state folder.
package secretfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"golang.org/x/sys/unix"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/seal"
)

const (
	fileKey   = "key"
	folderSet = "sets"
	// fileMode lets the one who owns a file read it, and nobody write it.
	fileMode = 0o400
	// folderMode lets the one who owns a folder look into it.
	folderMode = 0o500
)

// Set is the files of one container.
type Set struct {
	// UID and GID own the files.
	UID, GID int
	// Files are the contents by name.
	Files map[string]string
}

// record is a set as it lies on the disk, every file sealed.
type record struct {
	UID   int               `json:"uid"`
	GID   int               `json:"gid"`
	Files map[string]string `json:"files"`
}

// Store keeps sets of files by ids. Its methods may be called at the same time
// as long as no two are about the same id.
type Store struct {
	disk, memory string
	key          seal.Key
}

// Open returns the store that keeps sealed records in the folder disk and files
// in the folder memory. It makes both, and fails with Precondition when memory
// is not on a tmpfs.
func Open(disk, memory string) (*Store, error) {
	for _, folder := range []string{filepath.Join(disk, folderSet), memory} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, fmt.Errorf("make the folder for files of secrets: %w", err)
		}
	}
	var about unix.Statfs_t
	if err := unix.Statfs(memory, &about); err != nil {
		return nil, fmt.Errorf("look at %s: %w", memory, err)
	}
	if about.Type != unix.TMPFS_MAGIC && about.Type != unix.RAMFS_MAGIC {
		return nil, apperr.New(apperr.Precondition, "%s is not in memory: files of secrets need a folder on a tmpfs", memory)
	}
	// Containers' users must come through to the folders that are theirs.
	if err := os.Chmod(memory, 0o711); err != nil { //nolint:gosec // names below it cannot be listed
		return nil, fmt.Errorf("open %s: %w", memory, err)
	}
	s := &Store{disk: disk, memory: memory}
	return s, s.loadKey()
}

func (s *Store) loadKey() error {
	path := filepath.Join(s.disk, fileKey)
	text, err := os.ReadFile(path)
	if err == nil {
		s.key, err = seal.ParseKey(string(text))
		return err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the key of the secret files: %w", err)
	}
	if s.key, err = seal.NewKey(); err != nil {
		return err
	}
	return writeFile(path, []byte(s.key.Private()), 0o600)
}

// Memory returns the folder that holds the sets' folders.
func (s *Store) Memory() string { return s.memory }

// Folder returns where the files of a set are.
func (s *Store) Folder(id string) string { return filepath.Join(s.memory, id) }

// Put keeps a set, in the place of one with the same id. When it returns nil
// the sealed record is on the disk and the files can be mounted.
func (s *Store) Put(id string, set Set) error {
	if err := check(id, set); err != nil {
		return err
	}
	kept := record{UID: set.UID, GID: set.GID, Files: map[string]string{}}
	for file, content := range set.Files {
		sealed, err := seal.Seal(s.key.Public(), content)
		if err != nil {
			return fmt.Errorf("seal the secret file %s: %w", file, err)
		}
		kept.Files[file] = sealed
	}
	text, err := json.Marshal(kept)
	if err != nil {
		return fmt.Errorf("keep secret files: %w", err)
	}
	if err := writeFile(s.recordOf(id), text, 0o600); err != nil {
		return fmt.Errorf("keep secret files: %w", err)
	}
	return s.fill(id, set)
}

// Restore makes the files again of every set whose folder is gone, as after a
// restart of the host. A set that can't be restored does not keep the others
// from it; the errors tell of each.
func (s *Store) Restore() error {
	ids, err := s.ids()
	if err != nil {
		return err
	}
	var failed []error
	for _, id := range ids {
		if _, err := os.Stat(s.Folder(id)); err == nil {
			continue
		}
		if err := s.restore(id); err != nil {
			failed = append(failed, fmt.Errorf("restore the secret files %s: %w", id, err))
		}
	}
	return errors.Join(failed...)
}

func (s *Store) restore(id string) error {
	text, err := os.ReadFile(s.recordOf(id))
	if err != nil {
		return err
	}
	var kept record
	if err := json.Unmarshal(text, &kept); err != nil {
		return fmt.Errorf("the record is broken: %w", err)
	}
	set := Set{UID: kept.UID, GID: kept.GID, Files: map[string]string{}}
	for file, sealed := range kept.Files {
		if set.Files[file], err = s.key.Open(sealed); err != nil {
			return fmt.Errorf("open %s: %w", file, err)
		}
	}
	if err := check(id, set); err != nil {
		return err
	}
	return s.fill(id, set)
}

// Keep removes every set but those with the ids.
func (s *Store) Keep(ids []string) error {
	known, err := s.ids()
	if err != nil {
		return err
	}
	for _, id := range known {
		if slices.Contains(ids, id) {
			continue
		}
		// The record last: it tells of the files.
		if err := os.RemoveAll(s.Folder(id)); err != nil {
			return fmt.Errorf("remove secret files: %w", err)
		}
		if err := os.Remove(s.recordOf(id)); err != nil {
			return fmt.Errorf("remove secret files: %w", err)
		}
	}
	return nil
}

func (s *Store) recordOf(id string) string { return filepath.Join(s.disk, folderSet, id) }

func (s *Store) ids() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.disk, folderSet))
	if err != nil {
		return nil, fmt.Errorf("list the secret files: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if name.MatchString(e.Name()) { // not what a crash left of a write
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// fill makes the folder with the files. It appears whole: whoever finds it
// finds every file in it.
func (s *Store) fill(id string, set Set) error {
	folder := s.Folder(id)
	if _, err := os.Stat(folder); err == nil {
		return s.write(folder, set) // it may be mounted, and must stay what it is
	}
	fresh := filepath.Join(s.memory, "."+id)
	if err := errors.Join(os.RemoveAll(fresh), os.Mkdir(fresh, 0o700)); err != nil {
		return fmt.Errorf("make the folder for secret files: %w", err)
	}
	if err := s.write(fresh, set); err != nil {
		return err
	}
	if err := os.Rename(fresh, folder); err != nil {
		return fmt.Errorf("place secret files: %w", err)
	}
	return nil
}

func (s *Store) write(folder string, set Set) error {
	for name, content := range set.Files {
		owned := func(f *os.File) error { return f.Chown(set.UID, set.GID) }
		if err := writeFile(filepath.Join(folder, name), []byte(content), fileMode, owned); err != nil {
			return fmt.Errorf("write the secret file %s for user %d: %w", name, set.UID, err)
		}
	}
	if err := errors.Join(os.Chown(folder, set.UID, set.GID), os.Chmod(folder, folderMode)); err != nil {
		return fmt.Errorf("give the secret files to user %d: %w", set.UID, err)
	}
	return nil
}

// name is what ids and files may be called. It leaves no way out of a folder.
var name = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

func check(id string, set Set) error {
	if !name.MatchString(id) {
		return apperr.New(apperr.Invalid, "%q cannot be the id of secret files", id)
	}
	for file := range set.Files {
		if !name.MatchString(file) {
			return apperr.New(apperr.Invalid, "%q cannot be the name of a secret file", file)
		}
	}
	return nil
}

// writeFile writes a file that is whole or not there; before is done to it
// before it has its name.
func writeFile(path string, content []byte, mode fs.FileMode, before ...func(*os.File) error) error {
	fresh := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".part")
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	for _, do := range before {
		err = errors.Join(err, do(f))
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}
