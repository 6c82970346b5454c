package agentrpc_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairlead.dev/controller/internal/controllertest"
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/pki"
	"fairlead.dev/shared/protocol"
	"fairlead.dev/shared/workload/workloadtest"
)

// liar is an agent of one node that speaks of another's.
type liar struct {
	t      *testing.T
	stream agentv1.SessionService_SessionClient
	came   chan *agentv1.ControllerMessage
	beat   uint64
	hangUp context.CancelFunc
	// welcomed tells that its session had begun when it was last heard.
	welcomed bool
}

func (s site) liar(t *testing.T, e controllertest.Enrolment, own tls.Certificate, boot string, more ...string) *liar {
	t.Helper()
	return s.liarSaying(t, e, own, &agentv1.Hello{
		ProtocolMin: 1, ProtocolMax: 1, BootId: boot, SpoolId: "liar " + boot,
		Capabilities: []string{protocol.Spool, protocol.CommandAck, protocol.Bulk, protocol.Exec, protocol.Inspect, protocol.Ping},
		Agent:        &agentv1.AgentInfo{NodeType: "docker"},
	}, more...)
}

// liarSaying is a liar with a greeting of its own.
func (s site) liarSaying(t *testing.T, e controllertest.Enrolment, own tls.Certificate, hello *agentv1.Hello, more ...string) *liar {
	t.Helper()
	ctx := metadata.AppendToOutgoingContext(context.Background(), more...)
	ctx, cancel := context.WithCancel(ctx)
	t.Cleanup(cancel)
	stream, err := agentv1.NewSessionServiceClient(s.connect(t, e, own)).Session(ctx)
	if err != nil {
		t.Fatal(err)
	}
	l := &liar{t: t, stream: stream, came: make(chan *agentv1.ControllerMessage, 256), hangUp: cancel}
	l.say(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Hello{Hello: hello}})
	go func() {
		defer close(l.came)
		for {
			m, err := stream.Recv()
			if err != nil {
				return
			}
			l.came <- m
		}
	}()
	return l
}

func (l *liar) say(m *agentv1.AgentMessage) {
	l.t.Helper()
	if err := l.stream.Send(m); err != nil {
		l.t.Logf("it was hung up on: %v", err) // which is as good as being ignored
	}
}

// heard waits until what was said has been handled, or the session is over.
func (l *liar) heard() {
	l.t.Helper()
	l.beat++
	l.say(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Heartbeat{Heartbeat: &agentv1.Heartbeat{Sequence: l.beat}}})
	patience := time.After(controllertest.Patience)
	for {
		select {
		case m, open := <-l.came:
			l.welcomed = l.welcomed || m.GetWelcome() != nil
			if !open || m.GetHeartbeatAck().GetSequence() == l.beat {
				return
			}
		case <-patience:
			l.t.Fatal("nothing came back")
		}
	}
}

// snapshot is what the API shows of the victim.
func snapshot(t *testing.T, s site, paths ...string) string {
	t.Helper()
	var all []string
	for _, path := range paths {
		all = append(all, string(s.admin.Get(path).Expect(t, http.StatusOK).Body))
	}
	return strings.Join(all, "\n")
}

// TestAgentWithAnothersIDsChangesNothing: agent A sends every message it can
// with the ids of agent B. Nothing of B changes.
func TestAgentWithAnothersIDsChangesNothing(t *testing.T) {
	s := newSite(t) // its node is the victim's
	shop := s.shop(t)
	e := s.admin.Install(t, "acme", s.node)
	controllertest.StartAgent(t, t.TempDir(), &e, workloadtest.NewFakeDriver(workloadtest.FakeOptions{}))
	s.admin.Post(shop+"/start", nil).Expect(t, http.StatusNoContent)
	s.awaitDeployment(t, shop, "successful")
	s.awaitContainers(t, "shop/web running")
	s.awaitStatus(t, "connected")
	detail := s.admin.Get(shop).Expect(t, http.StatusOK)
	deployment := detail.String(t, "id")
	var instances struct{ Instances []struct{ ID string } }
	detail.Into(t, &instances)
	instance := instances.Instances[0].ID

	attacker := s.admin.Post("/api/acme/nodes", map[string]any{"name": "attacker"}).Expect(t, http.StatusCreated).String(t, "id")
	hostile := s.admin.Install(t, "acme", attacker)
	answer, own, err := enrol(t, s.connect(t, hostile), hostile.Token)
	if err != nil {
		t.Fatal(err)
	}
	whole := "?skip=0&take=100"
	watched := []string{shop, shop + "/log" + whole, shop + "/releases", s.nodePath(), s.nodePath() + "/containers"}
	before := snapshot(t, s, watched...)

	status1 := func(phase agentv1.Phase, generation uint64) *agentv1.DeploymentStatus {
		return &agentv1.DeploymentStatus{
			DeploymentId: deployment, Generation: generation, Release: 1, Phase: phase,
			Failure: &agentv1.Failure{Step: "health", Message: "a lie", Kind: "internal"},
		}
	}
	now := timestamppb.Now()
	reports := map[string]*agentv1.StatusReport{
		"failed":    {Deployments: []*agentv1.DeploymentStatus{status1(agentv1.Phase_PHASE_FAILED, 1)}},
		"removed":   {Deployments: []*agentv1.DeploymentStatus{status1(agentv1.Phase_PHASE_REMOVED, 1)}},
		"progress":  {Deployments: []*agentv1.DeploymentStatus{status1(agentv1.Phase_PHASE_IN_PROGRESS, 9)}},
		"events":    {Events: []*agentv1.DeploymentEvent{{DeploymentId: deployment, Generation: 1, Release: 1, Time: now, Level: agentv1.EventLevel_EVENT_LEVEL_ERROR, InstanceId: instance, Lines: []string{"a lie"}, State: "exited"}}},
		"container": {Containers: &agentv1.ContainerList{ObservedAt: now, Containers: []*agentv1.Container{{Prefix: "shop", Name: "web", EngineId: "fake-000001", Managed: true, DeploymentId: deployment, InstanceId: instance, Release: 1, State: "exited", Reason: "a lie"}}}},
		"facts": {SpoolId: "liar", Facts: []*agentv1.Fact{{
			Sequence: 1, Time: now, DeploymentId: deployment, Release: 1, InstanceId: instance, Prefix: "shop", Name: "web", EngineId: "fake-000001",
			What: &agentv1.Fact_Exit{Exit: &agentv1.ContainerExit{ExitCode: 77, OomKilled: true, LogTail: []string{"a lie"}}},
		}}},
	}
	for name, report := range reports {
		t.Run(name, func(t *testing.T) {
			l := s.liar(t, hostile, own, "boot "+name)
			report.Sequence = 1
			l.say(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Status{Status: report}})
			l.heard()
		})
	}
	t.Run("set", func(t *testing.T) {
		l := s.liar(t, hostile, own, "boot set")
		l.say(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_AssignmentsAck{AssignmentsAck: &agentv1.AssignmentsAck{Generation: 1 << 40, SetHash: "a lie", Refusal: 1}}})
		l.heard()
	})
	t.Run("metadata", func(t *testing.T) {
		l := s.liar(t, hostile, own, "boot metadata", "agent-id", s.node, "node-id", s.node, "x-agent-id", s.node, "authorization", "Bearer "+s.node)
		l.heard()
	})
	t.Run("recovery", func(t *testing.T) {
		key, err := pki.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		request, err := pki.NewRequest(key)
		if err != nil {
			t.Fatal(err)
		}
		victimAgent := s.agentOf(t, s.node)
		_, err = agentv1.NewEnrolmentServiceClient(s.connect(t, hostile)).Recover(t.Context(), &agentv1.RecoverRequest{AgentId: victimAgent, CertificateRequest: request})
		if status.Code(err) != codes.Unauthenticated {
			t.Errorf("with another's id and a key of one's own: %v", err)
		}
		if answer.GetAgentId() == victimAgent {
			t.Fatal("the victim is the attacker")
		}
	})
	if after := snapshot(t, s, watched...); after != before {
		t.Errorf("the victim was\n%s\nand is\n%s", before, after)
	}
	events := s.admin.Get(s.nodePath()+"/audit"+whole+"&from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z").Expect(t, http.StatusOK)
	if strings.Contains(string(events.Body), "a lie") {
		t.Errorf("the victim's history has it: %s", events.Body)
	}
	// Of a session that lasts, it is noted.
	l := s.liar(t, hostile, own, "boot audit")
	l.say(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Status{Status: reports["failed"]}})
	s.awaitNoted(t, attacker, "deployment", deployment)
}

// TestAgentCantAnswerAnothersCommand: B's command is answered by B alone.
func TestAgentCantAnswerAnothersCommand(t *testing.T) {
	s := newSite(t)
	e := s.admin.Install(t, "acme", s.node)
	p := oldProtocols(t)[0]
	b := s.openOld(t, p, e, s.enrolOld(t, p, e))
	s.awaitStatus(t, "connected")
	attacker := s.admin.Post("/api/acme/nodes", map[string]any{"name": "attacker"}).Expect(t, http.StatusCreated).String(t, "id")
	hostile := s.admin.Install(t, "acme", attacker)
	_, own, err := enrol(t, s.connect(t, hostile), hostile.Token)
	if err != nil {
		t.Fatal(err)
	}
	a := s.liar(t, hostile, own, "boot")
	answered := make(chan controllertest.Reply, 1)
	go func() { answered <- s.admin.Post(s.nodePath()+"/shop/containers/web/restart", nil) }()
	id := fmt.Sprint(b.await("command")["id"])
	a.say(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_CommandResult{CommandResult: &agentv1.CommandResult{Id: id}}})
	a.say(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_CommandResult{CommandResult: &agentv1.CommandResult{Id: id, Error: "a lie", ErrorKind: "internal"}}})
	a.heard()
	b.send(object{"commandResult": object{"id": id, "error": "it is not there", "errorKind": "not-found"}})
	s.awaitNoted(t, attacker, "command", id)
	if reply := <-answered; reply.Status != http.StatusNotFound || !strings.Contains(string(reply.Body), "it is not there") {
		t.Errorf("the answer was %d %s, want the one of the node that was asked", reply.Status, reply.Body)
	}
}

// awaitNoted waits until the attacker's history and the audit log tell what its
// agent spoke of.
func (s site) awaitNoted(t *testing.T, attacker, kind, id string) {
	t.Helper()
	const all = "?skip=0&take=100&from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z"
	for path, event := range map[string]string{
		"/api/acme/nodes/" + attacker + "/audit" + all: "reportRefused", "/api/acme/audit-log" + all: "agent.report-refused",
	} {
		controllertest.Await(t, event, func() (bool, string) {
			body := string(s.admin.Get(path).Expect(t, http.StatusOK).Body)
			return strings.Contains(body, event) && strings.Contains(body, id) && strings.Contains(body, `"kind":"`+kind+`"`), body
		})
	}
}

// agentOf returns the id of a node's agent.
func (s site) agentOf(t *testing.T, node string) string {
	t.Helper()
	return query(t, s.DSN, "select id::text from agents where revoked_at is null and node_id = '"+node+"'")
}

func query(t *testing.T, dsn, sql string) string {
	t.Helper()
	db, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(context.WithoutCancel(t.Context())) }()
	var text string
	if err := db.QueryRow(t.Context(), sql).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}
