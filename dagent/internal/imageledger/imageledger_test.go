package imageledger_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"fairlead.dev/dagent/internal/imageledger"
	"fairlead.dev/shared/apperr"
)

func open(t *testing.T, path string, keep int) *imageledger.Ledger {
	t.Helper()
	l, err := imageledger.Open(path, keep)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func do(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func unneeded(l *imageledger.Ledger) []string {
	return slices.Sorted(maps.Keys(l.Unneeded()))
}

func TestImagesOfTheLastReleasesAreNeeded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "images.json")
	l := open(t, path, 2)
	do(t, l.Bring("a", "web:1"), l.Bring("b", "web:2"), l.Bring("c", "web:3"), l.Bring("db", "db:1"), l.Bring("failed", "web:4"))
	do(t,
		l.Release("one", "d", 1, []string{"a", "db"}), l.Release("one", "d", 2, []string{"b", "db"}),
		l.Release("one", "d", 3, []string{"c", "foreign"}), l.Release("one", "d", 3, []string{"c", "foreign"}),
		l.Release("two", "e", 1, []string{"a"}))

	// Twice, since the second time it is read from the disk.
	for range 2 {
		if got := unneeded(l); !slices.Equal(got, []string{"failed"}) {
			t.Errorf("unneeded are %q, want only what never was part of a release that is in place", got)
		}
		l = open(t, path, 2)
	}

	do(t, l.ForgetPrefix("two"))
	if got := unneeded(l); !slices.Equal(got, []string{"a", "failed"}) {
		t.Errorf("without prefix two, unneeded are %q, want what release 1 of prefix one ran as well", got)
	}
	do(t, l.Release("one", "d", 1, []string{"a"}))
	if got := unneeded(l); !slices.Equal(got, []string{"b", "db", "failed"}) {
		t.Errorf("after release 1 was run again unneeded are %q, want what release 2 ran", got)
	}
	do(t, l.ForgetImages([]string{"b", "db"}))
	if got := unneeded(open(t, path, 1)); !slices.Equal(got, []string{"c", "failed"}) {
		t.Errorf("keeping one release, unneeded are %q", got)
	}
}

func TestReferencesOfAnImage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "images.json")
	l := open(t, path, 3)
	do(t, l.Bring("a", "web:1"), l.Bring("a", "web:latest"), l.Bring("a", "web:1"), l.Bring("b", "web:latest"))
	l = open(t, path, 3)
	if got := l.Unneeded()["a"]; !slices.Equal(got, []string{"web:1", "web:latest"}) {
		t.Errorf("image a was brought by %q", got)
	}
	if got := slices.Sorted(slices.Values(l.ByReference("web:latest"))); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("web:latest brought %q", got)
	}
	if !l.Has("a") || l.Has("c") {
		t.Error("the ledger does not know what it brought")
	}
}

func TestDamagedRecordIsNotTakenForAnEmptyOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "images.json")
	for _, text := range []string{"{", "{}", ""} {
		do(t, os.WriteFile(path, []byte(text), 0o600))
		if _, err := imageledger.Open(path, 3); !apperr.Is(err, apperr.Precondition) {
			t.Errorf("record %q: %v, want it refused", text, err)
		}
	}
}
