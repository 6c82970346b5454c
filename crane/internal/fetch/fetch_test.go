package fetch_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/crane/internal/fetch"
	"fairlead.dev/shared/bucket/buckettest"
)

// store is a bucket that only the robot reads.
type store struct{ *buckettest.Store }

func newStore(t *testing.T) store {
	t.Helper()
	return store{buckettest.New(t, "127.0.0.1")}
}

// fill fills a folder from the store.
func (s store) fill(t *testing.T, folder, user string) (told string, err error) {
	t.Helper()
	var out bytes.Buffer
	variables := map[string]string{
		fetch.VariableURL: s.URL, fetch.VariableBucket: "assets/site", fetch.VariableAccess: user, fetch.VariableSecret: "hunter2",
	}
	err = fetch.Run(t.Context(), []string{fetch.Storage, "-1", folder}, func(name string) string { return variables[name] }, &out)
	return strings.TrimSpace(out.String()), err
}

func TestAVolumeIsFilledFromAStorage(t *testing.T) {
	s, folder := newStore(t), t.TempDir()
	s.Put(t, "site/index.html", "one")
	s.Put(t, "site/img/logo", "picture")
	s.Put(t, "other", "not asked for")
	for _, step := range []struct{ content, told string }{
		{"one", "2 files, 2 of them fetched"}, {"one", "2 files, 0 of them fetched"}, {"two", "2 files, 1 of them fetched"},
	} {
		if step.content != "one" {
			s.Put(t, "site/index.html", step.content)
		}
		if told, err := s.fill(t, folder, "robot"); err != nil || told != step.told {
			t.Fatalf("told %q, %v, want %q", told, err, step.told)
		}
		if text, err := os.ReadFile(filepath.Join(folder, "index.html")); err != nil || string(text) != step.content {
			t.Errorf("the volume holds %q, %v, want %q", text, err, step.content)
		}
	}
	if fetched := s.Fetched(); len(fetched) != 3 {
		t.Errorf("fetched %q, want three files", fetched)
	}
	if _, err := os.Stat(filepath.Join(folder, "other")); err == nil {
		t.Error("a file of another folder of the bucket is in the volume")
	}
}

func TestAStorageThatFailsLeavesTheVolume(t *testing.T) {
	s, folder := newStore(t), t.TempDir()
	s.Put(t, "site/index.html", "one")
	if _, err := s.fill(t, folder, "robot"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.fill(t, folder, "thief"); err == nil || !strings.Contains(err.Error(), "assets") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a thief was answered %v", err)
	}
	s.Put(t, "site/../escape", "x")
	if _, err := s.fill(t, folder, "robot"); err == nil || !strings.Contains(err.Error(), "escape") {
		t.Errorf("a name that leads out of the volume: %v", err)
	}
	if text, err := os.ReadFile(filepath.Join(folder, "index.html")); err != nil || string(text) != "one" {
		t.Errorf("the volume holds %q, %v", text, err)
	}
}

func TestTheProgramIsProvidedAndCopies(t *testing.T) {
	folder, target := t.TempDir(), t.TempDir()
	run := func(words ...string) error { return fetch.Run(t.Context(), words, os.Getenv, &bytes.Buffer{}) }
	program := filepath.Join(folder, "program")
	if err := run(fetch.Provide, program); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(program); err != nil || info.Mode().Perm()&0o111 == 0 || info.Size() == 0 {
		t.Errorf("the program is %v, %v", info, err)
	}
	for name, verb := range map[string]string{"mine": fetch.Overlay, "": fetch.Mirror} {
		if err := os.WriteFile(filepath.Join(target, "mine"), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := run(verb, folder, target); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(target, "program")); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(target, "mine")); (err == nil) != (name == "mine") {
			t.Errorf("after %s the file that was there: %v", verb, err)
		}
	}
	for _, words := range [][]string{nil, {"dance"}, {fetch.Storage, "-1"}, {fetch.Provide}, {fetch.Mirror, folder}, {fetch.Storage, "root", folder}} {
		if run(words...) == nil {
			t.Errorf("%q is understood", words)
		}
	}
}
