package agentrpc

import (
	"math/rand/v2"
	"time"
)

const (
	// awayFor is how long an agent is told to wait that comes while this
	// controller takes no sessions; each waits for up to twice that.
	awayFor = time.Second
	// openPatience is when a session that is being opened is given up if the
	// controller takes none any more.
	openPatience = 2500 * time.Millisecond
	// shedAfter bounds how long an agent that is sent away waits: the next
	// controller is there already.
	shedAfter = 200 * time.Millisecond
)

// accepts returns the refusal of a session that comes now, or nil.
func (s *Server) accepts() error {
	if s.Accepts == nil {
		return nil
	}
	if err := s.Accepts(); err != nil {
		//nolint:gosec // chance, not secrecy
		return busy(awayFor+rand.N(awayFor), "this controller takes no sessions now; come back, or to another: %v", err)
	}
	return nil
}

// Open returns how many sessions there are that were not asked to go.
func (s *Server) Open() int { return s.Dispatcher.Staying() }

// Shed has n agents, any, come back at another controller: each at a moment of
// its own within a fraction of a second.
func (s *Server) Shed(n int) {
	s.Dispatcher.Shed(n, func() error {
		return busy(rand.N(shedAfter), "this controller gives its sessions away; come back") //nolint:gosec // chance, not secrecy
	})
}
