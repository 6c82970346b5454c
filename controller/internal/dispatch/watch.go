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
	// lost hint costs at most this long.
	lookEvery = time.Second
	// lookTimeout bounds one statement of the watch.
	lookTimeout = 5 * time.Second
)

// watch looks for what changed for all agents, each second and whenever hints
// may have been lost, and writes down which agents are silent.
func (d *Dispatcher) watch(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var since uint64
	var away bool
	for {
		next, err := d.changes(ctx, since)
		if err == nil {
			since = next
			err = d.writeSilences(ctx)
		}
		if err == nil {
			err = d.closeLate(ctx)
		}
		if failed := err != nil && ctx.Err() == nil; failed != away {
			away = failed
			if failed {
				d.Log.Warn("could not look for changes; trying again each second", logging.KeyError, err)
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
// and returns where to go on.
func (d *Dispatcher) changes(ctx context.Context, since uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	changes, err := d.Agents.Changes(ctx, since)
	if err != nil {
		return since, err
	}
	if since == 0 || changes.Since < since {
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
	return changes.Since, nil
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

// keepLease keeps the replica's lease, and claims its sessions again when it
// had run out.
func (d *Dispatcher) keepLease(ctx context.Context) error {
	tick := time.NewTicker(agent.RenewEvery)
	defer tick.Stop()
	claimed := true
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		err := d.renew(ctx, &claimed)
		if err != nil && ctx.Err() == nil {
			d.Log.Warn("could not renew this controller's lease; trying again", logging.KeyError, err)
		}
	}
}

func (d *Dispatcher) renew(ctx context.Context, claimed *bool) error {
	ctx, cancel := context.WithTimeout(ctx, agent.RenewEvery)
	defer cancel()
	kept, err := d.Agents.RenewLease(ctx)
	if err != nil {
		return err
	}
	if !kept {
		d.Log.Warn("this controller's lease had run out; its sessions are claimed again")
		*claimed = false
	}
	if *claimed {
		return nil
	}
	lines := d.lines()
	sessions := make([]agent.Session, len(lines))
	for i, l := range lines {
		sessions[i] = l.Session
	}
	err = d.Agents.Claim(ctx, sessions)
	if err == nil {
		*claimed = true
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
