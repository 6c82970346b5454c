package bulk

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/shared/apperr"
)

// slots counts the streams that readers have open at this replica.
type slots struct {
	perTeam, total int

	mu      sync.Mutex
	teams   map[uuid.UUID]int
	all     int
	open    map[*held]struct{}
	stopped error
}

func newSlots(l Limits) slots {
	return slots{perTeam: l.PerTeam, total: l.Total, teams: map[uuid.UUID]int{}, open: map[*held]struct{}{}}
}

func (s *slots) take(teamID uuid.UUID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopped != nil:
		return s.stopped
	case s.teams[teamID] >= s.perTeam:
		return apperr.New(apperr.TooMany, "the team has %d streams open, its limit: end one first", s.teams[teamID])
	case s.all >= s.total:
		return apperr.New(apperr.TooMany, "the controller has %d streams open, its limit: try again later", s.all)
	}
	s.all++
	s.teams[teamID]++
	return nil
}

func (s *slots) give(teamID uuid.UUID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.teams[teamID]--; s.teams[teamID] == 0 {
		delete(s.teams, teamID)
	}
}

// hold makes a stream one that gives its slot back when it is closed.
func (s *slots) hold(teamID uuid.UUID, stream Stream) (Stream, error) {
	h := &held{Stream: stream, slots: s, teamID: teamID}
	s.mu.Lock()
	stopped := s.stopped
	if stopped == nil {
		s.open[h] = struct{}{}
	}
	s.mu.Unlock()
	if stopped != nil {
		stream.Close(stopped)
		s.give(teamID)
		return nil, stopped
	}
	return h, nil
}

// interrupt ends the streams with a cause; their readers still close them.
func (s *slots) interrupt(cause error) {
	s.mu.Lock()
	s.stopped = cause
	open := make([]*held, 0, len(s.open))
	for h := range s.open {
		open = append(open, h)
	}
	s.mu.Unlock()
	for _, h := range open {
		h.Stream.Close(cause)
	}
}

// idle waits until no stream is open or ctx ends.
func (s *slots) idle(ctx context.Context) {
	look := time.NewTicker(idleLook)
	defer look.Stop()
	for {
		s.mu.Lock()
		all := s.all
		s.mu.Unlock()
		if all == 0 {
			return
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

const idleLook = 10 * time.Millisecond

// held is a stream that holds a slot.
type held struct {
	Stream
	slots  *slots
	teamID uuid.UUID
	once   sync.Once
}

// Close ends the stream and gives its slot back.
func (h *held) Close(cause error) {
	h.Stream.Close(cause)
	h.once.Do(func() {
		h.slots.mu.Lock()
		delete(h.slots.open, h)
		h.slots.mu.Unlock()
		h.slots.give(h.teamID)
	})
}

func reasonOf(err error) string {
	var e *apperr.Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}
