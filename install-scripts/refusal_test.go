package installscripts_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestChangedArtifactIsRefusedBeforeAnythingRuns(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(w *world) (want string){
		"one byte": func(w *world) string {
			content := bytes.Clone(w.served[w.artifact().Path])
			content[len(content)/2] ^= 1
			w.serve(w.artifact().Path, content)
			return "was changed or cut short on its way; nothing was run"
		},
		"cut short": func(w *world) string {
			content := w.served[w.artifact().Path]
			w.serve(w.artifact().Path, content[:len(content)-1])
			return "was changed or cut short on its way; nothing was run"
		},
		"signature of another version": func(w *world) string {
			w.params.Version = "1.0.1"
			return "signature is not the controller's"
		},
		"signature by another key": func(w *world) string {
			w.params.ReleaseKey = bytes.Repeat([]byte{1}, len(w.params.ReleaseKey))
			return "signature is not the controller's"
		},
		"empty signature": func(w *world) string {
			w.serve(w.artifact().Path+".sig", nil)
			return "signature is not the controller's"
		},
		"no signature": func(w *world) string {
			delete(w.served, w.artifact().Path+".sig")
			return "could not download the agent's signature"
		},
		"no artifact": func(w *world) string {
			delete(w.served, w.artifact().Path)
			return "could not download"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "")
			want := spoil(w)
			before := w.snapshot(t)
			w.refused(t, nil, want)
			if after := w.snapshot(t); after != before {
				t.Errorf("it changed\n%s\ninto\n%s", before, after)
			}
		})
	}
}

// stub makes a PATH whose first folder holds one program of this text.
func stub(t *testing.T, name, text string) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, name), []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return "PATH=" + folder + ":" + os.Getenv("PATH")
}

func TestWhatIsMissingIsSaidAndNothingChanges(t *testing.T) {
	t.Parallel()
	without := func(t *testing.T, missing string, with ...string) string {
		all := append([]string{"docker", "curl", "wget", "openssl"}, coreutils...)
		all = append(all, with...)
		kept := all[:0]
		for _, name := range all {
			if !strings.Contains(missing, name) {
				kept = append(kept, name)
			}
		}
		return "PATH=" + tools(t, kept...)
	}
	for name, test := range map[string]struct {
		prepare func(t *testing.T, w *world) (env string)
		want    string
	}{
		"no docker":        {func(t *testing.T, _ *world) string { return without(t, "docker") }, "docker command is missing"},
		"no curl, no wget": {func(t *testing.T, _ *world) string { return without(t, "curl wget") }, "neither curl nor wget"},
		"no sha256sum":     {func(t *testing.T, _ *world) string { return without(t, "sha256sum") }, "sha256sum is missing"},
		"no socket":        {func(*testing.T, *world) string { return "DOCKER_HOST=unix:///no/such.sock" }, "no Docker socket at /no/such.sock"},
		"remote engine":    {func(*testing.T, *world) string { return "DOCKER_HOST=tcp://192.0.2.1:2375" }, "engine of this machine"},
		// What the client warns of is no word of the engine's.
		"warning client": {func(t *testing.T, _ *world) string {
			return stub(t, "docker", "echo WARNING: 99.0 >&2; echo 19.03.16 linux amd64")
		}, "Engine is 19.03.16"},
		"old engine":         {func(t *testing.T, _ *world) string { return stub(t, "docker", "echo 19.03.15 linux amd64") }, "needs 20.10 or newer"},
		"nearly new":         {func(t *testing.T, _ *world) string { return stub(t, "docker", "echo 20.9.1 linux amd64") }, "needs 20.10 or newer"},
		"windows engine":     {func(t *testing.T, _ *world) string { return stub(t, "docker", "echo 25.0.0 windows amd64") }, "needs linux"},
		"other machine":      {func(t *testing.T, _ *world) string { return stub(t, "docker", "echo 25.0.0 linux riscv64") }, "architecture riscv64"},
		"silent engine":      {func(t *testing.T, _ *world) string { return stub(t, "docker", "echo no answer >&2; exit 1") }, "does not answer: no answer"},
		"full disk":          {func(t *testing.T, _ *world) string { return stub(t, "df", "echo head; echo d 9 9 7 99% /") }, "has 7 KiB free"},
		"expired token":      {func(_ *testing.T, w *world) string { w.params.Expires = time.Now().Add(-time.Second); return "A=" }, "make a new script"},
		"clock behind":       {func(_ *testing.T, w *world) string { w.date = later; return "A=" }, "clock is"},
		"clock behind, wget": {func(t *testing.T, w *world) string { w.date = later; return without(t, "curl") }, "clock is"},
		"no controller":      {func(_ *testing.T, w *world) string { w.params.ControllerURL = "http://127.0.0.1:1"; return "A=" }, "does not answer at http://127.0.0.1:1"},
		"state is a file": {func(t *testing.T, w *world) string {
			if err := os.WriteFile(w.params.RootPath, nil, 0o600); err != nil {
				t.Error(err)
			}
			return "A="
		}, "is not a folder"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "")
			env := test.prepare(t, w)
			before := w.snapshot(t)
			w.refused(t, []string{env}, test.want)
			w.refused(t, []string{env}, "nothing was changed", "--dry-run")
			if after := w.snapshot(t); after != before {
				t.Errorf("it changed\n%s\ninto\n%s", before, after)
			}
		})
	}
}

func later() time.Time { return time.Now().Add(10 * time.Minute) }

func TestClockIsComparedRightAcrossTheCalendar(t *testing.T) {
	t.Parallel()
	// The script computes seconds from an HTTP date by hand; it is asked what
	// it thinks through a date command that says what the controller says. It does
	// not come to the engine, of which a stand-in answers.
	env, did := machine(t, "dash")
	date := filepath.Join(strings.TrimPrefix(env[0], "PATH="), "date")
	if err := os.Remove(date); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"1970-01-01T00:00:00Z", "2000-02-29T08:09:08Z", "2026-12-31T23:59:59Z", "2028-03-01T00:00:00Z", "2100-02-28T12:00:00Z"} {
		moment, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		for _, off := range []time.Duration{-301 * time.Second, -time.Second, 299 * time.Second, 302 * time.Second} {
			i := intercept(t)
			i.date = func() time.Time { return moment }
			i.params.Expires = moment.AddDate(1, 0, 0)
			if err := os.WriteFile(date, fmt.Appendf(nil, "#!/bin/sh\necho %d\n", moment.Add(off).Unix()), 0o700); err != nil {
				t.Fatal(err)
			}
			out, ok := i.run(t, dash, env, "--dry-run")
			if want := off.Abs() <= 300*time.Second; ok != want || strings.Contains(out, "not checked") {
				t.Errorf("%s, clock off by %s: accepted %t\n%s", text, off, ok, out)
			}
			i.nothingHappened(t, text, did, out)
		}
	}
}

func TestForeignContainersAndFoldersAreLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.must(t, dash)
	before := w.snapshot(t)

	other := w.params
	w.params.NodeID = "00000000-0000-4000-8000-00000000000f"
	for _, option := range []string{"--dry-run", "--enrol-again", "--uninstall"} {
		w.refused(t, nil, "serves another node", option)
		w.refused(t, nil, "belongs to another installation", option)
	}
	w.params = other
	w.params.RootSHA256 = strings.Repeat("cd", 32)
	w.refused(t, nil, "belongs to another installation")
	if after := w.snapshot(t); after != before {
		t.Errorf("it changed\n%s\ninto\n%s", before, after)
	}

	w.params = other
	image := w.params.Image
	stranger := newWorld(t, "")
	if out, err := exec.CommandContext(t.Context(), "docker", "create", "--name", stranger.params.ContainerName, image).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	stranger.refused(t, nil, "is not a Fairlead agent")
	stranger.refused(t, nil, "is not a Fairlead agent", "--uninstall")
	if stranger.field(t, "{{.Id}}") == "" {
		t.Error("the stranger's container is gone")
	}
}

func TestTruncatedScriptDoesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	script := w.script(t)
	before := w.snapshot(t)
	// Some lengths all over and every one near the end, up to the one that
	// lacks the last brace: none may reach main.
	lengths := []int{}
	for n := 0; n < len(script)-200; n += 97 {
		lengths = append(lengths, n)
	}
	for n := len(script) - 200; n < len(script)-1; n++ {
		lengths = append(lengths, n)
	}
	for _, sh := range []shell{dash, {"bash", "--posix"}, {"busybox", "sh"}} {
		for _, n := range lengths {
			cut := string(script[:n])
			command := exec.CommandContext(t.Context(), sh[0], append(sh[1:len(sh):len(sh)], "-s")...)
			command.Stdin = strings.NewReader(cut)
			out, _ := command.CombinedOutput()
			if bytes.Contains(out, []byte("fairlead:")) {
				t.Fatalf("%v: the first %d bytes of %d ran:\n%s", sh, n, len(script), out)
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if after := w.snapshot(t); after != before || len(w.fetched) > 0 {
		t.Errorf("a truncated script did something: fetched %v\n%s", w.fetched, after)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	if out := w.must(t, dash, "--version"); out != "1.0.0\n" {
		t.Errorf("--version: %q", out)
	}
	if out := w.must(t, dash, "--help"); !strings.Contains(out, "--uninstall") {
		t.Errorf("--help: %q", out)
	}
	if out := w.must(t, dash, "--show"); !strings.Contains(out, w.params.NodeName) || strings.Contains(out, w.params.Token) {
		t.Errorf("--show: %q", out)
	}
	w.refused(t, nil, "unknown option --dryrun", "--dryrun")
}
