package frozen_test

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"fairlead.dev/protobuf/frozen"
)

func TestFrozenProtocolsCanBeSpoken(t *testing.T) {
	all, err := frozen.Protocols()
	if err != nil || len(all) == 0 {
		t.Fatalf("%d protocols, %v", len(all), err)
	}
	for _, p := range all {
		m, err := p.Parse("AgentMessage", `{"heartbeat": {"sequence": "7"}}`)
		if err != nil {
			t.Fatal(err)
		}
		if unknown := frozen.Unknown(m); len(unknown) != 0 {
			t.Errorf("protocol %s: unknown fields %v in a message of its own", p.Version, unknown)
		}
		if _, err := p.New("NoSuchMessage"); err == nil {
			t.Errorf("protocol %s has a message that nobody wrote", p.Version)
		}
	}
}

func TestUnknownFieldsAreFound(t *testing.T) {
	all, err := frozen.Protocols()
	if err != nil {
		t.Fatal(err)
	}
	old := all[0]
	// heartbeat (2) with a field 99, beside a field 98.
	content := protowire.AppendTag(nil, 2, protowire.BytesType)
	content = protowire.AppendBytes(content, protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1))
	content = protowire.AppendVarint(protowire.AppendTag(content, 98, protowire.VarintType), 1)
	m, err := old.New("AgentMessage")
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(content, m); err != nil {
		t.Fatal(err)
	}
	found := frozen.Unknown(m)
	slices.Sort(found)
	if !slices.Equal(found, []string{"98", "heartbeat.99"}) {
		t.Errorf("found %v", found)
	}
}
