package deployment

import (
	"fmt"
	"slices"
)

func (w *world) deliveries(s mstate) []step[mstate] {
	var all []step[mstate]
	if m := s.down[0]; m.there && !s.up[1].there {
		for _, again := range []bool{false, true} {
			if again && s.budget.repeated == 0 {
				continue
			}
			d := s
			if again {
				d.budget.repeated--
			} else {
				d.down = [2]mmessage{s.down[1], {}}
			}
			r := w.take(s.agent, m, s.forgotten)
			if r.set != s.agent {
				d.acted = false
			}
			d.agent = r.set
			free := 0
			if d.up[0].there {
				free = 1
			}
			d.up[free] = mack{true, s.epoch, m.to, r.refusal}
			name := fmt.Sprintf("the agent takes %d (%v)", m.to.gen, r.refusal)
			all = append(all, step[mstate]{name: name, to: d, wrong: w.move(&s, d.agent, m)})
			if r.set != s.agent && s.budget.crashes > 0 { // the disk has it, nobody else
				c := d.cut()
				c.late = s.late
				c.budget.crashes--
				all = append(all, step[mstate]{name: name + " and crashes", to: c})
			}
		}
	}
	if a := s.up[0]; a.there {
		d := s
		d.up = [2]mack{s.up[1], {}}
		switch {
		case a.refusal == 0 && w.eager:
			d.waiting = s.waiting && a.set != s.held
		case a.refusal == 0:
			d.held, d.sure, d.whole, d.waiting = a.set, true, false, false
		case w.eager:
			d.held, d.whole, d.waiting = mset{}, true, false
		default:
			d.whole, d.waiting = true, false
		}
		all = append(all, step[mstate]{name: "the answer arrives", to: w.note(d, a)})
	}
	if s.late.there {
		d := s
		d.late = mack{}
		all = append(all, step[mstate]{name: "a late answer arrives", to: w.note(d, s.late)})
	}
	return all
}

// note writes an answer down, unless its session is over.
func (w *world) note(s mstate, a mack) mstate {
	if a.refusal == 0 && (a.epoch == s.epoch || !w.guards.fence) {
		s.applied = a.set
		s.offers.forget(a.set.gen)
		if s.replaces && a.set.lineage == s.db.lineage {
			s.replaces = false
		}
	}
	return s
}

// move says what is wrong with the agent going from its set to another.
func (w *world) move(s *mstate, to mset, m mmessage) string {
	switch from := s.agent; {
	case from.same(to) || from == mset{}:
		return ""
	case from.lineage != to.lineage && !m.replaces:
		return "the agent follows another database that nobody decided for"
	case from.lineage == to.lineage && to.gen <= from.gen:
		return "the agent goes back"
	case !w.old && from.lineage == to.lineage && from.time < to.time && from.gen > s.split && !s.knows(from, to.time) && from != s.decided:
		return "the agent follows a database that was put back, which nobody decided for"
	}
	return ""
}

// knows reports whether the same set was wanted in a line of time.
func (s *mstate) knows(m mset, time uint8) bool {
	m.time = time
	return slices.Contains(s.ever[:], m)
}

// engineActs makes the engine as the agent's set says. Absence deletes nothing.
func (w *world) engineActs(s mstate) step[mstate] {
	d := s
	d.acted = true
	wrong := ""
	for i, x := range s.agent.slots {
		switch {
		case x.release > 0:
			d.engine[i] = x.release
		case x.tombstone > 0 || !w.guards.tombstones:
			if s.engine[i] > 0 && !s.wanted(i, func(x slot) bool { return x.tombstone > 0 }) {
				wrong = "a prefix is emptied that nobody deleted"
			}
			d.engine[i] = 0
		}
	}
	return step[mstate]{name: "the engine acts", to: d, wrong: wrong}
}

// wanted reports whether a prefix was ever wanted like this.
func (s *mstate) wanted(i int, like func(slot) bool) bool {
	return slices.ContainsFunc(s.ever[:], func(m mset) bool { return m.gen > 0 && like(m.slots[i]) })
}
