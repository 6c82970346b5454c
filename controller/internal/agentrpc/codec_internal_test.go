package agentrpc

import (
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
)

func sequences() []uint64 { return []uint64{0, 1, 127, 128, 1 << 40, 1<<64 - 1} }

func TestEchoesAreWhatProtobufWouldWrite(t *testing.T) {
	c := newCodec()
	for _, n := range sequences() {
		data, err := c.Marshal(&echo{n})
		if err != nil {
			t.Fatal(err)
		}
		var m agentv1.ControllerMessage
		if err := proto.Unmarshal(data.Materialize(), &m); err != nil || m.GetHeartbeatAck() == nil || m.GetHeartbeatAck().GetSequence() != n {
			t.Errorf("%d: read %v, %v", n, &m, err)
		}
	}
}

func TestHeartbeatsAreReadAsProtobufWouldReadThem(t *testing.T) {
	c := newCodec()
	for _, n := range sequences() {
		data, err := proto.Marshal(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Heartbeat{Heartbeat: &agentv1.Heartbeat{Sequence: n}}})
		if err != nil {
			t.Fatal(err)
		}
		var h heard
		if err := c.Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, &h); err != nil || !h.heartbeat || h.sequence != n {
			t.Errorf("%d: read %+v, %v", n, h, err)
		}
	}
	for name, m := range map[string]*agentv1.AgentMessage{
		"pong":    {Body: &agentv1.AgentMessage_Pong{Pong: &agentv1.Pong{Nonce: 7}}},
		"leaving": {Body: &agentv1.AgentMessage_Leaving{Leaving: &agentv1.Leaving{}}},
		"nothing": {},
	} {
		data, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var h heard
		if err := c.Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, &h); err != nil || h.heartbeat || !proto.Equal(h.message, m) {
			t.Errorf("%s: read %+v, %v", name, h, err)
		}
	}
}

// FuzzHeartbeat holds the reading by hand to protobuf's.
func FuzzHeartbeat(f *testing.F) {
	for _, seed := range [][]byte{{}, {0x12, 0}, {0x12, 2, 8, 1}, {0x12, 2, 8, 0x80}, {0x12, 3, 8, 1, 0}, {0x12, 1, 8}, {0x12, 2, 8, 1, 0x3a, 0}} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		sequence, ok := heartbeat(data)
		if !ok {
			return
		}
		var m agentv1.AgentMessage
		if err := proto.Unmarshal(data, &m); err != nil || m.GetHeartbeat() == nil || m.GetHeartbeat().GetSequence() != sequence {
			t.Errorf("%x: by hand %d, protobuf %v, %v", data, sequence, &m, err)
		}
	})
}
