// Package keptlog keeps the last lines of containers that are gone.
//
// Every log is a compressed file of its own. All of them together have a bound:
// the oldest go first.
package keptlog

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

const (
	// MaxLogBytes bounds the text of one log, before it is compressed; it is the
	// beginning that goes.
	MaxLogBytes = 1 << 20
	suffixFile  = ".log.gz"
)

// Key says whose log it is.
type Key struct {
	// Container is the engine name that the container had while it served.
	Container string
	// Release is the number of the release that the container was of.
	Release int64
	// ID is the engine's of the container.
	ID string
}

// Store keeps logs in a folder. Its methods may be called at the same time.
type Store struct {
	folder string
	// most bounds all files together, in bytes.
	most int64

	mu sync.Mutex
}

// Open returns the store in a folder, which is made when it is not there, of at
// most so many bytes on the disk.
func Open(folder string, most int64) (*Store, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for logs of containers that are gone: %w", err)
	}
	return &Store{folder: folder, most: most}, nil
}

// line is a line in its file.
type line struct {
	Time   time.Time `json:"t"`
	Stream string    `json:"s"`
	Text   string    `json:"m"`
}

// Keep stores the lines of a log that read tells, in the place of what it stored
// of the same container before, and removes the oldest logs when all are too
// large. A log without a line is not stored. When read fails, what it told until
// then is stored, and the error returned.
func (s *Store) Keep(key Key, read func(func(workload.LogLine) error) error) error {
	tail := tail{}
	failed := read(func(l workload.LogLine) error {
		tail.add(l)
		return nil
	})
	if len(tail.lines) == 0 {
		return failed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.write(key, tail.lines); err != nil {
		return errors.Join(failed, fmt.Errorf("keep the log of container %s: %w", key.Container, err))
	}
	return errors.Join(failed, s.shrink())
}

// tail is the end of a log.
type tail struct {
	lines []workload.LogLine
	bytes int
}

func (t *tail) add(l workload.LogLine) {
	t.lines = append(t.lines, l)
	t.bytes += weight(l)
	n := 0
	for t.bytes > MaxLogBytes && n < len(t.lines)-1 {
		t.bytes -= weight(t.lines[n])
		n++
	}
	t.lines = t.lines[n:]
}

// weight is what a line counts for, time and stream included.
func weight(l workload.LogLine) int { return len(l.Text) + 64 }

func (s *Store) write(key Key, lines []workload.LogLine) (err error) {
	fresh, err := os.CreateTemp(s.folder, ".part-*") // only its owner may read it
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(fresh.Name()))
		}
	}()
	packed := gzip.NewWriter(fresh)
	encoder := json.NewEncoder(packed)
	encoder.SetEscapeHTML(false)
	for _, l := range lines {
		if err = encoder.Encode(line(l)); err != nil {
			break
		}
	}
	if err = errors.Join(err, packed.Close(), fresh.Close()); err != nil {
		return err
	}
	return os.Rename(fresh.Name(), filepath.Join(s.folder, key.file()))
}

// Read tells the lines of the log of a container that is gone, the last when
// there are several; with a release that is not 0, the last that is not of a
// later one. It fails with NotFound when there is none.
func (s *Store) Read(container string, release int64, options workload.LogOptions, tell func(workload.LogLine) error) error {
	lines, err := s.read(container, release)
	if err != nil {
		return err
	}
	if !options.Since.IsZero() {
		lines = slices.DeleteFunc(lines, func(l workload.LogLine) bool { return l.Time.Before(options.Since) })
	}
	if options.Tail >= 0 {
		lines = lines[max(0, len(lines)-options.Tail):]
	}
	for _, l := range lines {
		if err := tell(l); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) read(container string, release int64) (lines []workload.LogLine, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept, err := s.list()
	if err != nil {
		return nil, err
	}
	for _, k := range slices.Backward(kept) {
		if k.Container != container || release != 0 && k.Release > release {
			continue
		}
		file, err := os.Open(filepath.Join(s.folder, k.name))
		if err != nil {
			return nil, fmt.Errorf("read the kept log of container %s: %w", container, err)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		if lines, err = unpack(file); err != nil {
			return nil, fmt.Errorf("read the kept log of container %s: %w", container, err)
		}
		return lines, nil
	}
	return nil, apperr.New(apperr.NotFound, "no log of container %s is kept", container)
}

func unpack(file *os.File) (lines []workload.LogLine, err error) {
	packed, err := gzip.NewReader(bufio.NewReader(file))
	if err != nil {
		return nil, err
	}
	for decoder := json.NewDecoder(packed); decoder.More(); {
		var l line
		if err := decoder.Decode(&l); err != nil {
			return nil, err
		}
		lines = append(lines, workload.LogLine(l))
	}
	return lines, packed.Close()
}

// kept is a log in the folder.
type kept struct {
	Key
	name string
	size int64
	at   time.Time
}

// list returns the logs, the oldest first.
func (s *Store) list() (logs []kept, err error) {
	entries, err := os.ReadDir(s.folder)
	if err != nil {
		return nil, fmt.Errorf("list the logs of containers that are gone: %w", err)
	}
	for _, e := range entries {
		key, ok := keyOf(e.Name())
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) || !ok {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list the logs of containers that are gone: %w", err)
		}
		logs = append(logs, kept{key, e.Name(), info.Size(), info.ModTime()})
	}
	slices.SortFunc(logs, func(a, b kept) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.Release, b.Release), strings.Compare(a.name, b.name))
	})
	return logs, nil
}

// shrink removes the oldest logs until the others are within the bound.
func (s *Store) shrink() error {
	logs, err := s.list()
	if err != nil {
		return err
	}
	var all int64
	for _, k := range logs {
		all += k.size
	}
	for _, k := range logs {
		if all <= s.most {
			return nil
		}
		if err := os.Remove(filepath.Join(s.folder, k.name)); err != nil {
			return fmt.Errorf("remove the oldest log of a container that is gone: %w", err)
		}
		all -= k.size
	}
	return nil
}

// file is the name of the log's file. Names of containers can be of any
// characters, and are not to lead out of the folder.
func (k Key) file() string {
	return strings.Join([]string{encode(k.Container), strconv.FormatInt(k.Release, 10), encode(k.ID)}, "~") + suffixFile
}

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func keyOf(file string) (k Key, ok bool) {
	name, ok := strings.CutSuffix(file, suffixFile)
	parts := strings.Split(name, "~")
	if !ok || len(parts) != 3 {
		return k, false
	}
	container, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		return k, false
	}
	id, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return k, false
	}
	release, err := strconv.ParseInt(parts[1], 10, 64)
	return Key{string(container), release, string(id)}, err == nil
}
