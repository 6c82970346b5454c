package dispatch

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/agent"
)

// PingTimeout is how long an agent has to answer a ping that decides whether
// its session is alive.
const PingTimeout = 2 * time.Second

// pongs are the pings that wait for their answer.
type pongs struct {
	mu      sync.Mutex
	waiting map[uint64]pending
}

type pending struct {
	line *Line
	came chan struct{}
}

// ask returns a new nonce and what is closed at its answer.
func (p *pongs) ask(l *Line) (uint64, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting == nil {
		p.waiting = map[uint64]pending{}
	}
	nonce := rand.Uint64() //nolint:gosec // only this line's own answer counts
	w := pending{line: l, came: make(chan struct{})}
	p.waiting[nonce] = w
	return nonce, w.came
}

func (p *pongs) answer(l *Line, nonce uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w, ok := p.waiting[nonce]; ok && w.line == l {
		close(w.came)
		delete(p.waiting, nonce)
	}
}

func (p *pongs) forget(nonce uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, nonce)
}

// Ping asks the agent of a session that this replica holds for an answer, and
// reports whether it came in time. A session that is not here, and an agent
// that does not know pings, do not answer.
func (d *Dispatcher) Ping(ctx context.Context, agentID uuid.UUID, epoch int64) bool {
	l := d.line(agentID)
	if l == nil || l.Epoch != epoch || !l.sender.CanPing() {
		return false
	}
	nonce, came := d.pongs.ask(l)
	defer d.pongs.forget(nonce)
	go func() { _ = l.sender.Ping(nonce) }() // may be stuck; ends with the session at the latest
	timeout := time.NewTimer(PingTimeout)
	defer timeout.Stop()
	select {
	case <-came:
		return true
	case <-timeout.C:
		return false
	case <-ctx.Done():
		return false
	}
}

// Asker pings sessions wherever they are: here, or through their replica.
func (d *Dispatcher) Asker(remote Remote) agent.Ask {
	return func(ctx context.Context, h agent.Holder) bool {
		ctx, cancel := context.WithTimeout(ctx, PingTimeout)
		defer cancel()
		switch {
		case d.Agents.IsMine(h):
			return d.Ping(ctx, h.AgentID, h.Epoch)
		case remote == nil:
			return false
		default:
			alive, _, err := remote.Ping(ctx, h.ReplicaAddress, h.AgentID, h.Epoch)
			return err == nil && alive
		}
	}
}

// Remote reaches sessions that other replicas hold.
type Remote interface {
	// Ping has the replica at an address ping the agent of a session that it
	// holds. An error means that it could not be asked, or holds no such
	// session.
	Ping(ctx context.Context, address string, agentID uuid.UUID, epoch int64) (alive bool, bootID string, err error)
}
