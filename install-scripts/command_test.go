package installscripts_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mvdan.cc/sh/v3/syntax"

	installscripts "fairlead.dev/install-scripts"
)

// command serves script at the world's script address and makes the line to
// paste for it.
func (w *world) command(t *testing.T, script []byte) string {
	t.Helper()
	w.serve(scriptPath, script)
	line, err := installscripts.Command(w.url+scriptPath, script)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// paste runs a line as typed at a prompt of sh, with a TMPDIR that must be
// empty afterwards.
func paste(t *testing.T, sh, line string, env ...string) (string, bool) {
	t.Helper()
	temporary := filepath.Join(t.TempDir(), "a b")
	if err := os.Mkdir(temporary, 0o700); err != nil {
		t.Fatal(err)
	}
	out, ok := execute(t, append(env, "TMPDIR="+temporary), []string{"-c", line}, sh)
	if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
		t.Errorf("left in TMPDIR: %v %v", left, err)
	}
	return out, ok
}

func TestPastedCommandInstalls(t *testing.T) {
	t.Parallel()
	for name, env := range map[string][]string{
		"curl": nil,
		"wget": {"PATH=" + tools(t, append([]string{"docker", "wget", "openssl"}, coreutils...)...)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "")
			line := w.command(t, w.script(t))
			if strings.Contains(line, w.params.Token) {
				t.Error("the command holds the token")
			}
			if out, ok := paste(t, "/bin/bash", line, env...); !ok {
				t.Fatalf("%s\n%s", line, out)
			}
			w.expectHandedOver(t)
			if out, ok := paste(t, "/bin/sh", line+" --uninstall", env...); !ok || !strings.Contains(out, "removed") {
				t.Errorf("with an option: %t\n%s", ok, out)
			}
		})
	}
}

func TestCommandForAnotherScriptRunsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	script := w.script(t)
	line := w.command(t, script)
	before := w.snapshot(t)
	for name, served := range map[string][]byte{
		"one byte more": append(bytes.Clone(script), '\n'),
		"cut short":     script[:len(script)/2],
		"empty":         {},
		"another":       []byte("echo owned\n"),
	} {
		w.serve(scriptPath, served)
		out, ok := paste(t, "/bin/sh", line)
		if ok || !strings.Contains(out, "nothing was run") || strings.Contains(out, "owned") {
			t.Errorf("%s: ok %t\n%s", name, ok, out)
		}
	}
	w.mu.Lock()
	delete(w.served, scriptPath)
	w.mu.Unlock()
	for name, env := range map[string][]string{"curl": nil, "wget": {"PATH=" + tools(t, append([]string{"wget"}, coreutils...)...)}} {
		if out, ok := paste(t, "/bin/sh", line, env...); ok || !strings.Contains(out, "could not fetch the script, so nothing was run") {
			t.Errorf("a script that is not served any more, by %s: ok %t\n%s", name, ok, out)
		}
	}
	if after := w.snapshot(t); after != before {
		t.Errorf("it changed\n%s\ninto\n%s", before, after)
	}
}

func TestCommandUsesSudoWhenNotRoot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	folder := tools(t, append([]string{"curl"}, coreutils...)...)
	for name, text := range map[string]string{
		"id":   "echo 1000",
		"sudo": `echo "sudo was asked: $1"; exec "$@"`,
	} {
		file := filepath.Join(folder, name)
		_ = os.Remove(file)
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	line := w.command(t, []byte(`printf "ran with <%s>\n" "$@"`))
	out, ok := paste(t, "/bin/sh", line+" 'a b'", "PATH="+folder)
	if !ok || out != "sudo was asked: sh\nran with <a b>\n" {
		t.Errorf("ok %t: %q", ok, out)
	}
	if err := os.Remove(filepath.Join(folder, "sudo")); err != nil {
		t.Fatal(err)
	}
	if out, ok := paste(t, "/bin/sh", line+" x", "PATH="+folder); !ok || out != "ran with <x>\n" {
		t.Errorf("without sudo: ok %t: %q", ok, out)
	}
}

func TestCommandRefusesWhatNeedsQuoting(t *testing.T) {
	for _, url := range []string{"", "ftp://a/b", "http://a/'", "http://a/b c", "http://a/$(id)", "http://a/b?token=c", "http://u:p@a/b", "http://a/`id`", "http://a/\n"} {
		line, err := installscripts.Command(url, []byte("x"))
		var field *installscripts.FieldError
		if !errors.As(err, &field) || field.Field != "scriptURL" {
			t.Errorf("Command(%q) = %q, %v", url, line, err)
		}
	}
	if _, err := installscripts.Command("http://a/b", nil); err == nil {
		t.Error("an empty script was accepted")
	}
}

// FuzzCommand: whatever the URL, the result is one simple command of four words.
func FuzzCommand(f *testing.F) {
	f.Add("https://fairlead.example.org/api/acme/nodes/1/script")
	f.Add("http://[::1]:80/a~b")
	f.Add("http://a/';id;'")
	f.Fuzz(func(t *testing.T, url string) {
		line, err := installscripts.Command(url, []byte("x"))
		if err != nil {
			return
		}
		file, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(line), "")
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if len(file.Stmts) != 1 {
			t.Fatalf("%q is %d statements", line, len(file.Stmts))
		}
		call, is := file.Stmts[0].Cmd.(*syntax.CallExpr)
		if !is || len(call.Args) != 4 || call.Args[0].Lit() != "sh" || call.Args[1].Lit() != "-c" {
			t.Fatalf("%q is not sh -c 'body' fairlead", line)
		}
		quoted, is := call.Args[2].Parts[0].(*syntax.SglQuoted)
		if !is || len(call.Args[2].Parts) != 1 || !strings.Contains(quoted.Value, url) {
			t.Fatalf("%q does not carry its body in single quotes", line)
		}
	})
}
