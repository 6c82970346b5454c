//go:build linux

package kubetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestTheNextRunRemovesWhatAKilledOneLeft(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	left, err := os.MkdirTemp("", dirPattern(gone.Process.Pid)) //nolint:usetesting // the pattern is what it is about
	if err != nil {
		t.Fatal(err)
	}
	running, err := os.MkdirTemp("", dirPattern(os.Getpid())) //nolint:usetesting // the pattern is what it is about
	if err != nil {
		t.Fatal(err)
	}
	if err := makeControlGroups(left); err != nil {
		t.Fatal(err)
	}
	sweep()
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("%s is still there (%v)", left, err)
	}
	if _, err := os.Stat(running); err != nil {
		t.Errorf("the folder of a run that goes on: %v", err)
	}
	if groups, _ := filepath.Glob(filepath.Join(controlGroups, "*", groupOf(left))); len(groups) > 0 {
		t.Errorf("control groups %q are still there", groups)
	}
}
