package adoption_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"fairlead.dev/dagent/internal/adoption"
	"fairlead.dev/shared/apperr"
)

func open(t *testing.T, path string) *adoption.Ledger {
	t.Helper()
	l, err := adoption.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// What an agent has noted it knows when it starts anew: what it adopted, the
// volumes that came with what is gone, and nothing that it took back.
func TestTheRecordOutlivesTheAgent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "adopted.json")
	l := open(t, path)
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(l.Adopt("p", "d/1", []adoption.Container{{ID: "web", Labels: map[string]string{"a": "b"}, Volumes: []string{"data"}}, {ID: "old", Volumes: []string{"past"}}}))
	do(l.Adopt("q", "d/2", []adoption.Container{{ID: "undone", Volumes: []string{"theirs"}}}))
	do(l.Undo("q", "undone"))
	do(l.Release("old"))

	l = open(t, path)
	if labels, ok := l.Labels("web"); !ok || labels["a"] != "b" || !slices.Equal(l.Containers(), []string{"web"}) {
		t.Errorf("known are %v, with %v", l.Containers(), labels)
	}
	for name, want := range map[string]bool{"data": true, "past": true, "theirs": false} {
		if l.HasVolume(name) != want {
			t.Errorf("volume %s is ours: %v", name, !want)
		}
	}
	if !l.Done("p", "d/1") || l.Done("q", "d/2") {
		t.Error("the acts are not those that were done")
	}
}

func TestADamagedRecordIsToldOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "adopted.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := adoption.Open(path); !apperr.Is(err, apperr.Precondition) {
		t.Errorf("got %v", err)
	}
	// What cannot be written has not happened.
	l := open(t, filepath.Join(t.TempDir(), "gone", "adopted.json"))
	if err := l.Adopt("p", "d/1", []adoption.Container{{ID: "web"}}); err == nil || len(l.Containers()) != 0 {
		t.Errorf("got %v, and known are %v", err, l.Containers())
	}
}
