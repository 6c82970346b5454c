package installscripts_test

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	installscripts "fairlead.dev/install-scripts"
)

// There is no PowerShell where these tests run: what the script is made of is
// held to what was looked at, and to rules that can be checked without one.
func TestGoldenPowerShell(t *testing.T) {
	hard := difficult()
	hard.RootPath = ""
	for name, params := range map[string]installscripts.Params{"example": example(), "difficult": hard} {
		t.Run(name, func(t *testing.T) {
			got, err := installscripts.RenderPowerShell(params)
			if err != nil {
				t.Fatal(err)
			}
			again, err := installscripts.RenderPowerShell(params)
			if err != nil || !bytes.Equal(got, again) {
				t.Errorf("two renders differ (%v)", err)
			}
			file := filepath.Join("testdata", "golden", name+".ps1")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("the render differs from %s; see the change with: go test -run TestGoldenPowerShell -update && git diff", file)
			}
			for i, c := range got {
				if c > '~' || c < ' ' && c != '\r' && c != '\n' {
					t.Fatalf("byte %d is %q: no plain ASCII", i, c)
				}
			}
			if bytes.Count(got, []byte("\r\n")) != bytes.Count(got, []byte("\n")) || !bytes.HasSuffix(got, []byte("\r\n\r\nexit (Invoke-Main)\r\n")) {
				t.Error("the line ends are not Windows' own, or the last line is not the call")
			}
			if bytes.Contains(got, []byte(params.Token)) {
				t.Error("the token stands in the script in plain text")
			}
			checkPowerShell(t, string(got))
		})
	}
}

// assignment is a statement that a script may have outside of its functions.
var assignment = regexp.MustCompile(`^(\$[A-Za-z0-9:]+ = |Set-StrictMode -Version |\[\]$|param\(|exit \(\)$)`)

// checkPowerShell reads a script's tokens as far as strings, comments and
// brackets go: all are closed, and outside of functions there are values only.
func checkPowerShell(t *testing.T, text string) {
	t.Helper()
	var open []byte
	line, statement, begun := 1, "", 0
	end := func() {
		if s := strings.TrimSpace(statement); s != "" && !strings.HasPrefix(s, "function ") && !assignment.MatchString(s) {
			t.Errorf("line %d runs before the last one: %s", begun, s)
		}
		statement = ""
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch c {
		case '#':
			for i < len(text) && text[i] != '\n' {
				i++
			}
			c = '\n'
		case '\'', '"':
			from := i
			for i++; ; i++ {
				if i >= len(text) || text[i] == '\n' {
					t.Fatalf("line %d: a string does not end", line)
				}
				if c == '"' && text[i] == '`' {
					i++
					continue
				}
				if text[i] == c {
					if i+1 < len(text) && text[i+1] == c {
						i++
						continue
					}
					break
				}
			}
			if len(open) == 0 {
				statement += text[from : i+1]
			}
			continue
		case '(', '{', '[':
			if len(open) == 0 && statement == "" {
				begun = line
			}
			if len(open) == 0 {
				statement += string(c)
			}
			open = append(open, c)
			continue
		case ')', '}', ']':
			want := map[byte]byte{')': '(', '}': '{', ']': '['}[c]
			if len(open) == 0 || open[len(open)-1] != want {
				t.Fatalf("line %d: %c closes nothing", line, c)
			}
			open = open[:len(open)-1]
			if len(open) == 0 {
				statement += string(c)
			}
			continue
		}
		if c == '\n' {
			line++
			if len(open) == 0 {
				end()
			}
			continue
		}
		if len(open) == 0 && c != '\r' {
			if statement == "" {
				begun = line
			}
			statement += string(c)
		}
	}
	end()
	if len(open) > 0 {
		t.Errorf("%q is not closed", open)
	}
}

func TestPowerShellScriptHandsTheTokenOverInAFileOfRootAlone(t *testing.T) {
	params := example()
	script, err := installscripts.RenderPowerShell(params)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, name := range []string{"StateTar", "EnrolTar"} {
		found := regexp.MustCompile(`(?m)^\$` + name + ` = '([A-Za-z0-9+/=]+)'`).FindSubmatch(script)
		if found == nil {
			t.Fatalf("the script has no %s", name)
		}
		raw, err := base64.StdEncoding.DecodeString(string(found[1]))
		if err != nil {
			t.Fatal(err)
		}
		r := tar.NewReader(bytes.NewReader(raw))
		for {
			header, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if header.Mode != 0o600 || header.Uid != 0 {
				t.Errorf("%s has mode %o of %d", header.Name, header.Mode, header.Uid)
			}
			files[name+"/"+header.Name] = string(content)
		}
	}
	if got := files["EnrolTar/enrol.json"]; !strings.Contains(got, `"token":"`+params.Token+`"`) || !strings.Contains(got, params.RootSHA256) {
		t.Errorf("enrol.json is %q", got)
	}
	if len(files) != 3 || files["StateTar/install"] == "" || files["StateTar/release-keys"] == "" {
		t.Errorf("the agent is handed %v", files)
	}
}

func TestPowerShellCommandPinsTheScript(t *testing.T) {
	line, err := installscripts.PowerShellCommand("https://fairlead.example.org/api/acme/nodes/n1/script", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	const digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
	for _, want := range []string{"-Uri 'https://fairlead.example.org/api/acme/nodes/n1/script'", ".Hash -ne '" + digest + "') { throw "} {
		if !strings.Contains(line, want) {
			t.Errorf("the command lacks %s:\n%s", want, line)
		}
	}
	if strings.Index(line, "-ne '"+digest) > strings.Index(line, "-File $f") || strings.ContainsAny(line, "\r\n\"") {
		t.Errorf("the command runs before it checks, or is not one line without double quotes:\n%s", line)
	}
	for _, url := range []string{"", "ftp://a/b", "http://a/'", "http://a/b c", "http://a/$(id)", "http://a/\n"} {
		if line, err := installscripts.PowerShellCommand(url, []byte("x")); err == nil {
			t.Errorf("PowerShellCommand(%q) = %q", url, line)
		}
	}
	if _, err := installscripts.PowerShellCommand("http://a/b", nil); err == nil {
		t.Error("an empty script was accepted")
	}
	refused := example()
	refused.RootPath = "/srv/agent"
	var field *installscripts.FieldError
	if _, err := installscripts.RenderPowerShell(refused); !errors.As(err, &field) || field.Field != "RootPath" {
		t.Errorf("with a root path: %v", err)
	}
}
