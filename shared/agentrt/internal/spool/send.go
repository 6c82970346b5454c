package spool

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
)

// Next returns the facts after a number that may be sent, at most so many and
// so large together; one always goes. In place of facts that are not there is
// one that counts them, under the last of their numbers.
func (s *Spool) Next(after uint64, most, bytes int) ([]*agentv1.Fact, error) {
	for {
		s.mu.Lock()
		r := reader{at: max(after, s.acked), published: s.published, most: most, bytes: bytes}
		held := slices.Clone(s.segments)
		s.mu.Unlock()
		err := r.read(held)
		if errors.Is(err, os.ErrNotExist) && s.gone(held) {
			continue // acknowledged or dropped meanwhile
		}
		return r.found, err
	}
}

// gone reports whether the first segment is another one by now.
func (s *Spool) gone(held []segment) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(held) > 0 && len(s.segments) > 0 && s.segments[0].path != held[0].path
}

// reader collects facts.
type reader struct {
	at          uint64 // the last number that was passed
	published   uint64
	most, bytes int
	found       []*agentv1.Fact
}

func (r *reader) read(segments []segment) error {
	for i, seg := range segments {
		if i+1 < len(segments) && segments[i+1].first <= r.at+1 {
			continue // all of it is behind
		}
		if r.at >= r.published {
			return nil
		}
		facts, _, err := seg.read()
		if err != nil {
			return err
		}
		for _, fact := range facts {
			n := fact.GetSequence()
			if n <= r.at || n > r.published {
				continue
			}
			if missing := n - r.at - 1; missing > 0 && !r.take(lost(n-1, missing, fact.GetTime())) || !r.take(fact) {
				return nil
			}
		}
	}
	if r.at < r.published {
		r.take(lost(r.published, r.published-r.at, timestamppb.Now()))
	}
	return nil
}

// take adds a fact, unless there are enough.
func (r *reader) take(fact *agentv1.Fact) bool {
	r.bytes -= proto.Size(fact)
	if len(r.found) >= r.most || r.bytes < 0 && len(r.found) > 0 {
		return false
	}
	r.found, r.at = append(r.found, fact), fact.GetSequence()
	return true
}

func lost(sequence, count uint64, at *timestamppb.Timestamp) *agentv1.Fact {
	return &agentv1.Fact{
		Sequence: sequence, Time: at,
		What: &agentv1.Fact_Lost{Lost: &agentv1.FactsLost{Count: count}},
	}
}

// Waiting reports whether there are facts to send after a number.
func (s *Spool) Waiting(after uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.published > max(after, s.acked)
}

// Ack tells that the controller has every fact up to the number. They are not
// sent again; Append and Trim remove them.
func (s *Spool) Ack(sequence uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sequence > s.acked && sequence < s.next {
		s.acked = sequence
	}
}

// Opened tells what the controller has of the spool. When that is more than was
// ever in it, the disk has gone back to an older state: the facts are numbered
// anew in a spool of another id, so that none is taken for one that is known.
func (s *Spool) Opened(committed uint64) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	behind := committed >= s.next
	s.mu.Unlock()
	if !behind {
		s.Ack(committed)
		return nil
	}
	s.config.Log.Warn("the spool of facts is older than what the controller has of it; it begins anew", "committed", committed)
	facts, err := s.facts()
	if err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return fmt.Errorf("begin a new spool: %w", err)
	}
	if s.append(facts) != nil { // they were in the spool that is gone
		s.lose(len(facts))
	}
	s.Publish()
	return nil
}
