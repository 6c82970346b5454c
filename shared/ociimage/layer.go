package ociimage

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// maxFile is the largest file put into an image: one GiB, far above any
// program, far below what would exhaust a build machine.
const maxFile = 1 << 30

// File is one file or folder of an image.
type File struct {
	// Path in the image, absolute.
	Path string
	// Source is the file on this machine whose content is taken. Empty means
	// Content is used.
	Source string
	// Content of the file when Source is empty.
	Content []byte
	// Dir makes a folder; Source and Content must be empty.
	Dir bool
	// Mode holds the permission bits, and setuid, setgid and sticky as
	// fs.FileMode has them. Zero means 0755 for folders and programs taken
	// from Source, 0644 for Content.
	Mode fs.FileMode
	// UID and GID own the file.
	UID, GID int
}

// newLayer packs the files into one layer, sorted by path, with every parent
// folder, all times zero.
func newLayer(files []File) (v1.Layer, error) {
	if len(files) == 0 {
		return nil, errors.New("files: an image needs at least one")
	}
	entries := map[string]File{}
	for _, file := range files {
		if !path.IsAbs(file.Path) || path.Clean(file.Path) != file.Path || file.Path == "/" {
			return nil, fmt.Errorf("file path %q: must be absolute, clean and not the root", file.Path)
		}
		if _, twice := entries[file.Path]; twice {
			return nil, fmt.Errorf("file path %q: given twice", file.Path)
		}
		entries[file.Path] = file
	}
	for _, file := range files {
		for dir := path.Dir(file.Path); dir != "/"; dir = path.Dir(dir) {
			parent, given := entries[dir]
			if given && !parent.Dir {
				return nil, fmt.Errorf("file path %q: %q is a file", file.Path, dir)
			}
			if !given {
				entries[dir] = File{Path: dir, Dir: true}
			}
		}
	}

	var packed bytes.Buffer
	archive := tar.NewWriter(&packed)
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		if err := entries[name].write(archive); err != nil {
			return nil, fmt.Errorf("pack %s: %w", name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return nil, fmt.Errorf("pack the layer: %w", err)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil }
	layer, err := tarball.LayerFromOpener(open, tarball.WithCompressedCaching)
	if err != nil {
		return nil, fmt.Errorf("compress the layer: %w", err)
	}
	return layer, nil
}

func (f File) write(archive *tar.Writer) error {
	header := &tar.Header{
		Name:    strings.TrimPrefix(f.Path, "/"),
		Uid:     f.UID,
		Gid:     f.GID,
		ModTime: time.Unix(0, 0),
		Format:  tar.FormatPAX,
	}
	if f.Dir {
		if f.Source != "" || len(f.Content) > 0 {
			return errors.New("a folder has no content")
		}
		header.Typeflag, header.Name, header.Mode = tar.TypeDir, header.Name+"/", f.mode(0o755)
		return archive.WriteHeader(header)
	}
	content := f.Content
	header.Typeflag, header.Mode = tar.TypeReg, f.mode(0o644)
	if f.Source != "" {
		if len(f.Content) > 0 {
			return errors.New("give source or content, not both")
		}
		var err error
		if content, err = readLimited(f.Source); err != nil {
			return err
		}
		header.Mode = f.mode(0o755)
	}
	header.Size = int64(len(content))
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err := archive.Write(content)
	return err
}

// mode gives the tar form of the file's mode, or otherwise when it has none.
func (f File) mode(otherwise int64) int64 {
	if f.Mode == 0 {
		return otherwise
	}
	mode := int64(f.Mode.Perm())
	for bit, octal := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if f.Mode&bit != 0 {
			mode |= octal
		}
	}
	return mode
}

func readLimited(source string) ([]byte, error) {
	file, err := os.Open(source)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", source, err)
	}
	if len(content) > maxFile {
		return nil, fmt.Errorf("read %s: larger than %d bytes", source, maxFile)
	}
	return content, nil
}
