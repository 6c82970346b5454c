package agentrpc_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/protobuf/frozen"
	"fairlead.dev/shared/pki"
)

const (
	enrolMethod   = "/fairlead.agent.v1.EnrolmentService/Enrol"
	sessionMethod = "/fairlead.agent.v1.SessionService/Session"
)

// object is a message in its JSON form.
type object = map[string]any

// oldAgent is an agent that speaks a frozen protocol: it has no fields, no
// messages and no capabilities that came later.
type oldAgent struct {
	t        *testing.T
	protocol frozen.Protocol
	stream   grpc.ClientStream
	came     chan object
	ended    chan error
	// seen is what the agent did not understand; complete when ended tells.
	seen     []string
	sequence int
	beat     int
}

func oldProtocols(t *testing.T) []frozen.Protocol {
	t.Helper()
	all, err := frozen.Protocols()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// enrolOld enrols with a frozen protocol and returns the identity.
func (s site) enrolOld(t *testing.T, p frozen.Protocol, e controllertest.Enrolment) tls.Certificate {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	request, err := pki.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	ask := parse(t, p, "EnrolRequest", object{
		"token": e.Token, "certificateRequest": base64.StdEncoding.EncodeToString(request),
		"agent": object{"version": p.Version, "nodeType": "docker"},
	})
	answer, err := p.New("EnrolResponse")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.connect(t, e).Invoke(t.Context(), enrolMethod, ask, answer); err != nil {
		t.Fatal(err)
	}
	var got struct{ CertificateChain [][]byte }
	decode(t, answer, &got)
	return tls.Certificate{Certificate: got.CertificateChain, PrivateKey: key}
}

// openOld opens a session with a frozen protocol and returns it welcomed.
func (s site) openOld(t *testing.T, p frozen.Protocol, e controllertest.Enrolment, own tls.Certificate) *oldAgent {
	t.Helper()
	// Not the test's context: the session is to end in the order of clean-up.
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := s.connect(t, e, own).NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, sessionMethod)
	if err != nil {
		t.Fatal(err)
	}
	a := &oldAgent{t: t, protocol: p, stream: stream, came: make(chan object, 64), ended: make(chan error, 1)}
	t.Cleanup(cancel)
	go a.receive()
	a.send(object{"hello": object{"protocolMin": 1, "protocolMax": 1, "bootId": rand.Text(), "agent": object{"version": p.Version, "nodeType": "docker"}}})
	a.await("welcome")
	return a
}

func (a *oldAgent) receive() {
	for {
		m, err := a.protocol.New("ControllerMessage")
		if err == nil {
			err = a.stream.RecvMsg(m)
		}
		if err != nil {
			a.ended <- err
			close(a.came)
			return
		}
		for _, path := range frozen.Unknown(m) {
			if !slices.Contains(a.seen, path) {
				a.seen = append(a.seen, path)
			}
		}
		var o object
		content, err := protojson.Marshal(m)
		if err != nil || json.Unmarshal(content, &o) != nil {
			a.ended <- fmt.Errorf("message %v: %w", m, err)
			close(a.came)
			return
		}
		a.came <- o
	}
}

func (a *oldAgent) send(message object) {
	a.t.Helper()
	a.sendMessage(parse(a.t, a.protocol, "AgentMessage", message))
}

func (a *oldAgent) sendMessage(m proto.Message) {
	a.t.Helper()
	if err := a.stream.SendMsg(m); err != nil {
		a.t.Fatalf("send %v: %v", m, err)
	}
}

// await waits for the next message of the kind and returns it.
func (a *oldAgent) await(kind string) object {
	a.t.Helper()
	patience := time.After(controllertest.Patience)
	for {
		select {
		case m, open := <-a.came:
			if !open {
				a.t.Fatalf("the session ended before %s came: %v", kind, <-a.ended)
			}
			if body, ok := m[kind].(object); ok {
				return body
			}
		case <-patience:
			a.t.Fatalf("no %s came", kind)
		}
	}
}

// report sends a status report and waits until it is committed.
func (a *oldAgent) report(report object) {
	a.t.Helper()
	a.sequence++
	report["sequence"] = a.sequence
	a.send(object{"status": report})
	if ack := a.await("statusAck"); fmt.Sprint(ack["sequence"]) != fmt.Sprint(a.sequence) {
		a.t.Errorf("report %d was acknowledged as %v", a.sequence, ack)
	}
}

// echo waits until a heartbeat has come back: everything sent before it has
// been handled.
func (a *oldAgent) echo() {
	a.t.Helper()
	a.beat++
	a.send(object{"heartbeat": object{"sequence": a.beat}})
	if ack := a.await("heartbeatAck"); fmt.Sprint(ack["sequence"]) != fmt.Sprint(a.beat) {
		a.t.Errorf("heartbeat %d came back as %v", a.beat, ack)
	}
}

// obey takes the next set, says that each of its deployments runs, and returns
// it.
func (a *oldAgent) obey() object {
	a.t.Helper()
	set := a.await("assignments")
	a.send(object{"assignmentsAck": object{"generation": set["generation"], "setHash": set["setHash"]}})
	assignments, _ := set["assignments"].([]any)
	var statuses, containers []any
	for _, one := range assignments {
		assignment, _ := one.(object)
		if tombstone, ok := assignment["tombstone"].(object); ok {
			statuses = append(statuses, object{"deploymentId": tombstone["deploymentId"], "generation": assignment["generation"], "phase": "PHASE_REMOVED"})
			continue
		}
		d, _ := assignment["deployment"].(object)
		statuses = append(statuses, object{"deploymentId": d["id"], "generation": assignment["generation"], "release": d["release"], "phase": "PHASE_SUCCESSFUL"})
		containers = append(containers, object{
			"prefix": d["prefix"], "name": "web", "engineId": "old-" + fmt.Sprint(d["release"]), "managed": true,
			"deploymentId": d["id"], "release": d["release"], "state": "running",
		})
	}
	a.report(object{"deployments": statuses, "containers": object{"containers": containers}})
	return set
}

// understoodAll fails the test when something came that this version does not
// know. The session is over then.
func (a *oldAgent) understoodAll() {
	a.t.Helper()
	if err := a.stream.CloseSend(); err != nil {
		a.t.Error(err)
	}
	for range a.came { // until it is closed
	}
	<-a.ended
	for _, path := range a.seen {
		if !slices.Contains(harmless(), path) {
			a.t.Errorf("an agent of protocol %s was sent %s, which it did not announce", a.protocol.Version, path)
		}
	}
}

// harmless are fields an old agent is sent although it does not know them: it
// loses nothing by that.
func harmless() []string { return []string{} }

func parse(t *testing.T, p frozen.Protocol, name string, message object) *dynamicpb.Message {
	t.Helper()
	content, err := json.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	m, err := p.Parse(name, string(content))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func decode(t *testing.T, m proto.Message, into any) {
	t.Helper()
	content, err := protojson.Marshal(m)
	if err == nil {
		err = json.Unmarshal(content, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestSkewOldAgentWorksWithThisController(t *testing.T) {
	for _, p := range oldProtocols(t) {
		t.Run(p.Version, func(t *testing.T) {
			s := newSite(t)
			shop := s.shop(t)
			e := s.admin.Install(t, "acme", s.node)
			own := s.enrolOld(t, p, e)
			a := s.openOld(t, p, e, own)
			s.awaitStatus(t, "connected")

			// Sets, one after the other, each whole.
			for release := 1; release <= 3; release++ {
				s.admin.Post(shop+"/start", nil).Expect(t, http.StatusNoContent)
				for {
					set := a.obey()
					if list, _ := set["assignments"].([]any); len(list) == 1 {
						break
					}
				}
				s.awaitDeployment(t, shop, "successful")
			}
			s.awaitContainers(t, "shop/web running")

			// Commands of the kinds it knows.
			answered := make(chan int, 1)
			go func() {
				answered <- s.admin.Post(s.nodePath()+"/shop/containers/web/restart", nil).Status
			}()
			command := a.await("command")
			if operation := command["container"].(object)["operation"]; operation != "CONTAINER_OPERATION_RESTART" {
				t.Errorf("the command is %v", command)
			}
			a.send(object{"commandResult": object{"id": command["id"]}})
			if status := <-answered; status != http.StatusNoContent {
				t.Errorf("the restart answered %d", status)
			}

			// And it stays.
			a.echo()
			s.awaitStatus(t, "connected")

			// Gone and back, it is given what it has missed, whole.
			a.understoodAll()
			s.admin.Delete(shop).Expect(t, http.StatusNoContent)
			a = s.openOld(t, p, e, own)
			a.obey()
			s.awaitContainers(t)
			a.understoodAll()
		})
	}
}

// TestSkewNewerAgentsWordsAreSurvived says things that this controller does
// not know, as a newer agent may, and expects the session to go on.
func TestSkewNewerAgentsWordsAreSurvived(t *testing.T) {
	s := newSite(t)
	shop := s.shop(t)
	e := s.admin.Install(t, "acme", s.node)
	p := oldProtocols(t)[0]
	own := s.enrolOld(t, p, e)
	a := s.openOld(t, p, e, own)
	s.admin.Post(shop+"/start", nil).Expect(t, http.StatusNoContent)
	for {
		if list, _ := a.obey()["assignments"].([]any); len(list) == 1 {
			break
		}
	}
	s.awaitDeployment(t, shop, "successful")
	id := shop[strings.LastIndex(shop, "/")+1:]

	future := protowire.AppendBytes(protowire.AppendTag(nil, 199, protowire.BytesType), []byte("from the future"))
	unknownBody, err := p.New("AgentMessage")
	if err != nil {
		t.Fatal(err)
	}
	unknownBody.SetUnknown(future)
	a.sendMessage(unknownBody)
	a.echo()

	withUnknownField := parse(t, p, "AgentMessage", object{"heartbeat": object{"sequence": "77"}})
	withUnknownField.Get(withUnknownField.Descriptor().Fields().ByName("heartbeat")).Message().SetUnknown(future)
	a.sendMessage(withUnknownField)
	a.await("heartbeatAck")

	for name, report := range map[string]object{
		"a phase":           {"deployments": []any{object{"deploymentId": id, "generation": 1, "release": 1, "phase": 77}}},
		"a level":           {"events": []any{object{"deploymentId": id, "release": 1, "level": 77, "lines": []any{"from the future"}}}},
		"a state":           {"events": []any{object{"deploymentId": id, "release": 1, "level": 1, "state": "levitating"}}},
		"a container state": {"containers": object{"containers": []any{object{"prefix": "shop", "name": "web", "state": "levitating", "managed": true}}}},
		"a kind of failure": {"deployments": []any{object{"deploymentId": id, "generation": 1, "release": 1, "phase": "PHASE_FAILED", "failure": object{"kind": "new-kind", "step": "new-step"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.openOld(t, p, e, own)
			a.report(report)
			a.echo()
		})
	}
	a = s.openOld(t, p, e, own)
	a.send(object{"assignmentsAck": object{"generation": 1, "setHash": "x", "refusal": 77, "detail": "for a reason from the future"}})
	a.echo()
	a.send(object{"commandResult": object{"id": "00000000-0000-0000-0000-000000000001", "error": "x", "errorKind": "new-kind"}})
	a.echo()
	s.awaitStatus(t, "connected")
}
