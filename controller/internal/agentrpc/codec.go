package agentrpc

import (
	"encoding/binary"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that is wrapped
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
)

// Heartbeats and their echoes are nearly all that ten thousand idle agents say.
// This codec reads and writes them without building messages; everything else
// is protobuf's own.

// heard is what a session receives: a heartbeat, or any other message.
type heard struct {
	heartbeat bool
	sequence  uint64
	message   *agentv1.AgentMessage
}

// echo is the acknowledgement of a heartbeat.
type echo struct{ sequence uint64 }

// Numbers of the fields that are read and written by hand.
const (
	fieldHeartbeat    = 2 // of AgentMessage
	fieldHeartbeatAck = 2 // of ControllerMessage
	fieldSequence     = 1 // of both
	// longestBeat is longer than any heartbeat.
	longestBeat = 16
)

type codec struct{ encoding.CodecV2 }

func newCodec() encoding.CodecV2 { return codec{encoding.GetCodecV2("proto")} }

// Marshal writes echoes by hand.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	e, ok := v.(*echo)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	buffer := make([]byte, 0, longestBeat)
	var inner [1 + binary.MaxVarintLen64]byte
	body := inner[:0]
	if e.sequence != 0 { // proto3 leaves zeros out
		body = protowire.AppendTag(body, fieldSequence, protowire.VarintType)
		body = protowire.AppendVarint(body, e.sequence)
	}
	buffer = protowire.AppendTag(buffer, fieldHeartbeatAck, protowire.BytesType)
	buffer = protowire.AppendBytes(buffer, body)
	return mem.BufferSlice{mem.SliceBuffer(buffer)}, nil
}

// Unmarshal reads heartbeats by hand.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	h, ok := v.(*heard)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	*h = heard{}
	if len(data) == 1 && data.Len() <= longestBeat {
		if h.sequence, h.heartbeat = heartbeat(data[0].ReadOnlyData()); h.heartbeat {
			return nil
		}
	}
	h.message = &agentv1.AgentMessage{}
	return c.CodecV2.Unmarshal(data, h.message)
}

// heartbeat reads an AgentMessage that is a heartbeat and nothing else.
func heartbeat(data []byte) (sequence uint64, ok bool) {
	number, kind, n := protowire.ConsumeTag(data)
	if n < 0 || number != fieldHeartbeat || kind != protowire.BytesType {
		return 0, false
	}
	body, m := protowire.ConsumeBytes(data[n:])
	if m < 0 || n+m != len(data) {
		return 0, false
	}
	if len(body) == 0 {
		return 0, true
	}
	number, kind, n = protowire.ConsumeTag(body)
	if n < 0 || number != fieldSequence || kind != protowire.VarintType {
		return 0, false
	}
	sequence, m = protowire.ConsumeVarint(body[n:])
	return sequence, m > 0 && n+m == len(body)
}
