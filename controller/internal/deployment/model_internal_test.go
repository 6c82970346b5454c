package deployment

import (
	"fmt"
	"slices"
	"testing"
)

func (w *world) wrong(s mstate) string {
	if s.agent != (mset{}) && !slices.Contains(s.ever[:], s.agent) {
		return fmt.Sprintf("the agent holds %v, which nobody ever wanted", s.agent)
	}
	for i, release := range s.engine {
		if release > 0 && !s.wanted(i, func(x slot) bool { return x.release == release }) {
			return "something runs that nobody ever wanted"
		}
	}
	return ""
}

// settled lets everything heal: what is on its way arrives, a new session
// opens, and what can be said is said. Then the agent holds what the database
// wants, and the database knows; or the agent diverged, and nothing happened to
// it.
func (w *world) settled(s mstate) string {
	if w.old {
		return "" // it is not told what the agent holds
	}
	before, late := s, s.late
	s = w.heal(s)
	if late.there { // the worst moment is after the new session
		s = w.note(s, late)
	}
	if w.judge(&s) == Diverged {
		if s.agent != before.agent && before.down[0] == (mmessage{}) {
			return "an agent that diverged was given something"
		}
		s.budget.adopted = 1
		s = w.heal(s.adopt())
	}
	switch {
	case s.db.gen == 0:
		return ""
	case !s.agent.same(s.db):
		return fmt.Sprintf("the agent holds %v, the database wants %v", s.agent, s.db)
	case !s.applied.same(s.agent):
		return fmt.Sprintf("the agent holds %v, the database believes %v", s.agent, s.applied)
	}
	for i, x := range s.db.slots {
		if x.release > 0 && s.engine[i] != x.release || x.tombstone > 0 && s.engine[i] != 0 {
			return fmt.Sprintf("prefix %d runs %d, wanted is %v", i, s.engine[i], x)
		}
	}
	return ""
}

// heal runs the rest of the present session, or of a new one, without faults.
func (w *world) heal(s mstate) mstate {
	s.budget = mbudget{}
	s.late = mack{}
	if !s.open {
		s.open, s.held = true, s.agent
		s.epoch++
	}
	for range 40 {
		next := w.next(s)
		if len(next) == 0 {
			break
		}
		s = next[0].to
	}
	return s
}

func (w *world) hold(t *testing.T) { t.Helper(); mustHold(t, w.model()) }
func (w *world) fail(t *testing.T) { t.Helper(); mustFail(t, w.model()) }

func TestModelSetsConverge(t *testing.T) {
	for name, b := range map[string]mbudget{
		"messages": {acts: 3, sessions: 2, withheld: 1, repeated: 1},
		"crashes":  {acts: 2, sessions: 3, crashes: 2},
		"garbled":  {acts: 3, sessions: 1, garbled: 1, withheld: 1},
		"backup":   {acts: 3, sessions: 2, backups: 1, adopted: 1},
		"another":  {acts: 3, sessions: 2, others: 1, adopted: 1},
	} {
		t.Run(name, func(t *testing.T) { newWorld(allGuards(), b).hold(t) })
		t.Run(name+" eager", func(t *testing.T) {
			w := newWorld(allGuards(), b)
			w.eager = true
			w.hold(t)
		})
	}
}

func TestModelEveryGuardIsNeeded(t *testing.T) {
	old := func(w *world) { w.old = true }
	eager := func(w *world) { w.eager = true }
	for name, c := range map[string]struct {
		off    func(*guards)
		budget mbudget
		like   func(*world)
	}{
		"lineage":    {func(g *guards) { g.lineage = false }, mbudget{acts: 2, sessions: 2, others: 1}, old},
		"stale":      {func(g *guards) { g.stale = false }, mbudget{acts: 3, sessions: 2, backups: 1}, old},
		"base":       {func(g *guards) { g.base = false }, mbudget{acts: 3, sessions: 2, withheld: 1}, eager},
		"hash":       {func(g *guards) { g.hash = false }, mbudget{acts: 1, sessions: 1, garbled: 1}, nil},
		"tombstones": {func(g *guards) { g.tombstones = false }, mbudget{acts: 3, sessions: 2, backups: 1, adopted: 1}, nil},
		"fence":      {func(g *guards) { g.fence = false }, mbudget{acts: 2, sessions: 3, crashes: 1}, nil},
		"diverged":   {func(g *guards) { g.diverged = false }, mbudget{acts: 3, sessions: 2, backups: 1}, nil},
		"offered":    {func(g *guards) { g.offered = false }, mbudget{acts: 3, sessions: 2, backups: 1, adopted: 1}, nil},
		"hello":      {func(g *guards) { g.hello = false }, mbudget{acts: 1, sessions: 2}, nil},
		"resend":     {func(g *guards) { g.resend = false }, mbudget{acts: 1, sessions: 1, withheld: 1}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := allGuards()
			with := newWorld(g, c.budget)
			c.off(&g)
			without := newWorld(g, c.budget)
			if c.like != nil {
				c.like(with)
				c.like(without)
			}
			with.hold(t)
			without.fail(t)
		})
	}
}
