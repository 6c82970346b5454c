package agentrpc_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"fairlead.dev/controller/internal/controllertest"
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/protocol"
	"fairlead.dev/shared/workload/workloadtest"
)

// stolen are values of a victim: by the name of the field they belong into, and
// one for every other field.
type stolen struct {
	byName map[string]string
	other  string
}

// fill returns the message with every field set to what is the victim's. Where
// there is a choice, the turn makes it; choices is the most that any offers.
func (v stolen) fill(m protoreflect.Message, turn int) (choices int) {
	choices = 1
	fields, groups := m.Descriptor().Fields(), m.Descriptor().Oneofs()
	for i := range fields.Len() {
		field := fields.Get(i)
		if field.ContainingOneof() != nil && !field.HasOptionalKeyword() {
			continue
		}
		choices = max(choices, v.set(m, field, turn))
	}
	for i := range groups.Len() {
		group := groups.Get(i)
		if group.IsSynthetic() {
			continue
		}
		n := group.Fields().Len()
		// What the chosen one chooses itself comes once all have had their turn.
		choices = max(choices, n*v.set(m, group.Fields().Get(turn%n), turn/n))
	}
	return choices
}

func (v stolen) set(m protoreflect.Message, field protoreflect.FieldDescriptor, turn int) (choices int) {
	switch {
	case field.IsMap():
		return 1 // none has an id
	case field.IsList() && field.Message() != nil:
		list := m.Mutable(field).List()
		element := list.NewElement()
		choices = v.fill(element.Message(), turn)
		list.Append(element)
		return choices
	case field.Message() != nil:
		return v.fill(m.Mutable(field).Message(), turn)
	case field.IsList():
		m.Mutable(field).List().Append(v.scalar(field, turn))
	default:
		m.Set(field, v.scalar(field, turn))
	}
	if field.Enum() != nil {
		return field.Enum().Values().Len()
	}
	return 1
}

func (v stolen) scalar(field protoreflect.FieldDescriptor, turn int) protoreflect.Value {
	text := v.other
	if known, ok := v.byName[string(field.Name())]; ok {
		text = known
	}
	switch field.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(text)
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(text))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		values := field.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(turn % values.Len()).Number())
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(1)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(1)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(1)
	default:
		return protoreflect.ValueOfInt32(1)
	}
}

// every returns a message for each choice there is in it.
func (v stolen) every(d protoreflect.MessageDescriptor) []proto.Message {
	var all []proto.Message
	for turn, choices := 0, 1; turn < choices; turn++ {
		m := dynamicpb.NewMessage(d)
		choices = v.fill(m, turn)
		all = append(all, m)
	}
	return all
}

// asAgentMessage returns a message of the protocol's description as the type
// that the generated code has.
func asAgentMessage(t *testing.T, m proto.Message) *agentv1.AgentMessage {
	t.Helper()
	content, err := proto.Marshal(m)
	must(t, err)
	var message agentv1.AgentMessage
	must(t, proto.Unmarshal(content, &message))
	return &message
}

// TestEveryMessageWithAnothersIDsChangesNothing: agent A sends all that the
// protocol lets an agent say, by every method there is, with what is B's in
// every field. Kinds and fields are taken from the protocol's description, so
// that none is forgotten that comes later. Nothing of B changes.
func TestEveryMessageWithAnothersIDsChangesNothing(t *testing.T) {
	s := newSite(t) // its node is the victim's
	shop := s.shop(t)
	e := s.admin.Install(t, "acme", s.node)
	controllertest.StartAgent(t, t.TempDir(), &e, workloadtest.NewFakeDriver(workloadtest.FakeOptions{}))
	s.admin.Post(shop+"/start", nil).Expect(t, http.StatusNoContent)
	s.awaitDeployment(t, shop, "successful")
	s.awaitContainers(t, "shop/web running")
	s.admin.Post(s.nodePath()+"/shop/containers/web/stop", nil).Expect(t, http.StatusNoContent)
	s.awaitContainers(t, "shop/web exited")
	s.awaitStatus(t, "connected")
	detail := s.admin.Get(shop).Expect(t, http.StatusOK)
	deployment := detail.String(t, "id")
	var instances struct{ Instances []struct{ ID string } }
	detail.Into(t, &instances)

	attacker := s.admin.Post("/api/acme/nodes", map[string]any{"name": "attacker"}).Expect(t, http.StatusCreated).String(t, "id")
	hostile := s.admin.Install(t, "acme", attacker)
	_, own, err := enrol(t, s.connect(t, hostile), hostile.Token)
	must(t, err)
	v := stolen{other: s.node, byName: map[string]string{
		"deployment_id": deployment, "instance_id": instances.Instances[0].ID, "agent_id": s.agentOf(t, s.node), "node_id": s.node,
		"prefix": "shop", "name": "web", "engine_id": "fake-000001",
		"id":          query(t, s.DSN, "select id::text from commands where node_id = '"+s.node+"' limit 1"),
		"boot_id":     query(t, s.DSN, "select boot_id from agents where node_id = '"+s.node+"' and revoked_at is null"),
		"spool_id":    query(t, s.DSN, "select spool_id from agents where node_id = '"+s.node+"' and revoked_at is null"),
		"sealing_key": query(t, s.DSN, "select sealing_key from agents where node_id = '"+s.node+"' and revoked_at is null"),
		"lineage":     query(t, s.DSN, "select value from settings where key = 'lineage'"),
		"node_type":   "docker",
	}}
	whole := "?skip=0&take=100&from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z"
	watched := []string{
		shop, shop + "/log?skip=0&take=100", shop + "/releases", s.nodePath(), s.nodePath() + "/containers",
		s.nodePath() + "/audit" + whole, s.nodePath() + "/shop/containers/web/log?take=100",
	}
	before := snapshot(t, s, watched...)

	said := map[string]int{}
	for _, m := range v.every((&agentv1.AgentMessage{}).ProtoReflect().Descriptor()) {
		message := asAgentMessage(t, m)
		kind := string(message.ProtoReflect().WhichOneof(message.ProtoReflect().Descriptor().Oneofs().Get(0)).Name())
		said[kind]++
		var l *liar
		if hello := message.GetHello(); hello != nil { // only the first message may be one
			hello.ProtocolMin, hello.ProtocolMax = protocol.VersionMin, protocol.VersionMax
			l = s.liarSaying(t, hostile, own, hello)
		} else {
			l = s.liar(t, hostile, own, "boot")
			l.say(message)
		}
		l.heard()
		if !l.welcomed {
			t.Errorf("%s was not listened to", kind)
		}
		l.hangUp()
	}
	for _, file := range []protoreflect.FileDescriptor{
		agentv1.File_fairlead_agent_v1_session_proto, agentv1.File_fairlead_agent_v1_enrolment_proto, agentv1.File_fairlead_agent_v1_bulk_proto,
	} {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				for _, m := range v.every(methods.Get(j).Input()) {
					said[string(methods.Get(j).Name())]++
					s.call(t, s.connect(t, hostile, own), methods.Get(j), m)
					s.call(t, s.connect(t, hostile), methods.Get(j), m) // as a stranger
				}
			}
		}
	}
	t.Log(said)
	for _, kind := range []string{"hello", "assignments_ack", "status", "command_result", "update", "Session", "Prove", "RenewCertificate", "Enrol", "Recover", "Carry", "Fetch"} {
		if said[kind] == 0 {
			t.Errorf("no %s was sent", kind)
		}
	}
	if after := snapshot(t, s, watched...); after != before {
		t.Errorf("the victim was\n%s\nand is\n%s", before, after)
	}
	if v.byName["agent_id"] != s.agentOf(t, s.node) {
		t.Error("the victim's agent is another")
	}
	// One of a minute is noted, of whichever kind was looked at first.
	controllertest.Await(t, "reportRefused", func() (bool, string) {
		body := string(s.admin.Get("/api/acme/nodes/"+attacker+"/audit"+whole).Expect(t, http.StatusOK).Body)
		return strings.Contains(body, "reportRefused") && (strings.Contains(body, deployment) || strings.Contains(body, v.byName["id"])), body
	})
}

// call makes one call of a method with one message and waits for its end, which
// the caller of a stream that would last brings about.
func (s site) call(t *testing.T, conn *grpc.ClientConn, method protoreflect.MethodDescriptor, m proto.Message) {
	t.Helper()
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	name := "/" + strings.Join([]string{string(method.Parent().FullName()), string(method.Name())}, "/")
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, name)
	must(t, err)
	if err := errors.Join(stream.SendMsg(m), stream.CloseSend()); err != nil && !errors.Is(err, io.EOF) {
		t.Fatalf("%s: %v", name, err)
	}
	for {
		if err := stream.RecvMsg(dynamicpb.NewMessage(method.Output())); err != nil {
			if ctx.Err() != nil && !slices.Contains([]string{"Session", "Prove"}, string(method.Name())) {
				t.Errorf("%s did not end: %v", name, err)
			}
			return
		}
	}
}
