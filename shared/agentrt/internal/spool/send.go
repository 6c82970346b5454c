package spool

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
)

// Next returns the facts after a number that may be sent, at most so many and
// so large together; one always goes. In place of facts that are not there is
// one that counts them, under the last of their numbers.
func (s *Spool) Next(after uint64, most, bytes int) ([]*agentv1.Fact, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := max(after, s.acked)
	var found []*agentv1.Fact
	take := func(fact *agentv1.Fact) bool {
		bytes -= proto.Size(fact)
		if len(found) >= most || bytes < 0 && len(found) > 0 {
			return false
		}
		found, at = append(found, fact), fact.GetSequence()
		return true
	}
	for i, seg := range s.segments {
		if i+1 < len(s.segments) && s.segments[i+1].first <= at+1 {
			continue // all of it is behind
		}
		if at >= s.published {
			return found, nil
		}
		facts, _, err := seg.read()
		if err != nil {
			return nil, err
		}
		for _, fact := range facts {
			n := fact.GetSequence()
			if n <= at || n > s.published {
				continue
			}
			if missing := n - at - 1; missing > 0 && !take(lost(n-1, missing, fact.GetTime())) || !take(fact) {
				return found, nil
			}
		}
	}
	if at < s.published {
		take(lost(s.published, s.published-at, timestamppb.Now()))
	}
	return found, nil
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

// Ack forgets every fact up to the number: the controller has them.
func (s *Spool) Ack(sequence uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ack(sequence)
}

func (s *Spool) ack(sequence uint64) {
	if sequence <= s.acked || sequence >= s.next {
		return
	}
	s.acked = sequence
	n := 0
	for n+1 < len(s.segments) && s.segments[n+1].first <= s.acked+1 {
		n++
	}
	if n > 0 {
		s.note(s.drop(n), "remove acknowledged facts")
		s.note(s.writeMeta(), "note what was acknowledged")
	}
}

// Opened tells what the controller has of the spool. When that is more than was
// ever in it, the disk has gone back to an older state: the facts are numbered
// anew in a spool of another id, so that none is taken for one that is known.
func (s *Spool) Opened(committed uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if committed < s.next {
		s.ack(committed)
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
	s.append(facts)
	s.published = s.next - 1
	return nil
}
