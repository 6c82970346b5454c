package hostupdate_test

import (
	"os"
	"path/filepath"
	"testing"

	"fairlead.dev/dagent/internal/hostupdate"
	"fairlead.dev/shared/apperr"
)

// place makes a folder of programs whose link leads to one of them, and returns
// the Replacer of a process that is another.
func place(t *testing.T, leads, own string) (*hostupdate.Replacer, string) {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "bin")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dagent.old", "dagent.new"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(leads, filepath.Join(folder, "dagent")); err != nil {
		t.Fatal(err)
	}
	return hostupdate.New(hostupdate.Config{Program: filepath.Join(folder, own)}), folder
}

func leads(t *testing.T, folder string) string {
	t.Helper()
	to, err := os.Readlink(filepath.Join(folder, "dagent"))
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// TestTakingBackLeadsTheManagerBack when the new agent was kept already.
func TestTakingBackLeadsTheManagerBack(t *testing.T) {
	r, folder := place(t, "dagent.new", "dagent.old")
	if err := r.Discard(t.Context(), "new"); err != nil {
		t.Fatal(err)
	}
	if to := leads(t, folder); to != "dagent.old" {
		t.Errorf("the manager would start %s", to)
	}
	if _, err := os.Stat(filepath.Join(folder, "dagent.new")); err == nil {
		t.Error("the new program is still there")
	}
}

func TestOnlyTheNewBuildIsKept(t *testing.T) {
	r, folder := place(t, "dagent.old", "dagent.old")
	if err := r.Keep(t.Context(), "new"); !apperr.Is(err, apperr.Conflict) {
		t.Errorf("the old agent has the new one kept: %v", err)
	}
	if err := r.Succeed(t.Context(), "new", "dagent.old"); !apperr.Is(err, apperr.Conflict) {
		t.Errorf("the old agent removes itself: %v", err)
	}
	if err := r.Discard(t.Context(), "old"); !apperr.Is(err, apperr.Conflict) {
		t.Errorf("an agent discards itself: %v", err)
	}
	if err := r.Discard(t.Context(), "../../etc/passwd"); err != nil || leads(t, folder) != "dagent.old" {
		t.Errorf("what cannot be an update's name: %v", err)
	}
}

// TestBuildsAreKnownByTheirPlace, for only those are started by the link.
func TestBuildsAreKnownByTheirPlace(t *testing.T) {
	for program, want := range map[string]string{
		"/var/lib/agent/bin/dagent.0123-ab":  "0123-ab",
		"/var/lib/agent/bin/dagent":          "",
		"/var/lib/agent/bin/other.0123":      "",
		"/var/lib/agent/bin/more/dagent.012": "",
		"/usr/bin/dagent.0123":               "",
	} {
		if got := hostupdate.Build("/var/lib/agent", program); got != want {
			t.Errorf("%s is the build %q, want %q", program, got, want)
		}
	}
}
