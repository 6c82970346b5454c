// Package spool keeps facts on the agent's disk until the controller has them.
// A fact is something that happened on the node and cannot be seen again later.
//
// Facts are numbered without gaps, over restarts; they are records (package
// record) in segments, files named by their first number. When the spool is
// full the oldest segment goes; when the disk takes no more, who noticed them
// keeps the newest facts. Numbers of what is lost are used up, so that it shows
// as a gap, and a gap is told as a fact that counts what it stands for.
package spool

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/record"
	"fairlead.dev/shared/logging"
)

const (
	// DefaultMaxBytes is how much a spool holds.
	DefaultMaxBytes = 16 << 20
	// segments is into how many files that is divided.
	segments       = 16
	fileMeta       = "spool.json"
	suffix         = ".facts"
	digits         = 20
	minSegmentSize = 1 << 10
)

// Config is what a Spool is made of.
type Config struct {
	// Dir is the spool's folder; it is made.
	Dir string
	// Agent is the id of the agent; what another one left is dropped.
	Agent string
	// MaxBytes bounds the segments together; 0 means DefaultMaxBytes.
	MaxBytes int64
	Log      *slog.Logger
}

// Spool is safe for concurrent use. Whoever sends and acknowledges does not
// wait for who writes.
type Spool struct {
	config Config
	// sync brings what was written to the disk.
	sync func(*os.File) error

	// writing is held by who changes the files; taken before mu.
	writing sync.Mutex
	file    *os.File // of the last segment
	// failing is whether the disk took no more the last time.
	failing bool

	// mu is held for moments. What it guards changes only while writing is held
	// too, except published and acked.
	mu       sync.Mutex
	id       string
	segments []segment // by number; the last one is written to
	next     uint64    // number of the next fact
	// published is the last fact that may be sent.
	published uint64
	acked     uint64
}

// segment is a file of facts.
type segment struct {
	path  string
	first uint64
	size  int64
}

type meta struct {
	// ID is the spool's, Agent the agent's whose it is.
	ID    string `json:"id"`
	Agent string `json:"agent"`
	// Acked is the last number that is known to be acknowledged; more may be.
	Acked uint64 `json:"acked"`
}

// Open opens the agent's spool, or begins one. All facts in it may be sent.
func Open(config Config) (*Spool, error) {
	if config.MaxBytes == 0 {
		config.MaxBytes = DefaultMaxBytes
	}
	if err := os.MkdirAll(config.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the spool's folder: %w", err)
	}
	s := &Spool{config: config, sync: (*os.File).Sync}
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("open the spool: %w", err)
	}
	return s, nil
}

// Close closes the spool's files.
func (s *Spool) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.file.Close()
}

// ID returns the spool's random id.
func (s *Spool) ID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// load reads what is on the disk; what belongs to nobody or another is removed.
func (s *Spool) load() error {
	var m meta
	content, err := os.ReadFile(filepath.Join(s.config.Dir, fileMeta))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err != nil || json.Unmarshal(content, &m) != nil || m.ID == "" || m.Agent != s.config.Agent {
		return s.begin()
	}
	found, err := s.list()
	if err != nil {
		return err
	}
	next := m.Acked + 1
	for i, seg := range found {
		next = max(next, seg.first)
		facts, good, err := seg.read()
		if err != nil {
			return err
		}
		if len(facts) > 0 {
			next = max(next, facts[len(facts)-1].GetSequence()+1)
		}
		found[i].size = good // what follows was written in part, or went bad
	}
	s.mu.Lock()
	s.id, s.segments, s.acked, s.next, s.published = m.ID, found, m.Acked, next, next-1
	s.mu.Unlock()
	if n := len(found); n > 0 && found[n-1].size < s.segmentBytes() {
		return s.resume(found[n-1])
	}
	return s.rotate(next)
}

// list finds the segments.
func (s *Spool) list() (found []segment, err error) {
	entries, err := os.ReadDir(s.config.Dir) // sorted by name, and so by number
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), suffix)
		if !ok || len(name) != digits {
			continue
		}
		if first, err := strconv.ParseUint(name, 10, 64); err == nil && first > 0 {
			found = append(found, segment{path: filepath.Join(s.config.Dir, entry.Name()), first: first})
		}
	}
	return found, nil
}

// begin makes an empty spool in place of what is there.
func (s *Spool) begin() error {
	if s.file != nil {
		_ = s.file.Close()
		s.file = nil
	}
	found, err := s.list()
	if err != nil {
		return err
	}
	for _, seg := range found {
		if err := os.Remove(seg.path); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.segments, s.id, s.next, s.published, s.acked = nil, rand.Text(), 1, 0, 0
	s.mu.Unlock()
	if err := s.writeMeta(); err != nil {
		return err
	}
	return s.rotate(1)
}

// resume goes on writing a segment, without what a crash left at its end.
func (s *Spool) resume(seg segment) error {
	file, err := os.OpenFile(seg.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := file.Truncate(seg.size); err != nil {
		return errors.Join(err, file.Close())
	}
	s.file = file
	return nil
}

// rotate begins the segment of a number and those after it.
func (s *Spool) rotate(first uint64) error {
	seg := segment{path: filepath.Join(s.config.Dir, fmt.Sprintf("%0*d%s", digits, first, suffix)), first: first}
	file, err := os.OpenFile(seg.path, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := syncFolder(s.config.Dir); err != nil {
		return errors.Join(err, file.Close())
	}
	if s.file != nil {
		_ = s.file.Close()
	}
	s.file = file
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.segments); n > 0 && s.segments[n-1].first == seg.first { // nothing was in it
		s.segments = s.segments[:n-1]
	}
	s.segments = append(s.segments, seg)
	return nil
}

func (s *Spool) segmentBytes() int64 { return max(s.config.MaxBytes/segments, minSegmentSize) }

func (s *Spool) size() (bytes int64) {
	for _, seg := range s.segments {
		bytes += seg.size
	}
	return bytes
}

// writeMeta replaces the file that says whose the spool is.
func (s *Spool) writeMeta() error {
	s.mu.Lock()
	m := meta{ID: s.id, Agent: s.config.Agent, Acked: s.acked}
	s.mu.Unlock()
	content, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return Replace(filepath.Join(s.config.Dir, fileMeta), content)
}

// read returns the facts of a segment in order, and how many bytes they take.
// What does not belong there is left out.
func (seg segment) read() (facts []*agentv1.Fact, good int64, err error) {
	content, err := os.ReadFile(seg.path)
	if err != nil {
		return nil, 0, err
	}
	last := seg.first - 1
	good = int64(record.Scan(content, func(payload []byte) {
		fact := &agentv1.Fact{}
		if proto.Unmarshal(payload, fact) == nil && fact.GetSequence() > last {
			facts, last = append(facts, fact), fact.GetSequence()
		}
	}))
	return facts, good, nil
}

// note logs what cannot be helped.
func (s *Spool) note(err error, what string) {
	if err != nil {
		s.config.Log.Warn(what, logging.KeyError, err)
	}
}

// drop removes the first segments.
func (s *Spool) drop(n int) (err error) {
	s.mu.Lock()
	gone := slices.Clone(s.segments[:n])
	s.segments = slices.Clone(s.segments[n:])
	s.mu.Unlock()
	for _, seg := range gone {
		err = errors.Join(err, os.Remove(seg.path))
	}
	return err
}
