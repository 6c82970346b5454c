package specpb

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"fairlead.dev/shared/apperr"
)

// Limits of the agent protocol. Both ends set MaxMessageBytes as the largest
// message they receive.
const (
	MaxMessageBytes = 16 << 20
	MaxAssignments  = 2000
	MaxContainers   = 5000
	MaxReportItems  = 1000
	MaxTextBytes    = 64 << 10
)

// checkSize walks a message and fails with Invalid on the first list or text
// that is too long, naming its path in the words of the .proto file.
func checkSize(m proto.Message, entries, bytes int) error {
	// Each entry takes a byte on the wire at least, as does each of a text: what
	// is short as a whole, as most messages are, need not be walked.
	if proto.Size(m) <= min(entries, bytes) {
		return nil
	}
	return sizeOf(m.ProtoReflect(), "", entries, bytes)
}

func sizeOf(m protoreflect.Message, path string, entries, bytes int) (err error) {
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		at := path + string(field.Name())
		if !field.IsList() {
			err = sizeOfValue(field, value, at, entries, bytes)
			return err == nil
		}
		list := value.List()
		if list.Len() > entries {
			err = apperr.InvalidField(at, list.Len(), "at most %d entries", entries)
			return false
		}
		for i := 0; i < list.Len() && err == nil; i++ {
			err = sizeOfValue(field, list.Get(i), fmt.Sprintf("%s[%d]", at, i), entries, bytes)
		}
		return err == nil
	})
	return err
}

func sizeOfValue(field protoreflect.FieldDescriptor, v protoreflect.Value, at string, entries, bytes int) error {
	switch field.Kind() {
	case protoreflect.MessageKind:
		return sizeOf(v.Message(), at+".", entries, bytes)
	case protoreflect.StringKind:
		if n := len(v.String()); n > bytes {
			return apperr.InvalidField(at, nil, "has %d bytes, at most %d are allowed", n, bytes)
		}
	case protoreflect.BytesKind:
		if n := len(v.Bytes()); n > bytes {
			return apperr.InvalidField(at, nil, "has %d bytes, at most %d are allowed", n, bytes)
		}
	default: // numbers and enums have a size of their own
	}
	return nil
}
