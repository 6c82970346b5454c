package statecopy

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"fairlead.dev/shared/apperr"
)

const (
	// maxPacked is what is put into a secret, which takes 1 MiB; maxUnpacked
	// bounds what is taken out of one.
	maxPacked   = 900 << 10
	maxUnpacked = 256 << 20
)

// copied are the files of the state folder that are copied, what the node
// cannot come back without first. The others are of this pod, or too many.
func copied() []string {
	return []string{
		"identity", "identity.new", "enrolled", "revoked", "deleted", "release-keys", "refused", "update.json", "begun.json", "results.json", "commands", "assignments.pb",
	}
}

// fileSeen is what the agent saw last of what runs: another pod has seen more.
const fileSeen = "seen.json"

// stamp changes whenever one of the files may have. One that cannot be read is
// told of by pack.
func stamp(folder string) string {
	var all strings.Builder
	err := each(folder, func(path, name string, info fs.FileInfo) error {
		fmt.Fprintf(&all, "%s %d %d\n", name, info.Size(), info.ModTime().UnixNano())
		return nil
	})
	if err != nil {
		fmt.Fprintf(&all, "%v\n", err)
	}
	return all.String()
}

// each calls f for every file that is copied; files that are being written are
// left out.
func each(folder string, f func(path, name string, info fs.FileInfo) error) error {
	for _, top := range copied() {
		err := filepath.WalkDir(filepath.Join(folder, top), func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) || err == nil && (!entry.Type().IsRegular() || strings.HasPrefix(entry.Name(), ".new-")) {
				return nil
			}
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			name, err := filepath.Rel(folder, path)
			if err != nil {
				return err
			}
			return f(path, name, info)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// pack makes one archive of the files; the same files make the same bytes. What
// does not fit any more it leaves out, and names: the controller tells it again.
func pack(folder string) (packed []byte, left []string, err error) {
	without := map[string]bool{}
	for _, last := range []string{"", "assignments.pb", "commands", "results.json"} {
		if last != "" {
			without[last] = true
			left = append(left, last)
		}
		if packed, err = packWithout(folder, without); err != nil {
			return nil, nil, err
		}
		if len(packed) <= maxPacked {
			return packed, left, nil
		}
	}
	return nil, nil, apperr.New(apperr.Precondition, "the agent's identity is larger than %d bytes", maxPacked)
}

func packWithout(folder string, without map[string]bool) ([]byte, error) {
	var out bytes.Buffer
	squeeze := gzip.NewWriter(&out)
	archive := tar.NewWriter(squeeze)
	err := each(folder, func(path, name string, _ fs.FileInfo) error {
		if without[name] {
			return nil
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := archive.WriteHeader(&tar.Header{Name: filepath.ToSlash(name), Mode: 0o600, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		_, err = archive.Write(content)
		return err
	})
	if err := errors.Join(err, archive.Close(), squeeze.Close()); err != nil {
		return nil, fmt.Errorf("pack %s: %w", folder, err)
	}
	return out.Bytes(), nil
}

// unpack writes the files of an archive into a folder, which it makes.
func unpack(packed []byte, folder string) error {
	squeezed, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	archive := tar.NewReader(io.LimitReader(squeezed, maxUnpacked))
	type file struct {
		name    string
		content []byte
	}
	var files []file
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
		if !filepath.IsLocal(header.Name) || header.Typeflag != tar.TypeReg {
			return apperr.New(apperr.Invalid, "unpack: %q is no file of the agent's state", header.Name)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			return fmt.Errorf("unpack %s: %w", header.Name, err)
		}
		files = append(files, file{header.Name, content})
	}
	// What is there is older. What holdsAgent looks for goes first and comes last,
	// so that a crash in between leaves a folder that is filled again.
	for _, name := range append(copied(), fileSeen) {
		if err := os.RemoveAll(filepath.Join(folder, name)); err != nil {
			return fmt.Errorf("make room for the copy: %w", err)
		}
	}
	for i := len(files) - 1; i >= 0; i-- {
		path := filepath.Join(folder, files[i].name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return fmt.Errorf("unpack %s: %w", files[i].name, err)
		}
		if err := os.WriteFile(path, files[i].content, 0o600); err != nil {
			return fmt.Errorf("unpack %s: %w", files[i].name, err)
		}
	}
	return nil
}
