// Package record is the form of the agent's append-only files: records one
// after the other, each with its length and a checksum before it. Whatever a
// crash left at the end of a file is recognised and is not a record.
package record

import (
	"encoding/binary"
	"hash/crc32"
)

const (
	// Header is how many bytes stand before each record.
	Header = 8
	// MaxBytes is the largest record.
	MaxBytes = 1 << 20
)

// Append appends a record to b. A payload larger than MaxBytes, or an empty
// one, could not be read back; nothing is appended then.
func Append(b, payload []byte) []byte {
	if len(payload) == 0 || len(payload) > MaxBytes {
		return b
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.BigEndian.AppendUint32(b, checksum(payload))
	return append(b, payload...)
}

// Scan calls each for every record at the beginning of data, in order, and
// returns how many bytes they take. What follows is not a record: the end of
// the file, or something that was written in part or went bad. Payloads are
// parts of data.
func Scan(data []byte, each func(payload []byte)) (good int) {
	for {
		rest := data[good:]
		if len(rest) < Header {
			return good
		}
		size := binary.BigEndian.Uint32(rest)
		if size == 0 || size > MaxBytes || int(size) > len(rest)-Header {
			return good
		}
		payload := rest[Header : Header+int(size)]
		if checksum(payload) != binary.BigEndian.Uint32(rest[4:]) {
			return good
		}
		each(payload)
		good += Header + int(size)
	}
}

func checksum(payload []byte) uint32 {
	return crc32.Checksum(payload, crc32.MakeTable(crc32.Castagnoli))
}
