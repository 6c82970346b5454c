package installscripts_test

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestBundleInstallsWithoutTheController: one file, made where the controller is
// reached, and checked as if it were downloaded.
func TestBundleInstallsWithoutTheController(t *testing.T) {
	t.Parallel()
	busyboxShell, busyboxPath := busybox(t)
	for name, c := range map[string]struct {
		shell shell
		env   []string
		says  string
	}{
		"dash":    {dash, nil, "SHA-256 and signature are right"},
		"bash":    {shell{"bash", "--posix"}, nil, "SHA-256 and signature are right"},
		"busybox": {busyboxShell, []string{"PATH=" + busyboxPath}, "signature not checked: OpenSSL 3 is not here"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "")
			file := filepath.Join(t.TempDir(), "the 'node'.sh")
			out := w.must(t, dash, "--bundle", file, "--arch", runtime.GOARCH)
			if !strings.Contains(out, "its SHA-256 is") || w.field(t, "{{.Id}}") != "" {
				t.Fatalf("making it:\n%s", out)
			}
			if out, ok := w.run(t, dash, nil, "--bundle", file); ok || !strings.Contains(out, "is there already") {
				t.Errorf("making it again: ok %t\n%s", ok, out)
			}
			bundle, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w.forget()
			w.served = nil // from here on there is no controller
			before := w.snapshot(t)
			sh := c.shell
			run := func(content []byte, options ...string) (string, bool) {
				t.Helper()
				if err := os.WriteFile(file, content, 0o600); err != nil {
					t.Fatal(err)
				}
				return execute(t, c.env, append(append(sh[1:len(sh):len(sh)], file), options...), sh[0])
			}
			end := bytes.LastIndex(bundle, []byte(`{ main "$@"; }`))
			for what, changed := range map[string][]byte{
				"a byte of the archive":      flipped(bundle, len(bundle)-1000),
				"the archive's first byte":   flipped(bundle, len(bundle)-int(w.artifact().Size)),
				"a cut in the archive":       bundle[:len(bundle)-1],
				"nothing after the script":   bundle[:end+15],
				"a cut in the script":        bundle[:end],
				"a byte of the signature":    flipped(bundle, bytes.Index(bundle, []byte("BUNDLED='"))+20),
				"a byte after the archive":   append(bytes.Clone(bundle), 'x'),
				"another's place in the end": append(bytes.Clone(bundle), bundle[len(bundle)-512:]...),
			} {
				if what == "a byte of the signature" && c.env != nil {
					continue // its digest, which the command pins, has to do without OpenSSL
				}
				if out, ok := run(changed); ok && what != "a cut in the script" {
					t.Errorf("%s was changed, and it was taken:\n%s", what, out)
				}
				if after := w.snapshot(t); after != before {
					t.Errorf("%s was changed, and it changed\n%s\ninto\n%s", what, before, after)
				}
			}
			if out, ok := run(bundle); !ok || !strings.Contains(out, c.says) {
				t.Fatalf("install: ok %t, want %q\n%s", ok, c.says, out)
			}
			w.expectHandedOver(t)
			if len(w.fetched) > 0 {
				t.Errorf("the controller was asked for %v", w.fetched)
			}
			kept := filepath.Join(w.params.RootPath, "install.sh")
			if text, err := os.ReadFile(kept); err != nil || strings.Contains(string(text), w.params.Token) || len(text) > end+15 {
				t.Errorf("what stays on the node: %d bytes, %v", len(text), err)
			}
			if out, ok := execute(t, c.env, append(sh[1:len(sh):len(sh)], kept, "--uninstall"), sh[0]); !ok {
				t.Errorf("uninstall:\n%s", out)
			}
		})
	}
}

// flipped is content with one bit of a byte changed.
func flipped(content []byte, at int) []byte {
	changed := bytes.Clone(content)
	changed[at] ^= 1
	return changed
}
