package dispatch

import (
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/controller/internal/command"
	"fairlead.dev/controller/internal/deployment"
)

// Sender is an open session as dispatch sees it. SendAssignments and
// SendCommand are called by one goroutine at a time.
type Sender interface {
	SendAssignments(set deployment.Set) error
	SendCommand(c command.Command) error
	// Ping asks the agent for a pong.
	Ping(nonce uint64) error
	// CanPing reports whether the agent answers pings now.
	CanPing() bool
	// Pending returns for how long the session has been handling a message
	// of the agent, and for how long it has been trying to send one while the
	// connection took nothing; 0 when it does neither.
	Pending() (handling, stuck time.Duration)
	// End ends the session; the agent is told why. It does not block.
	End(why error)
}

// Line is one open session on this replica. It has no goroutine: one is there
// only while there is something to send.
type Line struct {
	agent.Session
	sender     Sender
	dispatcher *Dispatcher

	// heard is when the last message came, by the dispatcher's clock.
	heard atomic.Int64
	// silent is since when the database says that the agent is overdue; only
	// the sweep uses it.
	silent bool
	// lost is since when an agent was silent whose session ended for that.
	lost atomic.Int64

	feeding atomic.Int32
	// sent is the generation of the last set that was sent.
	sent atomic.Uint64
	// told are the commands that were sent and have no result yet; only who
	// feeds uses it.
	told map[uuid.UUID]struct{}
}

// States of feeding: nobody feeds the line; it is in the queue; somebody feeds
// it; and somebody does while there may be more already.
const (
	idle int32 = iota
	queued
	fed
	fedAgain
)

// Heard notes that the agent said something.
func (l *Line) Heard() { l.heard.Store(int64(l.dispatcher.clock())) }

// Pong passes on the agent's answer to a ping.
func (l *Line) Pong(nonce uint64) { l.dispatcher.pongs.answer(l, nonce) }

// SilentSince returns when the agent was last heard of, when the session ended
// for its silence; otherwise the zero time.
func (l *Line) SilentSince() time.Time {
	if n := l.lost.Load(); n != 0 {
		return time.Unix(0, n).UTC()
	}
	return time.Time{}
}

// mark puts the line into the queue of those to be fed, unless it is there.
func (l *Line) mark() {
	for {
		switch l.feeding.Load() {
		case idle:
			if l.feeding.CompareAndSwap(idle, queued) {
				l.dispatcher.enqueue(l)
				return
			}
		case fed:
			if l.feeding.CompareAndSwap(fed, fedAgain) {
				return
			}
		default:
			return
		}
	}
}

// done ends the feeding of the line, or puts it into the queue again.
func (l *Line) done() {
	if !l.feeding.CompareAndSwap(fed, idle) {
		l.feeding.Store(queued)
		l.dispatcher.enqueue(l)
	}
}

// behind reports whether the line has something to do about where its agent
// stands.
func (l *Line) behind(s agent.Standing) bool {
	return s.Err(l.Session) != nil || s.Quarantined != l.quarantined() || s.Commands || s.Generation != l.sent.Load()
}

func (l *Line) quarantined() bool { return l.Quarantine != "" }
