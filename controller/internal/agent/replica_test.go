package agent_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/agent"
	"fairlead.dev/controller/internal/node"
	"fairlead.dev/shared/apperr"
)

// replica returns the service of another controller on the same database.
func (w *world) replica(t *testing.T, name string) *agent.Service {
	t.Helper()
	c := w.Config
	c.Replica = agent.Replica{ID: uuid.New(), Name: name, Address: name + ":8443", StartedAt: w.clock}
	s := agent.New(c)
	if err := s.Register(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *world) openOn(t *testing.T, s *agent.Service, agentID uuid.UUID, boot string) agent.Session {
	t.Helper()
	session, err := s.Open(t.Context(), agent.OpenCommand{AgentID: agentID, Key: w.key, BootID: boot, Capabilities: []string{"ping"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return session
}

func (w *world) seen(t *testing.T) node.Agent {
	t.Helper()
	n, err := w.db.FindNode(t.Context(), w.teamID, w.nodeID)
	if err != nil {
		t.Fatal(err)
	}
	return n.Agent
}

func (w *world) liveness(t *testing.T) node.Liveness {
	t.Helper()
	live, _ := w.seen(t).Liveness(w.clock)
	return live
}

// exec changes the database behind the services' backs.
func (w *world) exec(t *testing.T, statement string, args ...any) {
	t.Helper()
	if _, err := w.sql.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

// renew keeps the lease of the world's own replica.
func (w *world) renew(t *testing.T) (kept bool, err error) {
	t.Helper()
	changes, err := w.ChangesAndLease(t.Context(), 0)
	return changes.Kept, err
}

func TestAgentsOfAControllerThatDiedAreExpectedBack(t *testing.T) {
	w := setUp(t)
	e := w.enrol(t)
	other := w.replica(t, "two")
	w.openOn(t, other, e.AgentID, "boot")

	if kept, err := w.renew(t); err != nil || !kept || w.liveness(t) != node.Connected {
		t.Fatalf("while the other lives: %v, %v, %s", kept, err, w.liveness(t))
	}
	w.exec(t, "update replicas set lease_until = now() - interval '1 second' where name = 'two'")
	if kept, err := w.renew(t); err != nil || !kept {
		t.Fatalf("renew: %v, %v", kept, err)
	}
	if live := w.liveness(t); live != node.Stale {
		t.Errorf("right after its controller went away the agent is %s, want stale", live)
	}
	w.clock = w.clock.Add(agent.HandoverGrace - time.Second)
	if live := w.liveness(t); live != node.Stale {
		t.Errorf("while it may still come back it is %s, want stale", live)
	}
	w.clock = w.clock.Add(2 * time.Second)
	if live := w.liveness(t); live != node.Lost {
		t.Errorf("after that it is %s, want lost", live)
	}
	w.open(t, e.AgentID, "boot")
	if live := w.liveness(t); live != node.Connected {
		t.Errorf("come back it is %s", live)
	}
}

func TestAControllerThatStoodStillClaimsItsSessionsAgain(t *testing.T) {
	w := setUp(t)
	e := w.enrol(t)
	session := w.open(t, e.AgentID, "boot")
	other := w.replica(t, "two")
	w.exec(t, "update replicas set lease_until = now() - interval '1 second' where name = 'one'")
	if _, err := other.ChangesAndLease(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if live := w.liveness(t); live != node.Stale {
		t.Fatalf("the agent is %s, want stale", live)
	}
	if kept, err := w.renew(t); err != nil || kept {
		t.Fatalf("the lease that ran out: kept %v, %v", kept, err)
	}
	if err := w.Claim(t.Context(), []agent.Session{session}); err != nil {
		t.Fatal(err)
	}
	if live := w.liveness(t); live != node.Connected {
		t.Errorf("claimed again the agent is %s", live)
	}
	if h, err := other.Holder(t.Context(), w.nodeID); err != nil || h.ReplicaAddress != "one:8443" || other.IsMine(h) || !w.IsMine(h) {
		t.Errorf("the holder is %+v, %v", h, err)
	}
	// What another controller has taken over is not claimed.
	newer := w.openOn(t, other, e.AgentID, "boot")
	if err := w.Claim(t.Context(), []agent.Session{session}); err != nil {
		t.Fatal(err)
	}
	if h, err := w.Holder(t.Context(), w.nodeID); err != nil || h.Epoch != newer.Epoch || !other.IsMine(h) {
		t.Errorf("after the older claim the holder is %+v, %v; want the newer", h, err)
	}
}

func TestAProcessTakesThePlaceOfTheOneBefore(t *testing.T) {
	w := setUp(t)
	e := w.enrol(t)
	w.open(t, e.AgentID, "boot")
	w.replica(t, "two")
	if live := w.liveness(t); live != node.Connected {
		t.Fatalf("another controller's start makes the agent %s", live)
	}
	w.replica(t, "one") // the same name: the process was started again
	if live := w.liveness(t); live != node.Stale {
		t.Errorf("the agent of the process before is %s, want stale", live)
	}
	if _, err := w.Holder(t.Context(), w.nodeID); !apperr.Is(err, apperr.NotFound) {
		t.Errorf("its session is still found: %v", err)
	}
}

func TestSessionsThatOpenAtOnceShareTransactions(t *testing.T) {
	w := setUp(t)
	e := w.enrol(t)
	const n = 100
	epochs := make([]int64, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			s, err := w.Open(t.Context(), agent.OpenCommand{AgentID: e.AgentID, Key: w.key, BootID: "boot"}, nil)
			if err != nil {
				t.Error(err)
			}
			epochs[i] = s.Epoch
		})
	}
	wg.Wait()
	seen := map[int64]bool{}
	for _, epoch := range epochs {
		if seen[epoch] {
			t.Errorf("two sessions have the epoch %d", epoch)
		}
		seen[epoch] = true
	}
}

func TestDuplicateSessionsAreJudgedByTheirBoot(t *testing.T) {
	w := setUp(t)
	e := w.enrol(t)
	var asked []agent.Holder
	alive := true
	ask := func(_ context.Context, h agent.Holder) bool {
		asked = append(asked, h)
		return alive
	}
	open := func(s *agent.Service, boot, address string) (agent.Session, error) {
		return s.Open(t.Context(), agent.OpenCommand{
			AgentID: e.AgentID, Key: w.key, BootID: boot, Capabilities: []string{"ping"}, Info: agent.Info{Address: address},
		}, ask)
	}
	other := w.replica(t, "two")
	first, err := open(other, "boot-1", "10.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	again, err := open(w.Service, "boot-1", "10.0.0.1:2")
	if err != nil || again.Epoch <= first.Epoch || len(asked) != 0 {
		t.Errorf("the same boot: %+v, %v, asked %v; want it to take over unasked", again, err, asked)
	}
	if _, err := open(other, "boot-2", "10.0.0.2:1"); reason(err) != agent.ReasonCloned {
		t.Errorf("another boot while the first answers: %v, want cloned", err)
	}
	if len(asked) != 1 || asked[0].Epoch != again.Epoch || asked[0].ReplicaAddress != "one:8443" || asked[0].BootID != "boot-1" {
		t.Errorf("asked %+v, want the session of the first, on its controller", asked)
	}
	if err := w.Holds(t.Context(), again); err != nil {
		t.Errorf("the first may not go on: %v", err)
	}
	seen := w.seen(t)
	if seen.ClonedAddress != "10.0.0.2:1" || seen.ClonedAt.IsZero() || seen.Address != "10.0.0.1:2" {
		t.Errorf("the node says %+v", seen)
	}
	if _, err := open(other, "boot-2", "10.0.0.2:2"); reason(err) != agent.ReasonCloned {
		t.Errorf("once more: %v, want cloned", err)
	}
	events, _, err := w.db.ListNodeEvents(t.Context(), w.nodeID, node.EventQuery{To: w.clock.Add(time.Hour), Take: 10, Event: "cloned"})
	if err != nil || len(events) != 1 {
		t.Errorf("the history has %d entries, %v; want one an hour", len(events), err)
	}
	var audited int
	if err := w.sql.QueryRowContext(t.Context(), "select count(*) from audit_log where event = 'node.cloned' and team_id = $1", w.teamID).Scan(&audited); err != nil || audited != 1 {
		t.Errorf("%d audit rows, %v", audited, err)
	}
	alive = false
	second, err := open(other, "boot-2", "10.0.0.2:3")
	if err != nil || second.Epoch <= again.Epoch {
		t.Errorf("another boot while the first does not answer: %+v, %v; want it to take over", second, err)
	}
	if err := w.Holds(t.Context(), again); reason(err) != agent.ReasonReplaced {
		t.Errorf("the first: %v, want replaced", err)
	}
	// A controller that is gone is not asked.
	asked, alive = nil, true
	w.exec(t, "delete from replicas where name = 'two'")
	if _, err := open(w.Service, "boot-3", "10.0.0.3:1"); err != nil || len(asked) != 0 {
		t.Errorf("after its controller went away: %v, asked %v", err, asked)
	}
}

func TestAnOldEpochWritesNothing(t *testing.T) {
	w := setUp(t)
	e := w.enrol(t)
	old := w.open(t, e.AgentID, "boot")
	w.open(t, e.AgentID, "boot")
	w.exec(t, "update agents set connected_at = now()")
	before := w.row(t)
	writes := map[string]func() error{
		"sealing key": func() error { return w.KeepSealingKey(t.Context(), old, "key") },
		"within": func() error {
			return w.Within(t.Context(), old, func(context.Context) error { t.Error("the write was made"); return nil })
		},
		"close": func() error { return w.Close(t.Context(), old, agent.End{Goodbye: true}) },
		"claim": func() error { return w.Claim(t.Context(), []agent.Session{old}) },
		"silence": func() error {
			return w.NoteSilence(t.Context(), []agent.Silence{{AgentID: e.AgentID, Epoch: old.Epoch, Since: w.clock}})
		},
	}
	silent := map[string]bool{"close": true, "claim": true, "silence": true} // no news for who lost the session
	for name, write := range writes {
		if err := write(); reason(err) != agent.ReasonReplaced && (!silent[name] || err != nil) {
			t.Errorf("%s: %v, want replaced", name, err)
		}
		if after := w.row(t); after != before {
			t.Errorf("%s changed the agent from\n%s to\n%s", name, before, after)
		}
	}
}

// row is everything that is kept of the agent.
func (w *world) row(t *testing.T) string {
	t.Helper()
	var text string
	if err := w.sql.QueryRowContext(t.Context(), "select row_to_json(a)::text from agents a").Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}

func TestChangesAreSeenHoweverTransactionsAreCommitted(t *testing.T) {
	w := setUp(t)
	e := w.enrol(t)
	changes, err := w.Changes(t.Context(), 0)
	if err != nil || changes.Since == 0 || len(changes.Standings) != 0 {
		t.Fatalf("the first look: %+v, %v", changes, err)
	}
	next := func() []agent.Standing {
		t.Helper()
		c, err := w.Changes(t.Context(), changes.Since)
		if err != nil {
			t.Fatal(err)
		}
		changes = c
		return c.Standings
	}
	early, err := w.sql.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = early.Rollback() }()
	if _, err := early.ExecContext(t.Context(), "update nodes set generation = generation + 1 where id = $1", w.nodeID); err != nil {
		t.Fatal(err)
	}
	w.exec(t, "update agents set quarantine = 'x' where id = $1", e.AgentID) // a later transaction that ends first
	if got := next(); len(got) != 1 || !got[0].Quarantined || got[0].Generation != 0 {
		t.Fatalf("while the earlier one is open: %+v", got)
	}
	if err := early.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := next(); len(got) != 1 || got[0].Generation != 1 || got[0].AgentID != e.AgentID {
		t.Fatalf("after the earlier one ended: %+v", got)
	}
	for len(next()) > 0 { // a transaction of another test may last, which keeps what is new new
		if t.Context().Err() != nil {
			t.Fatal("all is new for ever")
		}
	}
	w.exec(t, "insert into commands (id, node_id, operation, prefix, name, deadline, created_at, created_by) values ($1, $2, 'start', 'p', 'n', now() + interval '1 minute', now(), 'x')", uuid.New(), w.nodeID)
	if got := next(); len(got) != 1 || !got[0].Commands {
		t.Errorf("a command: %+v", got)
	}
	w.exec(t, "delete from nodes where id = $1", w.nodeID)
	if got := next(); len(got) != 1 || !got[0].Gone || got[0].AgentID != e.AgentID {
		t.Errorf("the node was deleted: %+v", got)
	}
}

// A database that was restored on another server has rows of transactions that
// are still to come there.
func TestRowsOfAnotherServersTransactionsAreNotNewForEver(t *testing.T) {
	w := setUp(t)
	e := w.enrol(t)
	changes, err := w.Changes(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		"alter table agents disable trigger user", "alter table nodes disable trigger user",
		"update agents set changed = '9000000000'", "update nodes set changed = '9000000000'",
		"alter table agents enable trigger user", "alter table nodes enable trigger user",
	} {
		w.exec(t, statement)
	}
	if changes, err = w.Changes(t.Context(), changes.Since); err != nil || len(changes.Standings) != 0 {
		t.Errorf("nothing happened here, and yet %+v, %v", changes, err)
	}
	w.exec(t, "update nodes set generation = generation + 1 where id = $1", w.nodeID)
	changes, err = w.Changes(t.Context(), changes.Since)
	if err != nil || len(changes.Standings) != 1 || changes.Standings[0].AgentID != e.AgentID {
		t.Errorf("what happens here is not seen: %+v, %v", changes, err)
	}
}

func TestAgentsAwayForTooLongComeBackIntoQuarantine(t *testing.T) {
	w := setUp(t)
	e := w.enrol(t)
	s := w.open(t, e.AgentID, "boot")
	if err := w.Close(t.Context(), s, agent.End{}); err != nil {
		t.Fatal(err)
	}
	w.clock = w.clock.Add(agent.DefaultReadmitWithin - time.Minute)
	if _, err := w.Recover(t.Context(), e.AgentID, w.key, agent.Info{}); err != nil {
		t.Fatal(err)
	}
	if s := w.open(t, e.AgentID, "boot"); s.Quarantine != "" || w.seen(t).Recoveries != 1 {
		t.Errorf("within the time: %+v, %d recoveries", s, w.seen(t).Recoveries)
	} else if err := w.Close(t.Context(), s, agent.End{}); err != nil {
		t.Fatal(err)
	}
	w.clock = w.clock.Add(agent.DefaultReadmitWithin + time.Minute)
	if _, err := w.Recover(t.Context(), e.AgentID, w.key, agent.Info{}); err != nil {
		t.Fatal(err)
	}
	s = w.open(t, e.AgentID, "boot")
	if s.Quarantine == "" || w.seen(t).Recoveries != 2 || w.seen(t).Quarantine != s.Quarantine {
		t.Errorf("after it: %+v, node %+v", s, w.seen(t))
	}
	// What it tells is taken; it is not reachable for acts.
	if err := w.Within(t.Context(), s, func(context.Context) error { return nil }); err != nil {
		t.Errorf("what it tells: %v", err)
	}
	if reachable, err := w.db.NodeConnected(t.Context(), w.teamID, w.nodeID); err != nil || reachable {
		t.Errorf("reachable %v, %v", reachable, err)
	}
	// Recovering once more, soon, does not end it.
	if _, err := w.Recover(t.Context(), e.AgentID, w.key, agent.Info{}); err != nil {
		t.Fatal(err)
	}
	if s := w.open(t, e.AgentID, "boot"); s.Quarantine == "" {
		t.Error("another recovery ended the quarantine")
	}
	if readmitted, err := w.db.ReadmitAgent(t.Context(), w.nodeID); err != nil || !readmitted {
		t.Fatalf("readmit: %v, %v", readmitted, err)
	}
	if s := w.open(t, e.AgentID, "boot"); s.Quarantine != "" {
		t.Error("readmitted, it is in quarantine still")
	}
}

func TestTheLastRefusalIsKeptOnceAMinute(t *testing.T) {
	w := setUp(t)
	e := w.enrol(t)
	refuse := func(why string) node.Refusal {
		t.Helper()
		if err := w.Refused(t.Context(), agent.Refusal{AgentID: e.AgentID, Reason: why, Message: why + "\x00\xff", Address: "a:1"}); err != nil {
			t.Fatal(err)
		}
		n, err := w.db.FindNode(t.Context(), w.teamID, w.nodeID)
		if err != nil {
			t.Fatal(err)
		}
		return n.LastRefusal
	}
	if r := refuse("protocol"); r.Reason != "protocol" || r.Message != "protocol" || r.Address != "a:1" || !r.At.Equal(w.clock) {
		t.Errorf("kept %+v", r)
	}
	w.clock = w.clock.Add(agent.RefusalEvery - time.Second)
	if r := refuse("cloned"); r.Reason != "protocol" {
		t.Errorf("within the minute: %+v", r)
	}
	w.clock = w.clock.Add(2 * time.Second)
	if r := refuse("cloned"); r.Reason != "cloned" {
		t.Errorf("after the minute: %+v", r)
	}
	if err := w.Refused(t.Context(), agent.Refusal{AgentID: uuid.New(), Reason: "revoked"}); err != nil {
		t.Errorf("of an agent that is not there: %v", err)
	}
}
