package agentrt_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/protobuf/frozen"
	"fairlead.dev/shared/agentrt/agentrttest"
	"fairlead.dev/shared/pki"
	"fairlead.dev/shared/workload/workloadtest"
)

// object is a message in its JSON form.
type object = map[string]any

// oldController is a controller that speaks a frozen protocol: it has no
// fields, no messages and no capabilities that came later. Of enrolment it
// borrows everything from agentrttest, whose authority it shares.
type oldController struct {
	t        *testing.T
	protocol frozen.Protocol
	backend  *agentrttest.Controller
	address  string
	sessions chan *oldSession

	mu   sync.Mutex
	seen []string
}

// oldSession is one session of an agent with it.
type oldSession struct {
	c      *oldController
	stream grpc.ServerStream
	came   chan object
	ended  chan struct{}
}

func startOld(t *testing.T, p frozen.Protocol) *oldController {
	t.Helper()
	c := &oldController{t: t, protocol: p, backend: agentrttest.Start(t), sessions: make(chan *oldSession, 8)}
	certificate, err := c.backend.Authority.Server(time.Now().Add(-pki.Skew), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.address = listener.Addr().String()
	current := func([]string) (*tls.Certificate, error) { return certificate, nil }
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(pki.ServerTLS([]*x509.Certificate{c.backend.Authority.Root}, current, time.Now))),
		grpc.UnknownServiceHandler(c.serve),
	)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		<-served
	})
	return c
}

// serve takes every call; those that the old protocol does not have it does
// not know.
func (c *oldController) serve(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	switch method {
	case "/fairlead.agent.v1.EnrolmentService/Enrol":
		ask := c.message("EnrolRequest")
		if err := stream.RecvMsg(ask); err != nil {
			return err
		}
		c.look(ask)
		// The bytes are those of the present message too: that is the point.
		var present agentv1.EnrolRequest
		translate(c.t, ask, &present)
		answer, err := c.backend.Enrol(stream.Context(), &present)
		if err != nil {
			return err
		}
		old := c.message("EnrolResponse")
		translate(c.t, answer, old)
		return stream.SendMsg(old)
	case "/fairlead.agent.v1.SessionService/Session":
		s := &oldSession{c: c, stream: stream, came: make(chan object, 1024), ended: make(chan struct{})}
		c.sessions <- s
		return s.receive()
	default:
		c.note("the method " + method)
		return fmt.Errorf("unknown method %s", method)
	}
}

func (c *oldController) message(name string) *dynamicpb.Message {
	m, err := c.protocol.New(name)
	if err != nil {
		panic(err)
	}
	return m
}

func translate(t *testing.T, from, to proto.Message) {
	t.Helper()
	content, err := proto.Marshal(from)
	if err == nil {
		err = proto.Unmarshal(content, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (c *oldController) note(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.seen, what) {
		c.seen = append(c.seen, what)
	}
}

func (c *oldController) look(m proto.Message) {
	for _, path := range frozen.Unknown(m) {
		c.note(path)
	}
}

// understoodAll fails the test when the agent said something that the old
// protocol does not have and that is not harmless to miss.
func (c *oldController) understoodAll() {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, what := range c.seen {
		if !slices.Contains(harmless(), what) {
			c.t.Errorf("a controller of protocol %s was sent %s, which it did not announce", c.protocol.Version, what)
		}
	}
}

// harmless are fields an old controller is sent although it does not know
// them, because they are sent before the agent knows whom it talks to, or say
// more of something that is understood without.
func harmless() []string {
	return []string{
		"hello.9", "hello.10", "hello.11", // spool_id, trusted_roots, sealing_key
		// A container's leftover, oom_killed, restart_count, started_at,
		// finished_at; a list's engine_away.
		"status.containers.containers.19", "status.containers.containers.20", "status.containers.containers.21",
		"status.containers.containers.22", "status.containers.containers.23",
	}
}

func (c *oldController) accept() *oldSession {
	c.t.Helper()
	select {
	case s := <-c.sessions:
		return s
	case <-time.After(agentrttest.Patience):
		c.t.Fatal("no agent opened a session")
		return nil
	}
}

// welcome accepts a session and welcomes it.
func (c *oldController) welcome() *oldSession {
	c.t.Helper()
	s := c.accept()
	hello := s.await("hello")
	if fmt.Sprint(hello["protocolMin"]) != "1" {
		c.t.Errorf("the hello is %v", hello)
	}
	s.send(object{"welcome": object{
		"protocol": 1, "sessionId": "s", "epoch": 1, "heartbeatPeriodMs": 2_000, "backoff": object{"baseMs": 10, "capMs": 50, "resetAfterMs": 1},
	}})
	return s
}

func (s *oldSession) receive() error {
	defer close(s.ended)
	for {
		m := s.c.message("AgentMessage")
		if err := s.stream.RecvMsg(m); err != nil {
			return nil // the agent hung up
		}
		s.c.look(m)
		content, err := protojson.Marshal(m)
		if err != nil {
			return err
		}
		var o object
		if err := json.Unmarshal(content, &o); err != nil {
			return err
		}
		var answer object
		if beat, ok := o["heartbeat"].(object); ok {
			answer = object{"heartbeatAck": beat}
		} else if report, ok := o["status"].(object); ok {
			answer = object{"statusAck": object{"sequence": report["sequence"]}}
		}
		if answer != nil {
			s.send(answer)
		}
		s.came <- o
	}
}

func (s *oldSession) send(message object) {
	content, err := json.Marshal(message)
	if err != nil {
		panic(err)
	}
	m, err := s.c.protocol.Parse("ControllerMessage", string(content))
	if err != nil {
		panic(err)
	}
	s.sendMessage(m)
}

func (s *oldSession) sendMessage(m proto.Message) { _ = s.stream.SendMsg(m) } // whoever waits for an answer notices

// await waits for a message with the kind of body and returns that.
func (s *oldSession) await(kind string) object {
	s.c.t.Helper()
	patience := time.After(agentrttest.Patience)
	for {
		select {
		case m := <-s.came:
			if body, ok := m[kind].(object); ok {
				return body
			}
		case <-s.ended:
			s.c.t.Fatalf("the session ended before %s came", kind)
		case <-patience:
			s.c.t.Fatalf("no %s came", kind)
		}
	}
}

// awaitPhase waits for a deployment's phase at a generation.
func (s *oldSession) awaitPhase(deployment string, generation int, phase string) {
	s.c.t.Helper()
	for {
		list, _ := s.await("status")["deployments"].([]any)
		for _, one := range list {
			d, _ := one.(object)
			if d["deploymentId"] == deployment && fmt.Sprint(d["generation"]) == fmt.Sprint(generation) && d["phase"] == phase {
				return
			}
		}
	}
}

// assign sends a whole set and returns the answer.
func (s *oldSession) assign(set *agentv1.AssignmentSet) object {
	s.c.t.Helper()
	m := s.c.message("ControllerMessage")
	translate(s.c.t, &agentv1.ControllerMessage{Body: &agentv1.ControllerMessage_Assignments{Assignments: set}}, m)
	s.sendMessage(m)
	return s.await("assignmentsAck")
}

func TestSkewThisAgentWorksWithAnOldController(t *testing.T) {
	protocols, err := frozen.Protocols()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range protocols {
		t.Run(p.Version, func(t *testing.T) {
			c := startOld(t, p)
			driver := workloadtest.NewFakeDriver(workloadtest.FakeOptions{})
			n := newNode(t, driver)
			n.enrolAt(c.backend, c.address)
			agent := n.start()

			s := c.welcome()
			if ack := s.assign(set(1, deployment("a", 1))); ack["refusal"] != nil {
				t.Fatalf("the set was refused: %v", ack)
			}
			s.awaitPhase("id-a", 1, "PHASE_SUCCESSFUL")

			// What ends by itself is a fact, which this controller can't take.
			driver.Exit("a-web", 3)
			for {
				list, _ := s.await("status")["containers"].(object)
				if strings.Contains(fmt.Sprint(list), "exited") {
					break
				}
			}

			// Commands, also over a reconnect: they are answered without an
			// acknowledgement, which this controller never sends.
			s.send(object{"command": object{
				"id": "c1", "deadline": time.Now().Add(time.Minute).Format(time.RFC3339Nano),
				"container": object{"operation": "CONTAINER_OPERATION_START", "prefix": "a", "name": "web"},
			}})
			if result := s.await("commandResult"); result["id"] != "c1" || result["error"] != nil {
				t.Errorf("the command's result is %v", result)
			}

			agent.quit()
			n.start()
			s = c.welcome()
			if ack := s.assign(set(2, deployment("a", 1), deployment("b", 2))); ack["refusal"] != nil {
				t.Fatalf("the set was refused: %v", ack)
			}
			s.awaitPhase("id-b", 2, "PHASE_SUCCESSFUL")
			if ack := s.assign(set(3, deployment("a", 1), tombstone("b", 3))); ack["refusal"] != nil {
				t.Fatalf("the set was refused: %v", ack)
			}
			s.awaitPhase("id-b", 3, "PHASE_REMOVED")
			s.await("heartbeat")
			c.understoodAll()
		})
	}
}

// TestSkewNewerControllersWordsAreSurvived says things that this agent does
// not know, as a newer controller may, and expects the session to go on.
func TestSkewNewerControllersWordsAreSurvived(t *testing.T) {
	protocols, err := frozen.Protocols()
	if err != nil {
		t.Fatal(err)
	}
	c := startOld(t, protocols[0])
	n := newNode(t, nil)
	n.enrolAt(c.backend, c.address)
	n.start()
	s := c.welcome()
	s.assign(set(1, deployment("a", 1)))
	s.awaitPhase("id-a", 1, "PHASE_SUCCESSFUL")

	future := protowire.AppendBytes(protowire.AppendTag(nil, 199, protowire.BytesType), []byte("from the future"))
	unknown := c.message("ControllerMessage")
	unknown.SetUnknown(future)
	s.sendMessage(unknown)
	s.await("heartbeat")

	// A command of a kind, and an operation, that this agent has not.
	deadline := time.Now().Add(time.Minute).Format(time.RFC3339Nano)
	for id, command := range map[string]object{
		"a kind":       {},
		"an operation": {"container": object{"operation": 77, "prefix": "a", "name": "web"}},
	} {
		command["id"], command["deadline"] = id, deadline
		content, err := json.Marshal(object{"command": command})
		if err != nil {
			t.Fatal(err)
		}
		m, err := c.protocol.Parse("ControllerMessage", string(content))
		if err != nil {
			t.Fatal(err)
		}
		m.Get(m.Descriptor().Fields().ByName("command")).Message().SetUnknown(future)
		s.sendMessage(m)
		if result := s.await("commandResult"); result["id"] != id || result["errorKind"] != "unsupported" {
			t.Errorf("%s from the future: %v, want unsupported", id, result)
		}
	}

	// What it does not know wanted of one prefix stops nothing under another.
	odd := &agentv1.Assignment{Prefix: "odd", Generation: 2}
	odd.ProtoReflect().SetUnknown(future)
	next := set(2, deployment("a", 1), odd, deployment("b", 2))
	if ack := s.assign(next); ack["refusal"] != nil {
		t.Fatalf("the set was refused: %v", ack)
	}
	s.awaitPhase("id-b", 2, "PHASE_SUCCESSFUL")
	if len(n.containers()) != 2 {
		t.Errorf("the containers are %v", n.containers())
	}
}

// enrolAt writes the file of an install script whose controller is at address.
func (n *node) enrolAt(c *agentrttest.Controller, address string) {
	n.t.Helper()
	c.WriteEnrolment(n.t, n.dir, base64.StdEncoding.EncodeToString([]byte(n.t.Name())))
	enrolment := strings.ReplaceAll(n.read("enrol.json"), c.Addr(), address)
	if err := os.WriteFile(filepath.Join(n.dir, "enrol.json"), []byte(enrolment), 0o600); err != nil {
		n.t.Fatal(err)
	}
}
