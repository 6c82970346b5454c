package dispatch

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/shared/logging"
)

const (
	// lookEvery backs up the hints, with one statement for all sessions: a
	// lost hint costs at most this long. Now and then the same statement keeps
	// the replica's lease, and its answer tells that the database is there: it
	// is nearly all that a controller asks while nothing happens.
	lookEvery = 1300 * time.Millisecond
	// lookTimeout bounds one statement of the watch.
	lookTimeout = 5 * time.Second
)

// watching is what the watch remembers from one look to the next.
type watching struct {
	since uint64
	// renewed is when the lease was; claimed is false while sessions are to be
	// claimed again because it had run out.
	renewed time.Duration
	claimed bool
}

// watch looks for what changed for all agents, about each second and whenever
// hints may have been lost, keeps the replica's lease, and writes down which
// agents are silent.
func (d *Dispatcher) watch(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	w := watching{renewed: d.clock(), claimed: true} // it was registered just now
	var away bool
	for {
		err := d.changes(ctx, &w)
		if d.Answered != nil && ctx.Err() == nil {
			d.Answered(err)
		}
		if err == nil {
			err = d.claim(ctx, &w)
		}
		if err == nil {
			err = d.writeSilences(ctx)
		}
		if err == nil {
			err = d.closeLate(ctx)
		}
		if failed := err != nil && ctx.Err() == nil; failed != away {
			away = failed
			if failed {
				d.Log.Warn("could not look for changes; trying again about each second", logging.KeyError, err)
			} else {
				d.Log.Info("changes are seen again")
			}
		}
		d.retry()
		select {
		case <-tick.C:
		case <-d.look:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// changes marks the lines for which something changed since an earlier look,
// and renews the lease when that is due.
func (d *Dispatcher) changes(ctx context.Context, w *watching) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	look, began := d.Agents.Changes, d.clock()
	renew := began-w.renewed >= agent.RenewEvery
	if renew {
		look = d.Agents.ChangesAndLease
	}
	changes, err := look(ctx, w.since)
	if err != nil {
		return err
	}
	if renew {
		w.renewed = began
		if !changes.Kept {
			d.Log.Warn("this controller's lease had run out; its sessions are claimed again")
			w.claimed = false
		}
	}
	if w.since == 0 || changes.Since < w.since {
		// The first look, or the database was put back from a backup: nothing
		// is known of what came before.
		for _, l := range d.lines() {
			l.mark()
		}
	}
	for _, s := range changes.Standings {
		d.tell(s)
		if l := d.line(s.AgentID); l != nil && l.behind(s) {
			l.mark()
		}
	}
	w.since = changes.Since
	return nil
}

// writeSilences writes down what the sweep found.
func (d *Dispatcher) writeSilences(ctx context.Context) error {
	d.mu.Lock()
	found := d.silences
	d.silences = map[uuid.UUID]agent.Silence{}
	d.mu.Unlock()
	if len(found) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	err := d.Agents.NoteSilence(ctx, slices.Collect(maps.Values(found)))
	if err != nil {
		d.mu.Lock()
		for id, s := range found {
			if _, newer := d.silences[id]; !newer {
				d.silences[id] = s
			}
		}
		d.mu.Unlock()
	}
	return err
}

// claim claims this replica's sessions again when its lease had run out.
func (d *Dispatcher) claim(ctx context.Context, w *watching) error {
	if w.claimed {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, agent.RenewEvery)
	defer cancel()
	lines := d.lines()
	sessions := make([]agent.Session, len(lines))
	for i, l := range lines {
		sessions[i] = l.Session
	}
	err := d.Agents.Claim(ctx, sessions)
	if err == nil {
		w.claimed = true
		for _, l := range lines {
			l.mark() // some may have been taken over meanwhile
		}
	}
	return err
}

// Close notes the end of a session, or has it noted as soon as the database is
// there again.
func (d *Dispatcher) Close(ctx context.Context, s agent.Session, end agent.End) {
	if err := d.Agents.Close(ctx, s, end); err != nil {
		d.Log.Warn("could not note the end of a session; trying again", logging.KeyNode, s.NodeID, logging.KeyError, err)
		d.closeAgain(agent.Ended{Session: s, End: end})
	}
}

func (d *Dispatcher) closeAgain(list ...agent.Ended) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range list {
		if other, ok := d.unclosed[e.AgentID]; !ok || other.Epoch < e.Epoch {
			d.unclosed[e.AgentID] = e
		}
	}
}

// closeLate writes down ends of sessions that could not be.
func (d *Dispatcher) closeLate(ctx context.Context) error {
	d.mu.Lock()
	list := slices.Collect(maps.Values(d.unclosed))
	clear(d.unclosed)
	d.mu.Unlock()
	if len(list) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	err := d.Agents.CloseAll(ctx, list)
	if err != nil {
		d.closeAgain(list...)
	}
	return err
}
