// Package build_test tests what make leaves behind.
package build_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// here is the checkout.
var here = filepath.Join("..", "..")

// makeInto runs make for targets in a checkout, with everything built going to a
// folder of its own, and returns that folder.
func makeInto(t *testing.T, checkout string, targets ...string) string {
	t.Helper()
	bin := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "make", append(targets, "BIN="+bin, "VERSION=1.2.3-test", "COMMIT=0123456789ab")...)
	command.Dir = checkout
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("make %s: %v\n%s", strings.Join(targets, " "), err, out)
	}
	return bin
}

// elsewhere copies the checkout to another folder.
func elsewhere(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "another folder")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	copying := exec.CommandContext(t.Context(), "sh", "-c", `git ls-files -z -co --exclude-standard | tar --null -T - -c -f - | tar -x -C "$1" -f -`, "sh", folder)
	copying.Dir = here
	if out, err := copying.CombinedOutput(); err != nil {
		t.Fatalf("copy the checkout: %v\n%s", err, out)
	}
	return folder
}

// TestArchivesAreTheSameBytesEachTime, wherever they are built.
func TestArchivesAreTheSameBytesEachTime(t *testing.T) {
	first := os.DirFS(filepath.Join(makeInto(t, here, "artifacts"), "artifacts"))
	t.Setenv("TZ", "Asia/Tokyo")
	second := os.DirFS(filepath.Join(makeInto(t, elsewhere(t), "artifacts"), "artifacts"))
	for _, name := range []string{"dagent-linux-%s.tar", "dagent-linux-%s.cdx.json", "crane-linux-%s.tar", "edge-linux-%s.tar"} {
		for _, arch := range []string{"amd64", "arm64"} {
			name := fmt.Sprintf(name, arch)
			one, err := fs.ReadFile(first, name)
			if err != nil {
				t.Fatal(err)
			}
			other, err := fs.ReadFile(second, name)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(one, other) {
				t.Errorf("two builds of %s differ", name)
			}
		}
	}
}

func TestPrograms(t *testing.T) {
	bin := makeInto(t, here, "build")
	t.Run("say what they are", func(t *testing.T) {
		for _, program := range []string{"controller", "dagent", "crane"} {
			out, err := exec.CommandContext(t.Context(), filepath.Join(bin, program), "version").CombinedOutput()
			want := program + " 1.2.3-test (commit 0123456789ab, " + runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH + ")\n"
			if err != nil || string(out) != want {
				t.Errorf("%s version: %v\n got %q\nwant %q", program, err, out, want)
			}
		}
	})
	t.Run("say how each command is used", func(t *testing.T) {
		for command, want := range map[string]string{
			"serve":                                  "usage: controller [command] [flags]\n",
			"artifacts push dagent r.example/dagent": "usage: controller artifacts push ",
			"release-key rotate":                     "usage: controller release-key ",
			"root list":                              "usage: controller root ",
		} {
			t.Run(command, func(t *testing.T) {
				out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "controller"), append(strings.Fields(command), "--help")...).Output()
				if err != nil || !strings.HasPrefix(string(out), want) {
					t.Errorf("%v\n got %q\nwant %q ...", err, out, want)
				}
			})
		}
	})
	t.Run("bring the agents to a registry", func(t *testing.T) {
		pushesTheAgents(t, filepath.Join(bin, "controller"))
	})
}
