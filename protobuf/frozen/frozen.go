// Package frozen holds the agent protocol as it was in the past, so that the
// present one can be compared with it, and so that tests can speak it: peers
// made of these descriptors know nothing that was added later.
//
// A file's name is the version whose protocol it is; scripts/freeze-protocol.sh
// adds one.
package frozen

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

//go:embed *.binpb
var descriptors embed.FS

const (
	extension = ".binpb"
	// protocol is the package that all messages are in.
	protocol = "fairlead.agent.v1."
)

// Protocol is the agent protocol of one version.
type Protocol struct {
	Version string
	files   *protoregistry.Files
}

// Protocols returns every frozen protocol, by version. It fails when a file is
// damaged.
func Protocols() ([]Protocol, error) {
	names, err := fs.Glob(descriptors, "*"+extension)
	if err != nil {
		return nil, fmt.Errorf("list the frozen protocols: %w", err)
	}
	var all []Protocol
	for _, name := range names {
		content, err := descriptors.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read the frozen protocol %s: %w", name, err)
		}
		var set descriptorpb.FileDescriptorSet
		if err := proto.Unmarshal(content, &set); err != nil {
			return nil, fmt.Errorf("decode the frozen protocol %s: %w", name, err)
		}
		files, err := protodesc.NewFiles(&set)
		if err != nil {
			return nil, fmt.Errorf("link the frozen protocol %s: %w", name, err)
		}
		all = append(all, Protocol{Version: strings.TrimSuffix(name, extension), files: files})
	}
	return all, nil
}

// New returns an empty message by its name within the protocol, such as
// "AgentMessage". It fails when this version has no such message.
func (p Protocol) New(name string) (*dynamicpb.Message, error) {
	found, err := p.files.FindDescriptorByName(protoreflect.FullName(protocol + name))
	if err != nil {
		return nil, fmt.Errorf("message %s in protocol %s: %w", name, p.Version, err)
	}
	descriptor, ok := found.(protoreflect.MessageDescriptor)
	if !ok {
		return nil, fmt.Errorf("%s in protocol %s is no message", name, p.Version)
	}
	return dynamicpb.NewMessage(descriptor), nil
}

// Parse returns a message from its JSON form. It fails on members that this
// version does not have.
func (p Protocol) Parse(name, json string) (*dynamicpb.Message, error) {
	m, err := p.New(name)
	if err != nil {
		return nil, err
	}
	if err := protojson.Unmarshal([]byte(json), m); err != nil {
		return nil, fmt.Errorf("%s of protocol %s from JSON: %w", name, p.Version, err)
	}
	return m, nil
}

// Unknown returns where in a message there are fields that its version does
// not have, such as "status.containers.containers.19".
func Unknown(m proto.Message) []string {
	seen := map[string]bool{}
	var all []string
	walk(m.ProtoReflect(), "", func(path string) {
		if !seen[path] {
			seen[path] = true
			all = append(all, path)
		}
	})
	return all
}

func walk(m protoreflect.Message, path string, found func(path string)) {
	for rest := m.GetUnknown(); len(rest) > 0; {
		number, _, length := protowire.ConsumeField(rest)
		if length <= 0 {
			found(path + "garbage")
			break
		}
		found(fmt.Sprintf("%s%d", path, number))
		rest = rest[length:]
	}
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		at := path + string(field.Name()) + "."
		switch {
		case field.IsMap():
			if field.MapValue().Message() != nil {
				value.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					walk(v.Message(), at, found)
					return true
				})
			}
		case field.Message() == nil:
		case field.IsList():
			for i := range value.List().Len() {
				walk(value.List().Get(i).Message(), at, found)
			}
		default:
			walk(value.Message(), at, found)
		}
		return true
	})
}
