package dispatch

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/controller/internal/command"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
)

const (
	// feeders read for lines from the database; more would wait for each
	// other there.
	feeders = 4
	// feedLeast is how many lines are read for together, feedMost when many
	// more wait: what is the same for each reading is shared by more.
	feedLeast = 64
	feedMost  = 256
	// feedTimeout bounds one reading.
	feedTimeout = 20 * time.Second
)

// parcel is what is to be sent on a line.
type parcel struct {
	line     *Line
	set      *deployment.Set
	commands []command.Command
}

// feed reads what lines need and has it sent, until ctx ends. Sending is done
// by a goroutine for each line that lasts as long as the send: one agent that
// takes nothing keeps no other waiting.
func (d *Dispatcher) feed(ctx context.Context) error {
	for {
		lines := d.take()
		if len(lines) == 0 {
			select {
			case <-d.ready:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		parcels, err := d.pack(ctx, lines)
		if err != nil {
			d.postpone(lines, err)
			continue
		}
		for _, p := range parcels {
			d.workers.Go(func() { d.deliver(p) })
		}
	}
}

// take takes the next lines out of the queue.
func (d *Dispatcher) take() []*Line {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(len(d.queue), max(feedLeast, min(len(d.queue)/feeders, feedMost)))
	lines := append([]*Line(nil), d.queue[:n]...)
	if d.queue = d.queue[n:]; len(d.queue) == 0 {
		d.queue = nil
	} else {
		signal(d.ready) // for another feeder
	}
	for _, l := range lines {
		l.feeding.Store(fed)
	}
	return lines
}

// postpone has lines fed again a moment later. The database is away: the agents
// have what they need to keep their nodes as they are, so the sessions are held.
func (d *Dispatcher) postpone(lines []*Line, err error) {
	d.Log.Warn("could not read what agents need; trying again", "sessions", len(lines), logging.KeyError, err)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.later = append(d.later, lines...)
}

// retry feeds again what was postponed.
func (d *Dispatcher) retry() {
	d.mu.Lock()
	lines := d.later
	d.later = nil
	for _, l := range lines {
		l.feeding.Store(queued)
	}
	d.queue = append(d.queue, lines...)
	d.mu.Unlock()
	if len(lines) > 0 {
		signal(d.ready)
	}
}

// pack reads what the lines need. The lines that need nothing are done, those
// that may not go on are ended.
func (d *Dispatcher) pack(ctx context.Context, lines []*Line) ([]parcel, error) {
	ctx, cancel := context.WithTimeout(ctx, feedTimeout)
	defer cancel()
	ids := make([]uuid.UUID, len(lines))
	for i, l := range lines {
		ids[i] = l.AgentID
	}
	standings, err := d.Agents.Look(ctx, ids)
	if err != nil {
		return nil, err
	}
	where := make(map[uuid.UUID]agent.Standing, len(standings))
	for _, s := range standings {
		d.tell(s)
		where[s.AgentID] = s
	}
	var open, rest []*Line
	for _, l := range lines {
		if why := d.mayGoOn(l, where[l.AgentID]); why != nil {
			l.sender.End(why)
			rest = append(rest, l)
		} else {
			open = append(open, l)
		}
	}
	parcels, err := d.fill(ctx, open, where)
	if err != nil {
		return nil, err // those that ended are looked at again, and done then
	}
	var full []parcel
	for _, p := range parcels {
		if p.set == nil && p.commands == nil {
			rest = append(rest, p.line)
		} else {
			full = append(full, p)
		}
	}
	for _, l := range rest {
		l.done()
	}
	return full, nil
}

// fill reads what the lines need: their sets together, commands one by one.
func (d *Dispatcher) fill(ctx context.Context, lines []*Line, where map[uuid.UUID]agent.Standing) ([]parcel, error) {
	parcels := make([]parcel, len(lines))
	var asks []deployment.Ask
	var asked []int
	for i, l := range lines {
		parcels[i].line = l
		if l.quarantined() {
			continue
		}
		s := where[l.AgentID]
		if ask, news := l.ask(s); news {
			asks, asked = append(asks, ask), append(asked, i)
		}
		if !s.Commands {
			l.told = nil
			continue
		}
		var err error
		if parcels[i].commands, err = d.Commands.Pending(ctx, l.NodeID); err != nil {
			return nil, err
		}
	}
	if len(asks) == 0 {
		return parcels, nil
	}
	updates, err := d.Deployments.Updates(ctx, asks)
	if err != nil {
		return nil, err
	}
	for n, i := range asked {
		l := lines[i]
		if updates[n].Standing == deployment.Behind {
			parcels[i].set = &updates[n].Set
		}
		l.answered(updates[n], where[l.AgentID].Generation)
	}
	return parcels, nil
}

// ErrReadmitted ends a session so that the agent comes back at once, into one
// with other rights.
var ErrReadmitted = errors.New("the agent's quarantine has begun or ended; come back")

// mayGoOn returns why the session must end, or nil.
func (d *Dispatcher) mayGoOn(l *Line, s agent.Standing) error {
	if err := s.Err(l.Session); err != nil {
		return err
	}
	if s.Quarantined != l.quarantined() {
		return ErrReadmitted
	}
	return nil
}

// deliver sends a parcel and ends the feeding of its line. The line believes
// already that the agent has it: where it can't be sent, the session must end,
// so that the next one finds out what the agent holds.
func (d *Dispatcher) deliver(p parcel) {
	l := p.line
	defer l.done()
	if err := l.send(p); err != nil {
		// Most often it is over already, and its handler knows why.
		l.sender.End(apperr.Wrap(apperr.Unavailable, err, "send the agent what its node should run"))
	}
}

func (l *Line) send(p parcel) error {
	if p.set != nil {
		if err := l.sender.SendAssignments(*p.set); err != nil {
			return err
		}
	}
	still := make(map[uuid.UUID]struct{}, len(p.commands))
	for _, c := range p.commands {
		if _, told := l.told[c.ID]; !told {
			if err := l.sender.SendCommand(c); err != nil {
				return err
			}
		}
		still[c.ID] = struct{}{}
	}
	l.told = still
	return nil
}

func (d *Dispatcher) tell(s agent.Standing) {
	if d.Changed != nil {
		d.Changed(s)
	}
}
