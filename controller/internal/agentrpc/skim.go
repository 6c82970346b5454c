package agentrpc

import (
	"crypto/sha256"

	"google.golang.org/protobuf/encoding/protowire"
)

// listSum is a digest of a list of containers as it came; zero of none.
type listSum [16]byte

// skimmed is what can be told of a report without reading it.
type skimmed struct {
	sequence uint64
	list     listSum
	// bare: there is nothing in it but the list.
	bare bool
}

// Numbers of the fields that are told apart.
const (
	fieldStatus     = 4 // of AgentMessage
	fieldContainers = 4 // of StatusReport
	fieldSpoolID    = 6 // of StatusReport; says something with facts only
	fieldObservedAt = 1 // of ContainerList; nothing is decided by it
)

// skim reads an AgentMessage that is a report with a list of containers and
// nothing else. Two lists of the same bytes, but for when they were made, are
// the same list.
func skim(data []byte) (r skimmed, ok bool) {
	number, kind, n := protowire.ConsumeTag(data)
	if n < 0 || number != fieldStatus || kind != protowire.BytesType {
		return r, false
	}
	body, m := protowire.ConsumeBytes(data[n:])
	if m < 0 || n+m != len(data) {
		return r, false
	}
	r.bare = true
	lists := 0
	for len(body) > 0 {
		number, kind, n := protowire.ConsumeField(body)
		if n < 0 {
			return r, false
		}
		value := body[tagSize(body):n]
		switch {
		case number == fieldSequence && kind == protowire.VarintType:
			r.sequence, _ = protowire.ConsumeVarint(value)
		case number == fieldContainers && kind == protowire.BytesType:
			list, _ := protowire.ConsumeBytes(value)
			if r.list, ok = sumOf(list); !ok {
				return r, false
			}
			lists++
		case number != fieldSpoolID:
			r.bare = false
		}
		body = body[n:]
	}
	return r, lists == 1
}

func tagSize(field []byte) int {
	_, _, n := protowire.ConsumeTag(field)
	return n
}

// sumOf returns the digest of a ContainerList. It is never zero.
func sumOf(list []byte) (sum listSum, ok bool) {
	h := sha256.New()
	for len(list) > 0 {
		number, _, n := protowire.ConsumeField(list)
		if n < 0 {
			return sum, false
		}
		if number != fieldObservedAt {
			_, _ = h.Write(list[:n]) // never fails
		}
		list = list[n:]
	}
	var whole [sha256.Size]byte
	copy(sum[:], h.Sum(whole[:0]))
	sum[0] |= 1
	return sum, true
}
