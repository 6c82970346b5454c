package keys

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"fairlead.dev/controller/internal/root"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/pki"
)

// Prepare makes the next root. Conflict when there is one already.
func (r *Roots) Prepare() (root.Root, error) {
	var made root.Root
	err := r.change(func(list []held) ([]held, error) {
		if slices.ContainsFunc(list, isNext) {
			return nil, apperr.New(apperr.Conflict, "there is a next root already: promote it, or retire it")
		}
		if len(list) >= pki.MaxRoots {
			return nil, apperr.New(apperr.Conflict, "there are %d roots: retire an old one first", len(list))
		}
		now := r.now().UTC()
		authority, err := pki.NewAuthority(now)
		if err != nil {
			return nil, err
		}
		pin := pki.PinOf(authority.Root)
		made = root.Root{SHA256: pin.String(), State: root.Next, Since: now, NotAfter: authority.Root.NotAfter}
		h := held{Root: made, file: firstRoot + "-" + pin.Hint(), authority: authority}
		// What is there becomes written down first, so that a new root's
		// files are never without a manifest.
		if err := r.write(list); err != nil {
			return nil, err
		}
		return append(list, h), writeAuthority(authority, filepath.Join(r.dir, h.file+".key"), filepath.Join(r.dir, h.file+".crt"))
	})
	return made, err
}

// Promote makes the next root the one that signs; the one that signed is old
// from then on. Precondition when there is no next one.
func (r *Roots) Promote() (root.Root, error) {
	var promoted root.Root
	err := r.change(func(list []held) ([]held, error) {
		next := slices.IndexFunc(list, isNext)
		if next < 0 {
			return nil, apperr.New(apperr.Precondition, "there is no next root: prepare one first")
		}
		for i := range list {
			switch list[i].State {
			case root.Current:
				list[i].State, list[i].Since = root.Old, r.now().UTC()
			case root.Next:
				list[i].State, list[i].Since = root.Current, r.now().UTC()
			case root.Old:
			}
		}
		promoted = list[next].Root
		return list, nil
	})
	return promoted, err
}

// Retire gives a root up and removes its key. NotFound when there is no such
// root, Precondition for the one that signs.
func (r *Roots) Retire(sha256 string) error {
	var file string
	err := r.change(func(list []held) ([]held, error) {
		i := slices.IndexFunc(list, func(h held) bool { return h.SHA256 == sha256 })
		if i < 0 {
			return nil, apperr.New(apperr.NotFound, "no root %s", sha256)
		}
		if list[i].State == root.Current {
			return nil, apperr.New(apperr.Precondition, "this root signs: prepare and promote another first")
		}
		file = list[i].file
		return slices.Delete(list, i, i+1), nil
	})
	if err != nil {
		return err
	}
	// The manifest is on the disk: from here on the files mean nothing. Their
	// certificate goes first, so that what an interrupted removal leaves is no
	// root.
	return errors.Join(os.Remove(filepath.Join(r.dir, file+".crt")), os.Remove(filepath.Join(r.dir, file+".key")))
}

func isNext(h held) bool { return h.State == root.Next }

// change makes one change under a lock that all processes on the folder share:
// it reads the roots anew, lets edit change them, and writes them down.
func (r *Roots) change(edit func([]held) ([]held, error)) error {
	lock, err := os.OpenFile(filepath.Join(r.dir, "roots.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("lock the roots: %w", err)
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock the roots: %w", err)
	}
	if _, err := r.Look(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	list, err := edit(slices.Clone(r.held))
	if err != nil {
		return err
	}
	if err := r.write(list); err != nil {
		return err
	}
	raw, err := readManifest(r.dir)
	if err != nil {
		return err
	}
	return r.load(raw)
}

// write replaces the manifest.
func (r *Roots) write(list []held) error {
	raw, err := manifestOf(list).encode()
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(r.dir, fileManifest), raw)
}
