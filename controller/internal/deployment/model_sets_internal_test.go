package deployment

import (
	"errors"
	"fmt"
	"math"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/specpb"
)

// The model of assignments: one node with two prefixes, a database that may be
// put back from a backup or be another one, a controller that decides by
// StandingRow.judge, an agent that decides by specpb.ApplySet, sessions that
// are cut and taken over, messages that are withheld, repeated, garbled, and
// that arrive after their session is over.

// slot is what one prefix is to be: nothing, a release, or a tombstone.
type slot struct{ gen, release, tombstone uint8 }

// mset is a set; the zero value is none.
type mset struct {
	lineage, gen uint8
	// time is the line of time it was wanted in.
	time  uint8
	slots [2]slot
}

// mmessage is a set on its way: whole, or what changed since base.
type mmessage struct {
	there    bool
	to, base mset
	delta    bool
	replaces bool
	garbled  bool
}

// same reports whether no one could tell the sets apart.
func (m mset) same(other mset) bool {
	m.time = other.time
	return m == other
}

func (s slot) String() string {
	switch {
	case s.release > 0:
		return fmt.Sprintf("release %d@%d", s.release, s.gen)
	case s.tombstone > 0:
		return fmt.Sprintf("tombstone@%d", s.gen)
	default:
		return "-"
	}
}

func (m mset) String() string {
	return fmt.Sprintf("{%d/%d.%d %v %v}", m.lineage, m.gen, m.time, m.slots[0], m.slots[1])
}

func (m mmessage) String() string {
	if m.delta {
		return fmt.Sprintf("%v to %v", m.base, m.to)
	}
	return fmt.Sprintf("%v whole", m.to)
}

// mack is an answer on its way.
type mack struct {
	there   bool
	epoch   uint8
	set     mset
	refusal agentv1.AssignmentsRefusal
}

// guards are what keeps the model from going wrong; each can be taken away.
type guards struct {
	lineage, stale, base, hash, tombstones, fence, diverged, resend, hello, offered bool
}

func allGuards() guards { return guards{true, true, true, true, true, true, true, true, true, true} }

// mstate is a state of the model.
type mstate struct {
	db      mset // what the node should run
	applied mset // the last set that was acknowledged, as the database knows it
	offers  offers
	backup  struct {
		there       bool
		db, applied mset
		offers      offers
	}
	forgotten [2]uint8 // generation at which a prefix was forgotten, 0 never
	time      uint8    // the line of time, which splits when the database is put back
	split     uint8    // the last generation that both lines of time have
	replaces  bool     // an operator decided for this database, and against another lineage
	decided   mset     // what the agent held when an operator decided for this database
	// ever are the sets that some database wanted.
	ever [8]mset

	// The present session, as both ends see it.
	open    bool
	epoch   uint8
	held    mset // what the controller believes the agent holds
	sure    bool
	whole   bool
	waiting bool // for the answer to what was sent
	down    [2]mmessage
	up      [2]mack
	late    mack // an answer of an earlier session that arrives after it

	agent  mset     // on the agent's disk
	acted  bool     // whether the engine is as the set says
	engine [2]uint8 // releases that run
	budget mbudget
}

// offers are the sets that were wanted and not acknowledged, by generation.
type offers [8]mset

// forget drops those up to a generation.
func (o *offers) forget(gen uint8) {
	for i := range o {
		if i <= int(gen) {
			o[i] = mset{}
		}
	}
}

// mbudget bounds what happens, so that the states are finitely many.
type mbudget struct {
	acts, sessions, withheld, repeated, garbled, backups, others, adopted, crashes uint8
}

func (s *mstate) remember() {
	for i := range s.ever {
		if s.ever[i] == s.db {
			return
		}
		if s.ever[i] == (mset{}) {
			s.ever[i] = s.db
			return
		}
	}
}

// act changes what the node should run.
func (s *mstate) act(i int, change func(*slot, uint8)) mstate {
	n := *s
	n.change(i, change)
	return n
}

func (s *mstate) change(i int, change func(*slot, uint8)) {
	s.db.gen++
	s.db.time = s.time
	change(&s.db.slots[i], s.db.gen)
	if s.db.slots[i] == (slot{}) {
		s.forgotten[i] = s.db.gen
	} else {
		s.forgotten[i] = 0
	}
	s.budget.acts--
	s.offer()
}

// offer remembers what the database wants now.
func (s *mstate) offer() {
	s.offers[s.db.gen] = s.db
	s.remember()
}

// taken is what the agent holds after a message, and its answer.
type taken struct {
	set     mset
	refusal agentv1.AssignmentsRefusal
}

// world is a model with its guards, and what it has worked out already.
type world struct {
	guards guards
	budget mbudget
	// old is a controller that judges nothing: it sends whatever is newest, whole.
	old bool
	// eager is a controller that takes for held what it has only sent.
	eager bool

	judged map[judgement]Standing
	took   map[take]taken
}

type judgement struct {
	db, applied, held, offered mset
	sure, replaces             bool
}

type take struct {
	held      mset
	message   mmessage
	forgotten [2]uint8
}

func newWorld(g guards, b mbudget) *world {
	return &world{guards: g, budget: b, judged: map[judgement]Standing{}, took: map[take]taken{}}
}

func (w *world) judge(s *mstate) Standing {
	if w.old || !w.guards.diverged {
		if s.held.lineage == s.db.lineage && s.held.gen == s.db.gen || s.db.gen == 0 {
			return Current
		}
		return Behind
	}
	j := judgement{db: s.db, applied: s.applied, held: s.held, sure: s.sure, replaces: s.replaces}
	if w.guards.offered && s.held.lineage == s.db.lineage {
		j.offered = s.offers[s.held.gen]
	}
	if known, ok := w.judged[j]; ok {
		return known
	}
	row := StandingRow{
		Lineage: fmt.Sprint("lineage ", s.db.lineage), Generation: uint64(s.db.gen), Applied: s.applied.heldByAgent(),
		Offered: j.offered.heldByAgent().Hash,
	}
	if s.db.gen > 0 {
		row.Hash = s.db.proto().GetSetHash()
	}
	if s.replaces {
		row.Replaces = s.held.heldByAgent().Lineage
	}
	standing, _ := row.judge(Ask{Held: s.held.heldByAgent(), Sure: s.sure})
	w.judged[j] = standing
	return standing
}

// message is what the controller sends when the agent is behind.
func (w *world) message(s *mstate) mmessage {
	m := mmessage{there: true, to: s.db, base: s.held}
	certain := s.held.lineage == s.db.lineage && s.held.gen > 0 && s.held.gen < s.db.gen && (s.sure || s.held == s.applied)
	m.delta = certain && !s.whole && !w.old
	m.replaces = s.replaces && s.held.lineage != s.db.lineage
	if !m.delta && !m.replaces {
		m.base = mset{}
	}
	return m
}

// take is the agent's decision: the real one, but for guards that are away.
func (w *world) take(held mset, m mmessage, forgotten [2]uint8) taken {
	key := take{held, m, forgotten}
	if known, ok := w.took[key]; ok {
		return known
	}
	_, err := specpb.ApplySet(held.proto(), m.proto(forgotten))
	result := taken{set: m.to}
	for i, x := range result.set.slots {
		if m.garbled && x.release > 0 && (!m.delta || x.gen > m.base.gen) {
			result.set.slots[i].release = math.MaxUint8
		}
	}
	if held.lineage == m.to.lineage && held.gen == m.to.gen && held == m.to {
		result.set = held // the same again
	}
	var refusal *specpb.SetRefusal
	if errors.As(err, &refusal) {
		result.refusal = refusal.Reason
		switch off := w.off(refusal.Reason); {
		case !off:
			result.set = held
		case m.delta: // what somebody would do who does not look at the base
			result.refusal = 0
			result.set = held
			result.set.lineage, result.set.gen, result.set.time = m.to.lineage, m.to.gen, m.to.time
			for i, slot := range m.to.slots {
				if slot.gen > m.base.gen {
					result.set.slots[i] = slot
				}
			}
		default:
			result.refusal = 0
		}
	}
	w.took[key] = result
	return result
}

func (w *world) off(r agentv1.AssignmentsRefusal) bool {
	switch r {
	case agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_LINEAGE:
		return !w.guards.lineage
	case agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_STALE:
		return !w.guards.stale
	case agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_BASE:
		return !w.guards.base
	case agentv1.AssignmentsRefusal_ASSIGNMENTS_REFUSAL_HASH:
		return !w.guards.hash
	default:
		return false
	}
}

func (w *world) model() model[mstate] {
	start := mstate{db: mset{lineage: 1}, acted: true, budget: w.budget}
	return model[mstate]{start: start, next: w.next, wrong: w.wrong, settled: w.settled}
}

func (w *world) next(s mstate) []step[mstate] {
	var all []step[mstate]
	add := func(name string, to mstate) { all = append(all, step[mstate]{name: name, to: to}) }
	w.acts(s, add)
	w.disasters(s, add)
	w.sessions(s, add)
	if s.open && (!s.waiting || w.eager && !s.down[1].there) && w.judge(&s) == Behind {
		m, free := w.message(&s), 0
		if s.down[0].there {
			free = 1
		}
		sent := s
		sent.waiting = true
		if w.eager {
			sent.held, sent.sure, sent.whole = s.db, true, false
		}
		withheld, garbled := sent, sent
		sent.down[free] = m
		add(fmt.Sprint("send ", m), sent)
		if s.budget.withheld > 0 {
			withheld.budget.withheld--
			add("withhold what was to be sent", withheld)
		}
		if s.budget.garbled > 0 {
			m.garbled = true
			garbled.down[free] = m
			garbled.budget.garbled--
			add("send it garbled", garbled)
		}
	}
	// What the agent says it holds stands for an answer that got lost.
	if w.guards.hello && s.open && !s.sure && s.db.gen > 0 && !s.applied.same(s.held) && w.judge(&s) == Current {
		noted := s
		noted.applied, noted.sure = s.held, true
		noted.offers.forget(s.held.gen)
		add("what the agent holds is written down", noted)
	}
	// What stays unanswered is sent again, whole.
	if w.guards.resend && s.open && s.waiting && !s.down[0].there && !s.up[0].there {
		again := s
		again.waiting, again.whole = false, true
		if w.eager {
			again.held = mset{}
		}
		add("no answer came", again)
	}
	all = append(all, w.deliveries(s)...)
	if !s.acted {
		all = append(all, w.engineActs(s))
	}
	return all
}

func (w *world) acts(s mstate, add func(string, mstate)) {
	if s.budget.acts == 0 {
		return
	}
	for i := range s.db.slots {
		release := s.act(i, func(x *slot, gen uint8) { *x = slot{gen: gen, release: gen} })
		add(fmt.Sprint("release ", i), release)
		switch x := s.db.slots[i]; {
		case x.release > 0:
			add(fmt.Sprint("delete ", i), s.act(i, func(x *slot, gen uint8) { *x = slot{gen: gen, tombstone: 1} }))
		case x.tombstone > 0 && s.applied.gen >= x.gen && s.applied.lineage == s.db.lineage:
			add(fmt.Sprint("forget ", i), s.act(i, func(x *slot, _ uint8) { *x = slot{} }))
		}
	}
}

func (w *world) disasters(s mstate, add func(string, mstate)) {
	if s.budget.backups > 0 {
		if !s.backup.there {
			b := s
			b.backup.there, b.backup.db, b.backup.applied, b.backup.offers = true, s.db, s.applied, s.offers
			add("back the database up", b)
		} else if s.backup.db != s.db {
			r := s.cut()
			r.db, r.applied, r.offers, r.budget.backups = s.backup.db, s.backup.applied, s.backup.offers, s.budget.backups-1
			r.time++
			r.split = s.backup.db.gen
			r.backup.there = false
			r.forgotten = [2]uint8{}
			r.late = mack{}
			r.remember()
			add("put the database back", r)
		}
	}
	if s.budget.others > 0 {
		o := s.cut()
		o.db, o.applied, o.offers, o.budget.others = mset{lineage: s.db.lineage + 1}, mset{}, offers{}, s.budget.others-1
		o.forgotten, o.late, o.replaces = [2]uint8{}, mack{}, false
		add("set the database up anew", o)
	}
	if s.budget.adopted > 0 && s.open && !s.waiting && w.judge(&s) == Diverged {
		add("decide for the database", s.adopt())
	}
}

// adopt is an operator's decision that the node follows this database: its set
// gets a generation above what the agent holds, and all of it is new.
func (s *mstate) adopt() mstate {
	n := *s
	n.follow()
	return n
}

func (s *mstate) follow() {
	s.decided, s.replaces = s.held, s.held.lineage != s.db.lineage
	s.db.gen = max(s.db.gen, s.held.gen) + 1
	s.db.time = s.time
	for i := range s.db.slots {
		if s.db.slots[i] != (slot{}) {
			s.db.slots[i].gen = s.db.gen
		}
	}
	s.offers[s.held.gen] = mset{}
	s.budget.adopted--
	s.offer()
}

// cut ends the session; an answer on its way may still arrive.
func (s *mstate) cut() mstate {
	n := *s
	n.end()
	return n
}

func (s *mstate) end() {
	if s.up[0].there {
		s.late = s.up[0]
	}
	s.open, s.sure, s.whole, s.waiting = false, false, false, false
	s.held = mset{}
	s.down, s.up = [2]mmessage{}, [2]mack{}
}

func (w *world) sessions(s mstate, add func(string, mstate)) {
	if s.open && s.budget.sessions > 0 {
		add("cut", s.cut())
	}
	if s.budget.sessions > 0 {
		o := s.cut() // a newer session takes over from one that is open
		o.open, o.held = true, s.agent
		o.epoch++
		o.budget.sessions--
		add("connect", o)
	}
	if s.budget.crashes > 0 {
		c := s.cut()
		c.acted = false // it looks at everything again
		c.budget.crashes--
		add("the agent crashes", c)
	}
}
