package durable_test

import (
	"os"
	"path/filepath"
	"testing"

	"fairlead.dev/shared/durable"
)

func TestReplace(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "record.json")
	for _, content := range []string{"first, and longer", "second", ""} {
		if err := durable.Replace(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if is, err := os.ReadFile(path); err != nil || string(is) != content {
			t.Errorf("the file holds %q (%v), want %q", is, err, content)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v (%v), want it for its owner only", info, err)
	}
}

// What cannot be written leaves the file as it was, and nothing beside it.
func TestReplaceThatFails(t *testing.T) {
	folder := t.TempDir()
	taken := filepath.Join(folder, "taken")
	if err := os.MkdirAll(filepath.Join(taken, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{taken, filepath.Join(folder, "gone", "record.json")} {
		if err := durable.Replace(path, []byte("new")); err == nil {
			t.Errorf("%s was replaced", path)
		}
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 1 {
		t.Errorf("the folder has %v (%v), want what it had", left, err)
	}
}
