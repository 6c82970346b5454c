package state_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/state"
)

func TestPasswordsOfRegistriesAreSealedOnTheDisk(t *testing.T) {
	image := func(password string) *agentv1.Workload {
		return &agentv1.Workload{Image: &agentv1.Image{Auth: &agentv1.RegistryAuth{Server: "registry.example", Username: "reader", Password: password}}}
	}
	set := &agentv1.AssignmentSet{Generation: 1, Assignments: []*agentv1.Assignment{{
		Prefix: "shop", Desired: &agentv1.Assignment_Deployment{Deployment: &agentv1.Deployment{
			Workloads: []*agentv1.Workload{image("open sesame"), image("open sesame"), image("another one"), image(""), {}},
		}},
	}}}
	before := proto.CloneOf(set)
	folder := t.TempDir()
	dir, err := state.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	if err := os.MkdirAll(filepath.Join(folder, "identity"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := dir.SetAssignments(set); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "assignments.pb")
	content, err := os.ReadFile(path)
	if err != nil || bytes.Contains(content, []byte("sesame")) || bytes.Contains(content, []byte("another")) {
		t.Errorf("a password is on the disk, or nothing is: %v", err)
	}
	if got, err := dir.Assignments(); err != nil || !proto.Equal(got, before) || !proto.Equal(set, before) {
		t.Errorf("the set came back as %v, %v", got, err)
	}

	// What an older agent wrote is read.
	if content, err = proto.Marshal(before); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := dir.Assignments(); err != nil || !proto.Equal(got, before) {
		t.Errorf("the set of an older agent came back as %v, %v", got, err)
	}

	// Without the key nobody opens them.
	if err := dir.SetAssignments(set); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(folder, "identity", "sealing.key")); err != nil {
		t.Fatal(err)
	}
	got, err := dir.Assignments()
	if err != nil || got.GetAssignments()[0].GetDeployment().GetWorkloads()[0].GetImage().GetAuth().GetPassword() != "" {
		t.Errorf("under another key the set came back as %v, %v", got, err)
	}
}
