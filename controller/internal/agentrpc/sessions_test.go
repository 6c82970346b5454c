package agentrpc_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.dev/controller/internal/controllertest"
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/protocol"
	"fairlead.dev/shared/workload/workloadtest"
)

// peer is an agent's end of a session, spoken by hand.
type peer struct {
	agentv1.SessionService_SessionClient
	welcome *agentv1.Welcome
	// ended has why the stream ended.
	ended chan error
	// came are the messages after the welcome.
	came chan *agentv1.ControllerMessage
}

// identify enrols an agent for the site's node.
func (s site) identify(t *testing.T) (controllertest.Enrolment, tls.Certificate, string) {
	t.Helper()
	e := s.admin.Install(t, "acme", s.node)
	answer, own, err := enrol(t, s.connect(t, e), e.Token)
	if err != nil {
		t.Fatal(err)
	}
	return e, own, answer.GetAgentId()
}

// hello opens a session on a connection of its own and returns how it began.
func (s site) hello(t *testing.T, e controllertest.Enrolment, own tls.Certificate, boot string, capabilities ...string) (*peer, error) {
	t.Helper()
	return s.holding(t, e, own, boot, nil, capabilities...)
}

// spool is what these agents' facts are numbered in.
const spool = "spool"

// holding is hello of an agent that says it holds a set.
func (s site) holding(t *testing.T, e controllertest.Enrolment, own tls.Certificate, boot string, held *agentv1.AssignmentSet, capabilities ...string) (*peer, error) {
	t.Helper()
	stream, err := agentv1.NewSessionServiceClient(s.connect(t, e, own)).Session(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	err = stream.Send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Hello{Hello: &agentv1.Hello{
		ProtocolMin: 1, ProtocolMax: 1, BootId: boot, Capabilities: capabilities, Agent: &agentv1.AgentInfo{Hostname: "a\x00b"},
		Lineage: held.GetLineage(), Generation: held.GetGeneration(), SetHash: held.GetSetHash(), SpoolId: spool,
	}}})
	if err != nil && !errors.Is(err, io.EOF) { // a stream that was ended already says why below
		t.Fatal(err)
	}
	first, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	p := &peer{
		SessionService_SessionClient: stream, welcome: first.GetWelcome(),
		ended: make(chan error, 1), came: make(chan *agentv1.ControllerMessage, 100),
	}
	if p.welcome == nil {
		t.Fatalf("the session began with %v", first)
	}
	go func() {
		for {
			m, err := stream.Recv()
			if err != nil {
				p.ended <- err
				return
			}
			if ping := m.GetPing(); ping != nil && slices.Contains(capabilities, protocol.Ping) {
				_ = stream.Send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Pong{Pong: &agentv1.Pong{Nonce: ping.GetNonce()}}})
			}
			p.came <- m
		}
	}()
	return p, nil
}

// within waits for what a channel brings.
func within[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(controllertest.Patience):
		t.Fatalf("waited too long for %s", what)
		panic("not reached")
	}
}

// exec changes the site's database behind the controller's back: nobody is
// notified.
func (s site) exec(t *testing.T, statement string, args ...any) {
	t.Helper()
	db, err := pgx.Connect(t.Context(), s.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(t.Context()) }()
	if _, err := db.Exec(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

func TestRevocationEndsTheSessionAlsoWhenTheNoticeIsLost(t *testing.T) {
	s := newSite(t)
	e, own, id := s.identify(t)
	p, err := s.hello(t, e, own, "boot")
	if err != nil {
		t.Fatal(err)
	}
	s.exec(t, "update agents set revoked_at = now() where id = $1", id)
	if err := within(t, "the end", p.ended); refusal(err) != agentv1.RefusalReason_REFUSAL_REASON_REVOKED {
		t.Errorf("ended with %v, want revoked", err)
	}
	if _, err := s.hello(t, e, own, "boot"); refusal(err) != agentv1.RefusalReason_REFUSAL_REASON_REVOKED {
		t.Errorf("the next one: %v, want revoked", err)
	}
	last := s.lastRefusal(t)
	if last["reason"] != "revoked" || last["address"] == "" || last["at"] == "" || last["message"] == "" {
		t.Errorf("the node's last refusal is %v", last)
	}
}

func (s site) lastRefusal(t *testing.T) map[string]any {
	t.Helper()
	last, _ := s.admin.Get(s.nodePath()).Expect(t, http.StatusOK).Object(t)["lastRefusal"].(map[string]any)
	return last
}

func TestDeletedNodesSessionEndsAlsoWhenTheNoticeIsLost(t *testing.T) {
	s := newSite(t)
	e, own, _ := s.identify(t)
	p, err := s.hello(t, e, own, "boot")
	if err != nil {
		t.Fatal(err)
	}
	s.exec(t, "delete from nodes where id = $1", s.node)
	if err := within(t, "the end", p.ended); refusal(err) != agentv1.RefusalReason_REFUSAL_REASON_REVOKED {
		t.Errorf("ended with %v, want revoked", err)
	}
}

func TestChangesReachTheAgentAlsoWhenTheNoticeIsLost(t *testing.T) {
	s := newSite(t)
	e, own, _ := s.identify(t)
	p, err := s.hello(t, e, own, "boot", protocol.Delta)
	if err != nil {
		t.Fatal(err)
	}
	s.exec(t, "update nodes set generation = generation + 1 where id = $1", s.node)
	if m := within(t, "the set", p.came); m.GetAssignments().GetGeneration() != 1 {
		t.Errorf("got %v, want generation 1", m)
	}
}

func TestHeartbeatsNeedNoDatabase(t *testing.T) {
	s := newSite(t)
	e, own, _ := s.identify(t)
	p, err := s.hello(t, e, own, "boot")
	if err != nil {
		t.Fatal(err)
	}
	// No statement that touches a table gets through while these are locked.
	db, err := pgx.Connect(t.Context(), s.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(context.WithoutCancel(t.Context())) }()
	if _, err := db.Exec(t.Context(), "begin; lock table agents, nodes, replicas, commands, node_events in access exclusive mode"); err != nil {
		t.Fatal(err)
	}
	for n := uint64(1); n <= 50; n++ {
		if err := p.Send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Heartbeat{Heartbeat: &agentv1.Heartbeat{Sequence: n}}}); err != nil {
			t.Fatal(err)
		}
		if m := within(t, "the echo", p.came); m.GetHeartbeatAck() == nil || m.GetHeartbeatAck().GetSequence() != n {
			t.Fatalf("got %v, want the echo of %d", m, n)
		}
	}
}

func TestASecondProcessWithTheSameIdentityIsRefused(t *testing.T) {
	s := newSite(t)
	e, own, _ := s.identify(t)
	first, err := s.hello(t, e, own, "boot-1", protocol.Ping)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.hello(t, e, own, "boot-2", protocol.Ping)
	if refusal(err) != agentv1.RefusalReason_REFUSAL_REASON_CLONED || retryAfter(err) == 0 {
		t.Errorf("the second: %v, retry after %d; want cloned", err, retryAfter(err))
	}
	node := s.admin.Get(s.nodePath()).Expect(t, http.StatusOK)
	if cloned, ok := node.Object(t)["cloned"].(map[string]any); !ok || cloned["address"] == "" || cloned["address"] == cloned["otherAddress"] {
		t.Errorf("the node does not tell of it: %s", node.Body)
	}
	if s.lastRefusal(t)["reason"] != "cloned" {
		t.Errorf("the last refusal is %v", s.lastRefusal(t))
	}
	for _, path := range []string{s.nodePath() + "/audit?skip=0&take=10&from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z", "/api/acme/audit-log?skip=0&take=10&from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z"} {
		if seen := s.admin.Get(path).Expect(t, http.StatusOK); !strings.Contains(string(seen.Body), "is used by two processes") {
			t.Errorf("%s does not tell of it: %s", path, seen.Body)
		}
	}
	select {
	case err := <-first.ended:
		t.Fatalf("the first ended: %v", err)
	default:
	}
	// The same process dials again: it takes over at once.
	again, err := s.hello(t, e, own, "boot-1", protocol.Ping)
	if err != nil {
		t.Fatal(err)
	}
	if err := within(t, "the end", first.ended); refusal(err) != agentv1.RefusalReason_REFUSAL_REASON_REPLACED {
		t.Errorf("the older of one process ended with %v", err)
	}
	// Once it said good-bye, another process is no clone.
	if err := again.Send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Leaving{Leaving: &agentv1.Leaving{}}}); err != nil {
		t.Fatal(err)
	}
	if err := again.Send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Heartbeat{Heartbeat: &agentv1.Heartbeat{Sequence: 1}}}); err != nil {
		t.Fatal(err)
	}
	within(t, "the echo", again.came)
	if _, err := s.hello(t, e, own, "boot-2", protocol.Ping); err != nil {
		t.Errorf("after the good-bye: %v", err)
	}
}

func TestASessionThatDoesNotAnswerGivesWay(t *testing.T) {
	s := newSite(t)
	e, own, _ := s.identify(t)
	for name, capabilities := range map[string][]string{"an agent that knows no pings": nil, "an agent that hangs": {"ping "}} {
		t.Run(name, func(t *testing.T) {
			if capabilities != nil {
				capabilities = []string{protocol.Ping}
			}
			stream, err := agentv1.NewSessionServiceClient(s.connect(t, e, own)).Session(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.Send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Hello{Hello: &agentv1.Hello{
				ProtocolMin: 1, ProtocolMax: 1, BootId: "boot-1-" + name, Capabilities: capabilities,
			}}}); err != nil {
				t.Fatal(err)
			}
			if m, err := stream.Recv(); err != nil || m.GetWelcome() == nil {
				t.Fatalf("got %v, %v", m, err)
			}
			newer, err := s.hello(t, e, own, "boot-2-"+name, protocol.Ping)
			if err != nil {
				t.Fatalf("the newer: %v", err)
			}
			for {
				if _, err = stream.Recv(); err != nil {
					break
				}
			}
			if refusal(err) != agentv1.RefusalReason_REFUSAL_REASON_REPLACED {
				t.Errorf("the older ended with %v, want replaced", err)
			}
			if err := newer.CloseSend(); err != nil {
				t.Fatal(err)
			}
			within(t, "the end", newer.ended)
		})
	}
}

func retryAfter(err error) uint32 {
	for _, detail := range status.Convert(err).Details() {
		if r, ok := detail.(*agentv1.Refusal); ok {
			return r.GetRetryAfterMs()
		}
	}
	return 0
}

func TestAnAgentInQuarantineIsSentNothingUntilItIsReadmitted(t *testing.T) {
	s := newSite(t)
	shop := s.shop(t)
	e, own, id := s.identify(t)
	s.exec(t, "update agents set quarantine = 'away for long', quarantined_at = now() where id = $1", id)
	s.admin.Post(shop+"/start", nil).Expect(t, http.StatusNoContent)
	p, err := s.hello(t, e, own, "boot", protocol.Quarantine, protocol.Delta)
	if err != nil {
		t.Fatal(err)
	}
	if p.welcome.GetQuarantine() != "away for long" {
		t.Errorf("welcomed with %v", p.welcome)
	}
	node := s.admin.Get(s.nodePath()).Expect(t, http.StatusOK)
	if q, ok := node.Object(t)["quarantine"].(map[string]any); !ok || q["reason"] != "away for long" {
		t.Errorf("the node does not tell of it: %s", node.Body)
	}
	s.admin.Post(s.nodePath()+"/shop/containers/web/stop", nil).Expect(t, http.StatusPreconditionFailed)
	if err := p.Send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Status{Status: &agentv1.StatusReport{
		Sequence: 1, Containers: &agentv1.ContainerList{Containers: []*agentv1.Container{{Name: "web", EngineId: "1", State: "running"}}},
	}}}); err != nil {
		t.Fatal(err)
	}
	if m := within(t, "the report's acknowledgement", p.came); m.GetStatusAck().GetSequence() != 1 {
		t.Errorf("got %v before anything else, want that its report was taken", m)
	}
	s.admin.Post(s.nodePath()+"/readmit", nil).Expect(t, http.StatusNoContent)
	if err := within(t, "the end", p.ended); status.Code(err) != codes.Unavailable {
		t.Errorf("the session in quarantine ended with %v", err)
	}
	select {
	case m := <-p.came:
		t.Errorf("in quarantine it was sent %v", m)
	default:
	}
	s.admin.Post(s.nodePath()+"/readmit", nil).Expect(t, http.StatusPreconditionFailed)
	p, err = s.hello(t, e, own, "boot", protocol.Quarantine, protocol.Delta)
	if err != nil || p.welcome.GetQuarantine() != "" {
		t.Fatalf("readmitted: %v, %v", p, err)
	}
	if m := within(t, "the set", p.came); len(m.GetAssignments().GetAssignments()) != 1 {
		t.Errorf("readmitted it is sent %v", m)
	}
	seen := s.admin.Get(s.nodePath()+"/audit?skip=0&take=10&from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z").Expect(t, http.StatusOK)
	if !strings.Contains(string(seen.Body), `"readmitted"`) {
		t.Errorf("the node's history lacks it: %s", seen.Body)
	}
}

func TestAProtocolThatIsNotSpokenIsToldAndKept(t *testing.T) {
	s := newSite(t)
	e, own, _ := s.identify(t)
	stream, err := agentv1.NewSessionServiceClient(s.connect(t, e, own)).Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Hello{Hello: &agentv1.Hello{ProtocolMin: 99, ProtocolMax: 99, BootId: "b"}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); refusal(err) != agentv1.RefusalReason_REFUSAL_REASON_PROTOCOL {
		t.Errorf("got %v", err)
	}
	controllertest.Await(t, "the refusal shows", func() (bool, string) {
		return s.lastRefusal(t)["reason"] == "protocol", ""
	})
}

func TestSessionsMoveToAnotherControllerOfTheSameDatabase(t *testing.T) {
	s := newSite(t)
	e, own, _ := s.identify(t)
	old, err := s.hello(t, e, own, "boot-1", protocol.Ping)
	if err != nil {
		t.Fatal(err)
	}
	second := s.second(t)
	// Another process while the first answers, asked through its controller.
	if _, err := second.hello(t, e, own, "boot-2", protocol.Ping); refusal(err) != agentv1.RefusalReason_REFUSAL_REASON_CLONED {
		t.Errorf("another boot on another controller: %v, want cloned", err)
	}
	// The same process moves over, and the older session ends there.
	moved, err := second.hello(t, e, own, "boot-1", protocol.Ping)
	if err != nil {
		t.Fatal(err)
	}
	if err := within(t, "the end", old.ended); refusal(err) != agentv1.RefusalReason_REFUSAL_REASON_REPLACED {
		t.Errorf("the older ended with %v", err)
	}
	for name, one := range map[string]site{"first": s, "second": second} {
		if seen := one.admin.Get(s.nodePath()).Expect(t, http.StatusOK); seen.String(t, "liveness") != "connected" {
			t.Errorf("the %s controller says %s", name, seen.Body)
		}
	}
	// Revoked at one, it ends at the other.
	s.admin.Delete(s.nodePath()+"/token").Expect(t, http.StatusNoContent)
	if err := within(t, "the end", moved.ended); refusal(err) != agentv1.RefusalReason_REFUSAL_REASON_REVOKED {
		t.Errorf("revoked at the other controller it ended with %v", err)
	}
}

// second starts another controller on the site's database and keys.
func (s site) second(t *testing.T) site {
	t.Helper()
	c := controllertest.Start(t, s.DSN, s.StateDir)
	return site{Controller: c, admin: c.Admin(t), node: s.node}
}

func TestAControllersStopIsNoLoss(t *testing.T) {
	s := newSite(t)
	e := s.admin.Install(t, "acme", s.node)
	second := s.second(t)
	controllertest.StartAgent(t, t.TempDir(), &e, workloadtest.NewFakeDriver(workloadtest.FakeOptions{}))
	s.awaitStatus(t, "connected")
	s.Stop()
	if live := second.admin.Get(s.nodePath()).Expect(t, http.StatusOK).String(t, "liveness"); live != "stale" {
		t.Errorf("after its controller stopped the node is %s, want stale", live)
	}
	s.Restart(t)
	second.awaitStatus(t, "connected")
}

// TestFactsThatAreCommittedAreKnownToTheNextSession: their answer may have been
// lost with the session before.
func TestFactsThatAreCommittedAreKnownToTheNextSession(t *testing.T) {
	s := newSite(t)
	e, own, id := s.identify(t)
	tell := func(sequence, fact uint64, spool string) uint64 {
		t.Helper()
		p, err := s.hello(t, e, own, "boot", protocol.Spool)
		if err != nil {
			t.Fatal(err)
		}
		known := p.welcome.GetFactSequence()
		err = p.Send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Status{Status: &agentv1.StatusReport{
			Sequence: sequence, SpoolId: spool, Facts: []*agentv1.Fact{{
				Sequence: fact, Prefix: "shop", Name: "web", EngineId: "1", What: &agentv1.Fact_Exit{Exit: &agentv1.ContainerExit{ExitCode: 1}},
			}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		for {
			if ack := within(t, "the answer", p.came).GetStatusAck(); ack.GetFactSequence() >= fact {
				return known
			}
		}
	}
	if known := tell(1, 7, spool); known != 0 {
		t.Errorf("the first session knows fact %d", known)
	}
	if known := tell(2, 8, spool); known != 7 {
		t.Errorf("the next session knows fact %d, want 7", known)
	}
	s.exec(t, "update agents set spool_id = 'another' where id = $1", id)
	if known := tell(3, 9, spool); known != 0 {
		t.Errorf("a session with another spool knows fact %d", known)
	}
}

// TestNoSessionBeginsWhileTheDatabaseIsAway: the ones there are stay.
func TestNoSessionBeginsWhileTheDatabaseIsAway(t *testing.T) {
	s := newSite(t)
	e, own, _ := s.identify(t)
	database, through := controllertest.NewDatabaseForwarder(t, s.DSN)
	two := s.Replica(t, "DATABASE_URL="+through)
	there := site{Controller: two, admin: s.admin, node: s.node}
	open, err := there.hello(t, e, own, "boot")
	if err != nil {
		t.Fatal(err)
	}
	database.Stall() // nobody says a word
	controllertest.Await(t, "the controller notices", func() (bool, string) {
		ready, says := two.Ready(t)
		return !ready && strings.Contains(says, "[-] database"), says
	})
	_, err = there.hello(t, e, own, "boot")
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "lost its database") {
		t.Errorf("a session without a database: %v, want unavailable", err)
	}
	err = open.Send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Heartbeat{Heartbeat: &agentv1.Heartbeat{Sequence: 7}}})
	if err != nil {
		t.Fatal(err)
	}
	for within(t, "an echo on the session there was", open.came).GetHeartbeatAck().GetSequence() != 7 {
	}
	database.Heal(false)
	controllertest.Await(t, "sessions begin again", func() (bool, string) {
		_, err := there.hello(t, e, own, "boot")
		return err == nil, fmt.Sprint(err)
	})
}
