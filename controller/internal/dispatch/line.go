package dispatch

import (
	"sync"
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

	// leaving tells that the agent was asked to go to another controller.
	leaving atomic.Bool

	feeding atomic.Int32
	// sent is the generation of the node that the agent was last fed for.
	sent atomic.Uint64
	// sets is what is known of the agent's set.
	sets sets
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
	if s.Err(l.Session) != nil || s.Quarantined != l.quarantined() || s.Commands {
		return true
	}
	_, news := l.ask(s)
	return news
}

func (l *Line) quarantined() bool { return l.Quarantine != "" }

// sets is what is known of the set that an agent holds.
type sets struct {
	mu sync.Mutex
	// held is the set that the agent holds once it has taken all it was sent;
	// taken is the last that it said it holds.
	held, taken deployment.Held
	// sure is set when held is not only what the agent said at its hello.
	sure bool
	// delta: the agent takes changes. refused: it did not take the last one.
	// whole: the last that it was sent was no change.
	delta, refused, whole bool
	// offer is when, by the dispatcher's clock, what was refused is sent once
	// more; 0 when nothing is to be.
	offer time.Duration
	// again is set when the agent must be asked about although the node's
	// generation is the one it was fed for.
	again bool
}

// Taken notes that the agent holds the set of a generation.
func (l *Line) Taken(generation uint64, hash string) {
	l.sets.mu.Lock()
	defer l.sets.mu.Unlock()
	if l.sets.held.Generation == generation && l.sets.held.Hash == hash {
		l.sets.taken, l.sets.refused, l.sets.offer = l.sets.held, false, 0
		return
	}
	l.sets.taken = deployment.Held{Lineage: l.sets.held.Lineage, Generation: generation, Hash: hash}
}

// offerAgain is how soon a set that was refused is sent again: the disk that
// was full may have room.
const offerAgain = 15 * time.Second

// Refused notes that the agent did not take a set. With retry, a change that
// did not fit what it holds is followed by all of what its node should run, at
// once; everything else is offered again after a while.
func (l *Line) Refused(retry bool) {
	now := l.dispatcher.clock()
	l.sets.mu.Lock()
	again := retry && !l.sets.whole
	l.sets.held, l.sets.refused = l.sets.taken, true
	l.sets.again = l.sets.again || again
	if !again {
		l.sets.offer = now + offerAgain
	}
	l.sets.mu.Unlock()
	if again {
		l.mark()
	}
}

// reoffer has what was refused sent again when its time has come.
func (l *Line) reoffer(now time.Duration) {
	l.sets.mu.Lock()
	due := l.sets.offer != 0 && now >= l.sets.offer
	if due {
		l.sets.offer, l.sets.again = 0, true
	}
	l.sets.mu.Unlock()
	if due {
		l.mark()
	}
}

// ask is the question what to send; false when nothing can be new.
func (l *Line) ask(s agent.Standing) (deployment.Ask, bool) {
	l.sets.mu.Lock()
	defer l.sets.mu.Unlock()
	if s.Generation == l.sent.Load() && !l.sets.again {
		return deployment.Ask{}, false
	}
	return deployment.Ask{
		AgentID: l.AgentID, NodeID: l.NodeID, Epoch: l.Epoch, Held: l.sets.held, Sure: l.sets.sure,
		Whole: !l.sets.delta || l.sets.refused,
	}, true
}

// answered notes the answer to a question; the agent is thought to hold what it
// is about to be sent, since what is sent on one stream comes in order.
func (l *Line) answered(u deployment.Update, generation uint64) {
	l.sets.mu.Lock()
	defer l.sets.mu.Unlock()
	l.sets.again = u.Standing == deployment.Diverged // somebody may decide
	l.sent.Store(generation)
	if u.Standing == deployment.Behind {
		l.sets.held = deployment.Held{Lineage: u.Set.Lineage, Generation: u.Set.Generation, Hash: u.Set.Hash}
		l.sets.sure, l.sets.whole = true, u.Set.Base == deployment.Held{}
		l.sent.Store(u.Set.Generation)
	}
}
