// Package filler puts files into a volume, from within a container that has the
// volume mounted. It needs neither the host's file system nor a program of
// somebody's image: on Docker the agent runs it in an image of its own making,
// on Kubernetes the agent's own image is that of an init container.
//
// Everything is fetched aside first, into the volume itself; only then do files
// get their names, one rename each. What fails before changes nothing. What is
// cut short between is done again the next time.
package filler

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// reserved begins the names of what the filler keeps in a volume.
	reserved = ".fairlead-"
	// folderAside is where files are before they have their names.
	folderAside = reserved + "incoming"
	// fileIndex says which files came from a storage.
	fileIndex = reserved + "storage.json"
	// fileLock is held by whoever fills the volume: the pods of a cluster that
	// share one begin at the same time.
	fileLock = reserved + "lock"
)

// Folders of the container that the filler works in.
const (
	Source = "/source"
	Target = "/target"
)

// Verbs of Run.
const (
	VerbReceive = "receive"
	VerbMirror  = "mirror"
	VerbOverlay = "overlay"
)

// Entry is a file that came from a storage.
type Entry struct {
	ETag string `json:"etag"`
	Size int64  `json:"size"`
	// Modified is when the file was written, in the volume's own time.
	Modified time.Time `json:"modified"`
}

// Index is what came from a storage, by path in the volume.
type Index map[string]Entry

// Run does what the words say and reports whether it knew them.
//
//	receive UID    tells on out which files it has (one line of JSON, an Index),
//	               then takes from in those that are new; see Send
//	mirror         makes the target what the source is
//	overlay        adds to the target what the source is, and removes nothing
func Run(words []string, in io.Reader, out io.Writer) error {
	return RunIn(words, Source, Target, in, out)
}

// RunIn is Run with other folders.
func RunIn(words []string, sourceFolder, targetFolder string, in io.Reader, out io.Writer) error {
	target, err := os.OpenRoot(targetFolder)
	if err != nil {
		return fmt.Errorf("open the volume: %w", err)
	}
	defer func() { _ = target.Close() }()
	unlock, err := lock(target)
	if err != nil {
		return err
	}
	defer unlock()
	change := &change{root: target}
	if err := change.begin(); err != nil {
		return err
	}
	defer change.end()
	verb, user, more := "", "", len(words) > 2
	if len(words) > 0 {
		verb = words[0]
	}
	if len(words) > 1 {
		user = words[1]
	}
	switch {
	case verb == VerbReceive && !more:
		uid, err := strconv.Atoi(user)
		if err != nil {
			return fmt.Errorf("read the user: %w", err)
		}
		return receive(change, uid, in, out)
	case len(words) == 1 && (verb == VerbMirror || verb == VerbOverlay):
		source, err := os.OpenRoot(sourceFolder)
		if err != nil {
			return fmt.Errorf("open what is copied: %w", err)
		}
		defer func() { _ = source.Close() }()
		return copyTree(change, source, verb == VerbMirror)
	default:
		return fmt.Errorf("unknown words %q", words)
	}
}

// change is a set of files that get their names together.
type change struct {
	root *os.Root
	// steps are done in their order when all is aside.
	steps []func() error
	count int
}

// begin removes what an earlier change left that was cut short.
func (c *change) begin() error {
	if err := errors.Join(c.root.RemoveAll(folderAside), c.root.Mkdir(folderAside, 0o700)); err != nil {
		return fmt.Errorf("make room in the volume: %w", err)
	}
	return nil
}

// end removes what was aside and did not get a name.
func (c *change) end() { _ = c.root.RemoveAll(folderAside) }

// aside writes a file that will have a name later. It returns how it was
// written.
func (c *change) aside(name string, content io.Reader, about fs.FileMode, uid, gid int, modified time.Time) (fs.FileInfo, error) {
	c.count++
	place := path.Join(folderAside, strconv.Itoa(c.count))
	f, err := c.root.OpenFile(place, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", name, err)
	}
	_, err = io.Copy(f, content)
	if uid >= 0 {
		err = errors.Join(err, f.Chown(uid, gid))
	}
	err = errors.Join(err, f.Chmod(about), f.Sync(), f.Close())
	if err == nil && !modified.IsZero() {
		err = c.root.Chtimes(place, modified, modified)
	}
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", name, err)
	}
	info, err := c.root.Stat(place)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", name, err)
	}
	c.steps = append(c.steps, func() error { return c.root.Rename(place, name) })
	return info, nil
}

// commit gives everything its name.
func (c *change) commit() error {
	for _, do := range c.steps {
		if err := do(); err != nil {
			return fmt.Errorf("put files in place: %w", err)
		}
	}
	return nil
}

// readIndex returns which files of an earlier fill are there as they were
// written.
func readIndex(root *os.Root) (known, intact Index, err error) {
	known, intact = Index{}, Index{}
	text, err := root.ReadFile(fileIndex)
	if errors.Is(err, fs.ErrNotExist) {
		return known, intact, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read what came from the storage before: %w", err)
	}
	if !json.Valid(text) {
		return known, intact, nil // somebody's own; all is fetched anew
	}
	if err := json.Unmarshal(text, &known); err != nil {
		return nil, nil, fmt.Errorf("read what came from the storage before: %w", err)
	}
	for name, e := range known {
		info, err := root.Lstat(name)
		if CheckName(name) == nil && err == nil && info.Mode().IsRegular() && info.Size() == e.Size && info.ModTime().Equal(e.Modified) {
			intact[name] = e
		}
	}
	return known, intact, nil
}

// CheckName refuses a path that leads out of the volume, that no file system
// can have, or that is the filler's own.
func CheckName(name string) error {
	if name == "" || len(name) > 4096 || strings.ContainsAny(name, "\x00\\") || path.IsAbs(name) {
		return fmt.Errorf("%q is not a path below a folder", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." || len(part) > 255 || strings.HasPrefix(part, reserved) {
			return fmt.Errorf("%q is not a path below a folder", name)
		}
	}
	return nil
}

// CheckNames refuses names of which one would be a file and a folder.
func CheckNames(names []string) error {
	sorted := slices.Sorted(slices.Values(names))
	files := make(map[string]bool, len(sorted))
	for _, name := range sorted {
		if err := CheckName(name); err != nil {
			return err
		}
		files[name] = true
	}
	for _, name := range sorted {
		for above := path.Dir(name); above != "."; above = path.Dir(above) {
			if files[above] {
				return fmt.Errorf("%q cannot be a file and the folder of %q", above, name)
			}
		}
	}
	return nil
}
