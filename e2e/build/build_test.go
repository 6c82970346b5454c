// Package build_test tests what make leaves behind.
package build_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// makeInto runs make for targets, with everything built going to a folder of
// its own, and returns that folder.
func makeInto(t *testing.T, targets ...string) string {
	t.Helper()
	bin := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "make", append(targets, "BIN="+bin, "VERSION=1.2.3-test", "COMMIT=0123456789ab")...)
	command.Dir = filepath.Join("..", "..")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("make %s: %v\n%s", strings.Join(targets, " "), err, out)
	}
	return bin
}

func TestArchivesAreTheSameBytesEachTime(t *testing.T) {
	first, second := makeInto(t, "artifacts"), makeInto(t, "artifacts")
	for _, arch := range []string{"amd64", "arm64"} {
		name := filepath.Join("artifacts", "dagent-linux-"+arch+".tar")
		one, err := os.ReadFile(filepath.Join(first, name))
		if err != nil {
			t.Fatal(err)
		}
		other, err := os.ReadFile(filepath.Join(second, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(one, other) {
			t.Errorf("two builds of %s differ", name)
		}
	}
}

func TestPrograms(t *testing.T) {
	bin := makeInto(t, "build")
	t.Run("say what they are", func(t *testing.T) {
		for _, program := range []string{"controller", "dagent", "crane"} {
			out, err := exec.CommandContext(t.Context(), filepath.Join(bin, program), "version").CombinedOutput()
			want := program + " 1.2.3-test (commit 0123456789ab, " + runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH + ")\n"
			if err != nil || string(out) != want {
				t.Errorf("%s version: %v\n got %q\nwant %q", program, err, out, want)
			}
		}
	})
	t.Run("bring the agent of clusters to a registry", func(t *testing.T) {
		pushesTheAgent(t, filepath.Join(bin, "controller"))
	})
}
