package filler

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// copyTree makes the target what the source is; exact also removes what the
// source does not have.
func copyTree(c *change, source *os.Root, exact bool) error {
	has := map[string]bool{".": true} // and whether it is a folder
	err := fs.WalkDir(source.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		has[name] = entry.IsDir()
		return c.copyOne(source, name, entry, exact)
	})
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	if exact {
		if err := c.removeOthers(has); err != nil {
			return err
		}
	}
	return c.commit()
}

func (c *change) copyOne(source *os.Root, name string, entry fs.DirEntry, exact bool) error {
	if strings.HasPrefix(path.Base(name), reserved) {
		return fmt.Errorf("%s has a name that the agent keeps to itself", name)
	}
	info, err := entry.Info()
	if err != nil {
		return err
	}
	there, err := c.root.Lstat(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && there.Mode().Type() != info.Mode().Type() {
		if !exact && (there.IsDir() || info.IsDir()) {
			return fmt.Errorf("%s is a folder on one side only", name)
		}
		c.steps = append(c.steps, func() error { return c.root.RemoveAll(name) })
		there = nil
	}
	uid, gid := ownerOf(info)
	switch info.Mode().Type() {
	case fs.ModeDir:
		c.steps = append(c.steps, func() error { return c.folder(name, info.Mode(), uid, gid) })
		return nil
	case fs.ModeSymlink:
		leads, err := source.Readlink(name)
		if err != nil {
			return err
		}
		c.steps = append(c.steps, func() error { return c.link(name, leads, uid, gid) })
		return nil
	case 0:
		if there != nil && same(there, info) {
			equal, err := c.equal(source, name)
			if equal || err != nil {
				return err
			}
		}
		f, err := source.Open(name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		_, err = c.aside(name, f, info.Mode(), uid, gid, info.ModTime())
		return err
	default:
		return fmt.Errorf("%s is neither a file nor a folder nor a link", name)
	}
}

func (c *change) folder(name string, mode fs.FileMode, uid, gid int) error {
	if err := c.root.Mkdir(name, mode.Perm()); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return errors.Join(c.root.Lchown(name, uid, gid), c.root.Chmod(name, mode))
}

func (c *change) link(name, leads string, uid, gid int) error {
	if now, err := c.root.Readlink(name); err == nil && now == leads {
		return nil
	}
	if err := c.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return errors.Join(c.root.Symlink(leads, name), c.root.Lchown(name, uid, gid))
}

// removeOthers removes what the source does not have, but for what is the
// filler's own and what came from a storage.
func (c *change) removeOthers(has map[string]bool) error {
	stored, _, err := readIndex(c.root)
	if err != nil {
		return err
	}
	for name := range stored {
		has[name] = false
		for name = path.Dir(name); name != "." && !path.IsAbs(name); name = path.Dir(name) {
			has[name] = true
		}
	}
	return fs.WalkDir(c.root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		folder, there := has[name]
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(path.Base(name), reserved):
		case there && (folder || !entry.IsDir()):
			return nil
		case there: // a file will be in the folder's place
		default:
			c.steps = append(c.steps, func() error { return c.root.RemoveAll(name) })
		}
		if entry.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
}

// equal reports whether a file has the same content on both sides: in images
// that are built to be reproducible, times tell nothing.
func (c *change) equal(source *os.Root, name string) (bool, error) {
	a, err := source.Open(name)
	if err != nil {
		return false, err
	}
	defer func() { _ = a.Close() }()
	b, err := c.root.Open(name)
	if err != nil {
		return false, err
	}
	defer func() { _ = b.Close() }()
	digestA, errA := digest(a)
	digestB, errB := digest(b)
	return bytes.Equal(digestA, digestB), errors.Join(errA, errB)
}

func digest(r io.Reader) ([]byte, error) {
	h := sha256.New()
	_, err := io.Copy(h, r)
	return h.Sum(nil), err
}

// same reports whether a file looks the same on both sides.
func same(a, b fs.FileInfo) bool {
	uidA, gidA := ownerOf(a)
	uidB, gidB := ownerOf(b)
	return a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && a.Mode() == b.Mode() && uidA == uidB && gidA == gidB
}

func ownerOf(info fs.FileInfo) (uid, gid int) {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid), int(stat.Gid)
	}
	return -1, -1
}
