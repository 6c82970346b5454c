package agentrpc

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
)

// noted remembers whose refusal was kept a moment ago, so that an agent that
// tries again and again costs no statement.
type noted struct {
	now func() time.Time

	mu   sync.Mutex
	last map[uuid.UUID]time.Time
}

// maxNoted bounds how many agents are remembered.
const maxNoted = 4096

func newNoted(now func() time.Time) *noted { return &noted{now: now, last: map[uuid.UUID]time.Time{}} }

// due reports whether the agent's refusal is to be kept now.
func (n *noted) due(id uuid.UUID) bool {
	now := n.now()
	n.mu.Lock()
	defer n.mu.Unlock()
	if now.Sub(n.last[id]) < agent.RefusalEvery {
		return false
	}
	if len(n.last) >= maxNoted {
		for other, at := range n.last {
			if now.Sub(at) >= agent.RefusalEvery {
				delete(n.last, other)
			}
		}
		if len(n.last) >= maxNoted {
			return false // too many at once for each to be of use
		}
	}
	n.last[id] = now
	return true
}

// note keeps why an agent was turned away, for those who look after its node.
// What passes by itself is not kept.
func (s *Server) note(ctx context.Context, agentID uuid.UUID, err error) {
	var e *apperr.Error
	if !errors.As(err, &e) || e.Kind == apperr.Unavailable || e.Kind == apperr.Internal || e.Reason == agent.ReasonReplaced {
		return
	}
	if !s.noted.due(agentID) {
		return
	}
	reason := e.Reason
	if reason == "" {
		reason = e.Kind.String()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	r := agent.Refusal{AgentID: agentID, Reason: reason, Message: e.Message, Address: peerAddress(ctx)}
	if err := s.Agents.Refused(ctx, r); err != nil {
		s.log.Warn("could not keep an agent's refusal", logging.KeyError, err)
	}
}

func reasonOf(err error) string {
	var e *apperr.Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}
