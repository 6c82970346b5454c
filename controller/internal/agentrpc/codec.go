package agentrpc

import (
	"encoding/binary"
	"math"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that is wrapped
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
)

// Heartbeats, reports that say what the last one said, and the answers to both
// are nearly all that ten thousand idle agents exchange with a controller. This
// codec reads and writes them without building messages; everything else is
// protobuf's own.

// heard is what a session receives: a heartbeat, a report that is the same as
// the one before, or any other message.
type heard struct {
	heartbeat bool
	// same tells that the message is a report of nothing but the list that is
	// remembered.
	same     bool
	sequence uint64
	message  *agentv1.AgentMessage

	// list is the digest of the list of containers in the message, remembered
	// the one that the session was told last. Zero when there is none.
	list, remembered listSum
}

// remember keeps which list the session was told, if the message had one.
func (h *heard) remember() {
	if h.message.GetStatus().GetContainers() != nil {
		h.remembered = h.list
	}
}

// echo is the acknowledgement of a heartbeat, committed that of reports.
type (
	echo      struct{ sequence uint64 }
	committed struct{ sequence, fact uint64 }
)

// Numbers of the fields that are read and written by hand.
const (
	fieldHeartbeat    = 2 // of AgentMessage
	fieldHeartbeatAck = 2 // of ControllerMessage
	fieldStatusAck    = 4 // of ControllerMessage
	fieldSequence     = 1 // of all three
	fieldFactSequence = 2 // of StatusAck
	// longestBeat is longer than any heartbeat, longestAck than any
	// acknowledgement.
	longestBeat = 16
	longestAck  = 32
)

type codec struct{ encoding.CodecV2 }

func newCodec() encoding.CodecV2 { return codec{encoding.GetCodecV2("proto")} }

// Marshal writes acknowledgements by hand.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	var inner [2 * (1 + binary.MaxVarintLen64)]byte
	var buffer []byte
	switch v := v.(type) {
	case *echo:
		body := appendNumber(inner[:0], fieldSequence, v.sequence)
		buffer = protowire.AppendTag(make([]byte, 0, longestBeat), fieldHeartbeatAck, protowire.BytesType)
		buffer = protowire.AppendBytes(buffer, body)
	case *committed:
		body := appendNumber(appendNumber(inner[:0], fieldSequence, v.sequence), fieldFactSequence, v.fact)
		buffer = protowire.AppendTag(make([]byte, 0, longestAck), fieldStatusAck, protowire.BytesType)
		buffer = protowire.AppendBytes(buffer, body)
	default:
		return c.CodecV2.Marshal(v)
	}
	return mem.BufferSlice{mem.SliceBuffer(buffer)}, nil
}

// appendNumber adds a field; proto3 leaves zeros out.
func appendNumber(b []byte, field protowire.Number, n uint64) []byte {
	if n == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), n)
}

// Unmarshal reads heartbeats by hand, and reports that say nothing new.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	h, ok := v.(*heard)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	*h = heard{remembered: h.remembered}
	if len(data) == 1 {
		text := data[0].ReadOnlyData()
		if len(text) <= longestBeat {
			if h.sequence, h.heartbeat = heartbeat(text); h.heartbeat {
				return nil
			}
		}
		if r, ok := skim(text); ok {
			h.list = r.list
			if r.bare && r.list == h.remembered && r.sequence > 0 && r.sequence <= math.MaxInt64 {
				h.same, h.sequence = true, r.sequence
				return nil
			}
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
