package agentrpc_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"testing"

	"github.com/jackc/pgx/v5"

	"fairlead.dev/controller/internal/controllertest"
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/protocol"
	"fairlead.dev/shared/specpb"
)

// handAgent is an agent whose test says when it takes a set, acknowledges it,
// and opens its next session. What it holds is right by the function that real
// agents use.
type handAgent struct {
	site
	t    *testing.T
	e    controllertest.Enrolment
	own  tls.Certificate
	id   string
	held *agentv1.AssignmentSet
}

// open opens a session in which the agent says that it holds a set.
func (a *handAgent) open(held *agentv1.AssignmentSet) *peer {
	a.t.Helper()
	p, err := a.holding(a.t, a.e, a.own, "boot", held, protocol.Delta, protocol.Ping)
	if err != nil {
		a.t.Fatal(err)
	}
	return p
}

// receive waits for the next set on a session.
func (a *handAgent) receive(p *peer) *agentv1.AssignmentSet {
	a.t.Helper()
	for {
		if set := within(a.t, "a set", p.came).GetAssignments(); set != nil {
			return set
		}
	}
}

// take takes a set and returns its acknowledgement.
func (a *handAgent) take(set *agentv1.AssignmentSet) *agentv1.AgentMessage {
	a.t.Helper()
	next, err := specpb.ApplySet(a.held, set)
	if err != nil {
		a.t.Fatalf("a set that does not fit: %v", err)
	}
	a.held = next
	return &agentv1.AgentMessage{Body: &agentv1.AgentMessage_AssignmentsAck{AssignmentsAck: &agentv1.AssignmentsAck{
		Generation: set.GetGeneration(), SetHash: set.GetSetHash(),
	}}}
}

// tell sends a message on a session that may be over.
func tell(p *peer, m *agentv1.AgentMessage) { _ = p.Send(m) }

// serve takes and acknowledges whatever comes on a session until it ends.
func (a *handAgent) serve(p *peer) {
	go func() {
		for m := range p.came {
			if set := m.GetAssignments(); set != nil {
				tell(p, a.take(set))
			}
		}
	}()
}

// awaitHeld waits until the database knows that the agent holds what its node
// should run.
func (a *handAgent) awaitHeld() {
	a.t.Helper()
	db, err := pgx.Connect(a.t.Context(), a.DSN)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = db.Close(a.t.Context()) }()
	controllertest.Await(a.t, "the database knows what the agent holds", func() (bool, string) {
		var wanted, applied int64
		var refusal, diverged, hash string
		err := db.QueryRow(a.t.Context(), `select n.generation, g.applied_generation, g.applied_set_hash, g.refusal, g.diverged
			from agents g join nodes n on n.id = g.node_id where g.id = $1`, a.id).Scan(&wanted, &applied, &hash, &refusal, &diverged)
		if err != nil {
			a.t.Fatal(err)
		}
		seen := fmt.Sprintf("wanted %d, known as held %d %q, refusal %q, diverged %q", wanted, applied, hash, refusal, diverged)
		return applied == wanted && wanted > 1 && hash != "" && refusal+diverged == "", seen
	})
}

// TestASetOnItsWayWhileTheSessionIsReplacedIsAcknowledgedInTheEnd sends an agent
// a set and has its session replaced at each moment of its way there and back:
// either the set or its acknowledgement is lost with the older session.
func TestASetOnItsWayWhileTheSessionIsReplacedIsAcknowledgedInTheEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		// replace has the agent go over to a session of its choice. The set is
		// on the first session, or on its way there.
		replace func(a *handAgent, first *peer, before *agentv1.AssignmentSet) *peer
	}{
		{"before it is read", func(a *handAgent, _ *peer, before *agentv1.AssignmentSet) *peer {
			return a.open(before)
		}},
		{"when it is read and not taken", func(a *handAgent, first *peer, before *agentv1.AssignmentSet) *peer {
			a.receive(first)
			return a.open(before)
		}},
		{"when it is taken and not acknowledged", func(a *handAgent, first *peer, _ *agentv1.AssignmentSet) *peer {
			a.take(a.receive(first))
			return a.open(a.held)
		}},
		{"when it is taken after the next hello", func(a *handAgent, first *peer, before *agentv1.AssignmentSet) *peer {
			set := a.receive(first)
			next := a.open(before)
			tell(first, a.take(set))
			return next
		}},
		{"while its acknowledgement waits to be written", func(a *handAgent, first *peer, _ *agentv1.AssignmentSet) *peer {
			set := a.receive(first)
			db, err := pgx.Connect(a.t.Context(), a.DSN)
			if err != nil {
				a.t.Fatal(err)
			}
			defer func() { _ = db.Close(a.t.Context()) }()
			tx, err := db.Begin(a.t.Context())
			if err != nil {
				a.t.Fatal(err)
			}
			if _, err := tx.Exec(a.t.Context(), "select 1 from agents where id = $1 for no key update", a.id); err != nil {
				a.t.Fatal(err)
			}
			tell(first, a.take(set))
			opened := make(chan *peer)
			go func() { opened <- a.open(a.held) }()
			a.awaitWaiting(2) // the acknowledgement and the opening
			if err := tx.Rollback(a.t.Context()); err != nil {
				a.t.Fatal(err)
			}
			return within(a.t, "the next session", opened)
		}},
		{"twice", func(a *handAgent, first *peer, before *agentv1.AssignmentSet) *peer {
			a.take(a.receive(first))
			a.open(before)
			return a.open(a.held)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := &handAgent{site: newSite(t), t: t}
			a.e, a.own, a.id = a.identify(t)
			shop := a.shop(t)
			first := a.open(nil)
			start := func() { a.admin.Post(shop+"/start", nil).Expect(t, http.StatusNoContent) }
			start()
			tell(first, a.take(a.receive(first)))
			before := a.held
			start()
			last := c.replace(a, first, before)
			a.serve(last)
			a.awaitHeld()
			// And it goes on from there.
			start()
			a.awaitHeld()
		})
	}
}

// awaitWaiting waits until so many statements wait for a lock.
func (a *handAgent) awaitWaiting(want int) {
	a.t.Helper()
	db, err := pgx.Connect(a.t.Context(), a.DSN)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = db.Close(a.t.Context()) }()
	controllertest.Await(a.t, "statements that wait for the agent's row", func() (bool, string) {
		var n int
		err := db.QueryRow(a.t.Context(), `select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`).Scan(&n)
		if err != nil {
			a.t.Fatal(err)
		}
		return n >= want, fmt.Sprint(n)
	})
}
