package dispatch

import (
	"context"
	"time"

	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/controller/internal/node"
	"fairlead.dev/shared/apperr"
)

const (
	sweepEvery = time.Second
	// stalled is how long a pause of this process counts as its own fault: no
	// agent is called silent for it.
	stalled = 3 * time.Second
	// stuckAfter is how long a session may try to send while the connection
	// takes nothing.
	stuckAfter = 20 * time.Second
)

// sweepEach decides, for all sessions, who is overdue, who is lost, and which
// session is stuck. It never waits for the database.
func (d *Dispatcher) sweepEach(ctx context.Context) error {
	d.swept, d.floor = d.clock(), d.clock()
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.Sweep()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Sweep looks at every session once. It is for one goroutine.
func (d *Dispatcher) Sweep() {
	now := d.clock()
	if now-d.swept > stalled {
		// This process stood still, and so did what would have heard the
		// agents: they get their whole time anew.
		d.floor = now
	}
	d.swept = now
	for _, l := range d.lines() {
		d.judge(l, now)
	}
}

func (d *Dispatcher) judge(l *Line, now time.Duration) {
	l.reoffer(now)
	handling, stuck := l.sender.Pending()
	quiet := now - max(time.Duration(l.heard.Load()), d.floor)
	if handling > 0 { // it said something, and waits for us
		quiet = 0
	}
	switch {
	case stuck >= stuckAfter:
		l.sender.End(apperr.New(apperr.Unavailable, "the agent has taken nothing for %s", stuck.Round(time.Second)))
	case quiet >= node.LostAfter:
		l.lost.CompareAndSwap(0, d.Now().Add(-quiet).UnixNano())
		l.sender.End(apperr.New(apperr.Unavailable, "nothing was heard of the agent for %s", quiet.Round(time.Second)))
	case (quiet >= node.StaleAfter) != l.silent:
		l.silent = !l.silent
		s := agent.Silence{AgentID: l.AgentID, Epoch: l.Epoch}
		if l.silent {
			s.Since = d.Now().Add(-quiet)
		}
		d.mu.Lock()
		d.silences[l.AgentID] = s
		d.mu.Unlock()
	}
}
