package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/proto"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/record"
	"fairlead.dev/shared/logging"
)

// Append numbers facts and writes them together. When it returns nil they are on
// the disk; else none of them is, most often because it has no room, and they
// are to be given again. They are not sent before Publish.
func (s *Spool) Append(facts ...*agentv1.Fact) error {
	if len(facts) == 0 {
		return nil
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.append(facts)
}

// Lose counts facts as lost that could not be written and can't be given again.
func (s *Spool) Lose(n int) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.lose(n)
}

func (s *Spool) lose(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next += uint64(n)
}

func (s *Spool) append(facts []*agentv1.Fact) error {
	var b []byte
	s.mu.Lock()
	first := s.next
	s.next += uint64(len(facts))
	s.mu.Unlock()
	for i, fact := range facts {
		fact.Sequence = first + uint64(i)
		payload, err := proto.Marshal(fact)
		s.note(err, "a fact cannot be written and is lost")
		if err == nil {
			b = record.Append(b, payload)
		}
	}
	s.trim()
	err := s.write(b, first)
	if err != nil && len(s.segments) > 1 {
		err = errors.Join(s.drop(1), s.write(b, first)) // the newest are worth more
	}
	if failing := err != nil; failing != s.failing {
		s.failing = failing
		if failing {
			s.config.Log.Error("facts cannot be written; they are told when the disk has room", logging.KeyError, err)
		} else {
			s.config.Log.Info("facts can be written again")
		}
	}
	if err != nil { // nobody has seen their numbers
		s.mu.Lock()
		defer s.mu.Unlock()
		s.next = first
		return err
	}
	for s.size() > s.config.MaxBytes && len(s.segments) > 1 {
		s.note(s.drop(1), "drop the oldest facts")
	}
	return nil
}

// write appends records, the first of which has the number, to the last segment
// or a new one. What was written in part is taken back; where that fails too,
// the next record is written over it.
func (s *Spool) write(b []byte, first uint64) error {
	if s.segments[len(s.segments)-1].size >= s.segmentBytes() {
		if err := s.rotate(first); err != nil {
			return err
		}
	}
	last := s.segments[len(s.segments)-1]
	_, err := s.file.WriteAt(b, last.size)
	if err == nil {
		err = s.sync(s.file)
	}
	if err != nil {
		_ = s.file.Truncate(last.size)
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.segments[len(s.segments)-1].size += int64(len(b))
	return nil
}

// Trim removes from the disk what the controller has.
func (s *Spool) Trim() {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.trim()
}

func (s *Spool) trim() {
	s.mu.Lock()
	n := 0
	for n+1 < len(s.segments) && s.segments[n+1].first <= s.acked+1 {
		n++
	}
	all := n+1 == len(s.segments) && s.segments[n].size > s.segmentBytes()/4 && s.acked+1 == s.next
	next := s.next
	s.mu.Unlock()
	if all {
		if err := s.rotate(next); err != nil {
			s.note(err, "begin the next segment of facts")
			return
		}
		n++
	}
	if n > 0 {
		s.note(s.writeMeta(), "note what was acknowledged")
		s.note(s.drop(n), "remove acknowledged facts")
	}
}

// Publish lets everything appended so far be sent.
func (s *Spool) Publish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.published = s.next - 1
}

// Facts returns what is in the spool, for whoever must know what was noticed
// before a crash.
func (s *Spool) Facts() ([]*agentv1.Fact, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.facts()
}

func (s *Spool) facts() ([]*agentv1.Fact, error) {
	var all []*agentv1.Fact
	for _, seg := range s.segments {
		facts, _, err := seg.read()
		if err != nil {
			return nil, fmt.Errorf("read the spool: %w", err)
		}
		all = append(all, facts...)
	}
	return all, nil
}

// Replace replaces a file by the content, on the disk when it returns nil. A
// crash leaves the old content or the new.
func Replace(path string, content []byte) (err error) {
	folder := filepath.Dir(path)
	temp, err := os.CreateTemp(folder, ".new-*") // 0600
	if err != nil {
		return err
	}
	_, err = temp.Write(content)
	if err == nil {
		err = temp.Sync()
	}
	err = errors.Join(err, temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return syncFolder(folder)
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
