package installscripts_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	installscripts "fairlead.dev/install-scripts"
)

// interceptor stands between a node and its controller, and changes what it
// likes.
type interceptor struct {
	*world
	upstream http.Handler

	mu sync.Mutex
	// change returns what is sent for a path in the place of what the controller
	// answered; cut says how many bytes of it, -1 all, before the connection goes.
	change func(path string, answer []byte) (sent []byte, cut int)
}

// intercept makes a world without an engine of its own: whatever the script asks
// docker to do is written down.
func intercept(t *testing.T) *interceptor {
	t.Helper()
	i := &interceptor{world: emptyWorld(t)}
	i.upstream = i.world
	i.publishArchive(t, bytes.Repeat([]byte("the agent's archive, which this engine does not look into\n"), 700))
	server := httptest.NewServer(i)
	t.Cleanup(server.Close)
	i.url, i.params.ControllerURL = server.URL, server.URL
	return i
}

func (i *interceptor) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	recorder := httptest.NewRecorder()
	i.upstream.ServeHTTP(recorder, r)
	i.mu.Lock()
	change := i.change
	i.mu.Unlock()
	body, cut := recorder.Body.Bytes(), -1
	if change != nil {
		body, cut = change(r.URL.Path, body)
	}
	maps.Copy(out.Header(), recorder.Header())
	out.Header().Set("Content-Length", fmt.Sprint(len(body)))
	out.WriteHeader(recorder.Code)
	if cut < 0 {
		_, _ = out.Write(body)
		return
	}
	_, _ = out.Write(body[:cut])
	panic(http.ErrAbortHandler)
}

// set says what is done from now on to what is served at path.
func (i *interceptor) set(path string, change func(answer []byte) (sent []byte, cut int)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.change = func(asked string, answer []byte) ([]byte, int) {
		if asked != path {
			return answer, -1
		}
		return change(answer)
	}
}

// flip changes one bit; which one goes with the position.
func flip(at int) func([]byte) ([]byte, int) {
	return func(answer []byte) ([]byte, int) {
		changed := bytes.Clone(answer)
		changed[at] ^= 1 << (at % 8)
		return changed, -1
	}
}

// samples are some positions of so many: the first, the last, and others.
func samples(length, count int) []int {
	at := []int{0, 1, length - 2, length - 1}
	for k := 1; k < count; k++ {
		at = append(at, k*length/count)
	}
	return at
}

// machine is a PATH with a shell of the given kind as sh, and with docker and
// sudo that write down in did what they are asked to change or run.
func machine(t *testing.T, sh string) (env []string, did string) {
	t.Helper()
	folder := tools(t, append([]string{"curl", "openssl"}, coreutils...)...)
	did = filepath.Join(t.TempDir(), "did")
	program, err := exec.LookPath(sh)
	if err != nil {
		t.Fatalf("this test needs %s: %v", sh, err)
	}
	if err := os.Remove(filepath.Join(folder, "sh")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(folder, "sh")); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"docker": `case "$1 $2" in
'version --format') echo 24.0.5 linux amd64 ;;
'info --format') echo /nonexistent ;;
'container inspect') exit 1 ;;
'image inspect') case "$*" in *--format*) exit 1 ;; esac ;;
ps* | 'network ls') ;;
*) { for word in docker "$@"; do printf '<%s>' "$word"; done; echo; } >>` + did + `; [ "$1" != create ] || exit 1 ;;
esac`,
		"sudo": `echo "as root: $*" >>` + did + `; exec "$@"`,
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte("#!/bin/dash\n"+text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return []string{"PATH=" + folder, "DOCKER_HOST=unix://" + socket}, did
}

// unprivileged makes the machine's user an ordinary one, so that root is
// reached through sudo alone.
func unprivileged(t *testing.T, env []string) {
	t.Helper()
	file := filepath.Join(strings.TrimPrefix(env[0], "PATH="), "id")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("#!/bin/dash\necho 1000\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}

// nothingHappened fails when anything was run as root, asked of the engine or
// left in the state folder.
func (i *interceptor) nothingHappened(t *testing.T, what, did, out string) {
	t.Helper()
	if text, err := os.ReadFile(did); err == nil {
		t.Errorf("%s: it did\n%s%s", what, text, out)
		_ = os.Remove(did)
	}
	if _, err := os.Stat(i.params.RootPath); err == nil {
		t.Errorf("%s: the state folder is there:\n%s", what, out)
		_ = os.RemoveAll(i.params.RootPath)
	}
}

// TestWhoStandsBetweenChangesTheScriptInVain: the pasted command runs the
// script it is for, or nothing.
func TestWhoStandsBetweenChangesTheScriptInVain(t *testing.T) {
	t.Parallel()
	for sh, count := range map[string]int{"dash": 32, "bash": 4, "busybox": 4} {
		t.Run(sh, func(t *testing.T) {
			t.Parallel()
			i := intercept(t)
			script := i.script(t)
			line := i.command(t, script)
			env, did := machine(t, sh)
			unprivileged(t, env)
			refused := func(what string) {
				t.Helper()
				out, ok := paste(t, "/bin/sh", line, env...)
				if ok {
					t.Errorf("%s: the command was content:\n%s", what, out)
				}
				i.nothingHappened(t, what, did, out)
			}
			for _, at := range samples(len(script), count) {
				i.set(scriptPath, flip(at))
				refused(fmt.Sprintf("byte %d of %d changed", at, len(script)))
			}
			for _, at := range samples(len(script), count/4+1) {
				i.set(scriptPath, func(answer []byte) ([]byte, int) { return answer[:at], -1 })
				refused(fmt.Sprintf("the first %d of %d bytes", at, len(script)))
				i.set(scriptPath, func(answer []byte) ([]byte, int) { return answer, at })
				refused(fmt.Sprintf("cut after %d of %d bytes", at, len(script)))
			}
			older := i.params
			older.Version, older.Token = "0.9.0", "earlier-token-0123456789"
			earlier, err := installscripts.Render(older)
			if err != nil {
				t.Fatal(err)
			}
			for what, other := range map[string][]byte{
				"another script":    []byte("#!/bin/sh\ndocker run evil\n"),
				"an earlier script": earlier,
				"more at its end":   append(bytes.Clone(script), "\ndocker run evil\n"...),
				"more before it":    append([]byte("docker run evil\n"), script...),
				"nothing":           nil,
			} {
				i.set(scriptPath, func([]byte) ([]byte, int) { return other, -1 })
				refused(what)
			}
			// The refusals are not by chance: as it is, it is run, by sudo.
			i.set("", nil)
			if out, ok := paste(t, "/bin/sh", line+" --show", env...); !ok || !strings.Contains(out, i.params.NodeName) {
				t.Fatalf("unchanged: ok %t\n%s", ok, out)
			}
			if text, err := os.ReadFile(did); err != nil || !strings.Contains(string(text), "as root: sh ") {
				t.Errorf("unchanged: sudo was not asked: %q %v", text, err)
			}
		})
	}
}

// TestWhoStandsBetweenChangesTheAgentInVain: neither a changed archive nor a
// changed signature comes near the engine.
func TestWhoStandsBetweenChangesTheAgentInVain(t *testing.T) {
	t.Parallel()
	for sh, count := range map[string]int{"dash": 24, "bash": 4, "busybox": 4} {
		t.Run(sh, func(t *testing.T) {
			t.Parallel()
			i := intercept(t)
			env, did := machine(t, sh)
			program := shell{sh}
			if sh == "busybox" {
				program = shell{sh, "sh"}
			}
			archive, signature := i.artifact().Path, i.artifact().Path+".sig"
			length := int(i.artifact().Size)
			refused := func(what, want string) {
				t.Helper()
				out, ok := i.run(t, program, env)
				if ok || !strings.Contains(out, want) {
					t.Errorf("%s: ok %t, want a refusal with %q\n%s", what, ok, want, out)
				}
				i.nothingHappened(t, what, did, out)
			}
			for _, at := range samples(length, count) {
				i.set(archive, flip(at))
				refused(fmt.Sprintf("byte %d of %d changed", at, length), "was changed or cut short on its way; nothing was run")
			}
			for _, at := range samples(length, count/4+1) {
				i.set(archive, func(answer []byte) ([]byte, int) { return answer[:at], -1 })
				refused(fmt.Sprintf("the first %d of %d bytes", at, length), "was changed or cut short on its way; nothing was run")
				i.set(archive, func(answer []byte) ([]byte, int) { return answer, at })
				refused(fmt.Sprintf("cut after %d of %d bytes", at, length), "could not download")
			}
			const signatureLength = 89 // of base64, with its line end
			for _, at := range samples(signatureLength, count/2) {
				i.set(signature, flip(at))
				refused(fmt.Sprintf("byte %d of the signature changed", at), "signature is not the controller's")
			}
			// An older build with its own, right signature.
			_, key, err := ed25519.GenerateKey(nil)
			if err != nil {
				t.Fatal(err)
			}
			older := []byte("an older archive")
			i.set(archive, func([]byte) ([]byte, int) { return older, -1 })
			refused("an older archive", "was changed or cut short on its way")
			i.set(signature, func([]byte) ([]byte, int) {
				return installscripts.Sign(key, i.artifact(), i.params.Version), -1
			})
			refused("another controller's signature", "signature is not the controller's")
			i.set(signature, func([]byte) ([]byte, int) { return []byte("AAAA\n"), -1 })
			refused("no signature", "signature is not the controller's")
			// As it is, the archive reaches the engine: it is there that it ends here.
			i.set("", nil)
			if out, ok := i.run(t, program, env); ok || !strings.Contains(out, "could not create the container") {
				t.Fatalf("unchanged: ok %t\n%s", ok, out)
			}
			if text, err := os.ReadFile(did); err != nil || !strings.Contains(string(text), "<docker><load>") {
				t.Errorf("unchanged: the engine was not asked: %q %v", text, err)
			}
			if _, err := os.Stat(i.params.RootPath); err == nil {
				t.Error("a failed run left its state folder")
			}
		})
	}
}

// TestWhoStandsBetweenHasNoCertificate: a controller with HTTPS is believed by
// its certificate only.
func TestWhoStandsBetweenHasNoCertificate(t *testing.T) {
	t.Parallel()
	i := intercept(t)
	server := httptest.NewTLSServer(i)
	t.Cleanup(server.Close)
	i.url, i.params.ControllerURL = server.URL, server.URL
	line := i.command(t, i.script(t))
	trusted := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(trusted, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	const nothingRun = "fairlead: could not fetch the script, so nothing was run"
	for name, c := range map[string]struct {
		program, as string
		// says is how its words begin.
		says string
	}{
		"curl": {"curl", "curl", "curl: (60) SSL certificate problem: "},
		// Told to be quiet, it does not say why.
		"wget": {"wget", "wget", nothingRun},
		// It has openssl look at the certificate, and does not pass its words on.
		"busybox": {"busybox", "wget", "wget: "},
	} {
		t.Run(name, func(t *testing.T) {
			env, did := machine(t, "dash")
			folder := strings.TrimPrefix(env[0], "PATH=")
			if err := os.Remove(filepath.Join(folder, "curl")); err != nil {
				t.Fatal(err)
			}
			found, err := exec.LookPath(c.program)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(found, filepath.Join(folder, c.as)); err != nil {
				t.Fatal(err)
			}
			out, ok := paste(t, "/bin/sh", line+" --show", env...)
			if ok || !strings.HasPrefix(out, c.says) || !strings.Contains(out, nothingRun) {
				t.Errorf("the command was content with the certificate: %t, want %q\n%s", ok, c.says, out)
			}
			i.nothingHappened(t, "the pasted command", did, out)
			out, ok = i.run(t, dash, env)
			if ok || !strings.Contains(out, "the controller does not answer at "+server.URL) {
				t.Errorf("the script was content with the certificate: %t\n%s", ok, out)
			}
			i.nothingHappened(t, "the script", did, out)
			if name == "curl" { // GNU wget built with GnuTLS takes its roots from the system alone
				if out, ok := paste(t, "/bin/sh", line+" --show", append(env, "CURL_CA_BUNDLE="+trusted)...); !ok {
					t.Errorf("with the certificate trusted: %s", out)
				}
			}
		})
	}
}

// A script of an older version does not bring an older agent back, unless it is
// told to.
func TestAnOlderScriptDoesNotReplaceANewerAgent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		installed, script string
		refused           bool
	}{
		{"1.10.0", "1.9.0", true}, {"1.2.0", "1.2", false}, {"1.2.1", "1.2", true}, {"2.0.0", "10.0.0", false}, {"1.9.0", "1.10.0", false},
		{"1.2.0", "1.2.0-rc.1", true}, {"1.2.0-rc.1", "1.2.0", false}, {"1.2.0-rc.2", "1.2.0-rc.1", false},
		{"dev", "1.0.0", false}, {"1.0.0", "dev", false}, {"1.0.0", "1.0.0", false}, {"1.08.0", "1.9.0", false},
		{"", "0.0.0-rc.1", false},
	} {
		shells := []shell{dash, {"bash", "--posix"}, {"busybox", "sh"}}
		if c.installed != "1.10.0" && c.script != "1.2.0-rc.1" {
			shells = shells[:1]
		}
		for _, sh := range shells {
			i := intercept(t)
			i.params.Version = c.script
			i.publishArchive(t, []byte("an archive"))
			env, did := machine(t, "dash")
			docker := filepath.Join(strings.TrimPrefix(env[0], "PATH="), "docker")
			text := `case "$*" in
'version --format'*) echo 24.0.5 linux amd64 ;;
*.Config.Image*"` + i.params.ContainerName + `") echo fairlead/dagent:` + c.installed + ` ;;
*.Id*"` + i.params.ContainerName + `") echo 0123 ;;
*dev.fairlead.agent*) echo ` + i.params.NodeID + ` ;;
esac`
			if err := os.WriteFile(docker, []byte("#!/bin/dash\n"+text+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			out, ok := i.run(t, sh, env, "--dry-run")
			if ok == c.refused || strings.Contains(out, "the agent here is "+c.installed+", newer than this script's "+c.script) != c.refused {
				t.Errorf("%s, %s over %s: ok %t, want refused %t\n%s", sh[0], c.script, c.installed, ok, c.refused, out)
			}
			if out, ok := i.run(t, sh, env, "--dry-run", "--downgrade"); !ok {
				t.Errorf("%s, %s over %s as told: %s", sh[0], c.script, c.installed, out)
			}
			i.nothingHappened(t, c.script, did, out)
		}
	}
}

// TestStateFoldersReachTheEngineAsTheyAre: in every shell, what Render takes is
// one word for docker and one folder on the disk.
func TestStateFoldersReachTheEngineAsTheyAre(t *testing.T) {
	t.Parallel()
	for _, sh := range []shell{dash, {"bash", "--posix"}, {"busybox", "sh"}} {
		t.Run(sh[0], func(t *testing.T) {
			t.Parallel()
			env, did := machine(t, sh[0])
			for _, name := range []string{
				`it's`, `"quoted"`, `a b  c`, `$(touch owned)`, "`touch owned`", `${HOME}`, `$IFS`, `a,b;c&d|e>f`, `back\slash\n`, `-rf`, `*`, `~`, `%s`, `#`, "ünïcode", `'$(touch owned)'`,
			} {
				i := intercept(t)
				i.params.RootPath = filepath.Join(filepath.Dir(i.params.RootPath), name)
				if out, ok := i.run(t, sh, env); ok || !strings.Contains(out, "could not create the container") {
					t.Fatalf("%s: ok %t\n%s", name, ok, out)
				}
				text, err := os.ReadFile(did)
				if err != nil {
					t.Fatal(err)
				}
				for _, want := range []string{"<--volume><" + i.params.RootPath + ":" + i.params.RootPath + ">", "<--env><FAIRLEAD_STATE_DIR=" + i.params.RootPath + ">", "<--label><dev.fairlead.root-path=" + i.params.RootPath + ">"} {
					if !strings.Contains(string(text), want) {
						t.Errorf("%s: docker was not given %s:\n%s", name, want, text)
					}
				}
				_ = os.Remove(did)
				if left, err := os.ReadDir(filepath.Dir(i.params.RootPath)); err != nil || len(left) > 0 {
					t.Errorf("%s: left %v %v", name, left, err)
				}
			}
			if _, err := os.Stat("owned"); err == nil {
				t.Error("a folder's name was run")
			}
		})
	}
}

// TestMachineThatReachesOnlyTheAgentAddress is given the agent as a file, which
// is checked like one that was downloaded.
func TestMachineThatReachesOnlyTheAgentAddress(t *testing.T) {
	t.Parallel()
	for _, sh := range []shell{dash, {"bash", "--posix"}, {"busybox", "sh"}} {
		t.Run(sh[0], func(t *testing.T) {
			t.Parallel()
			i := intercept(t)
			archive, signature := i.served[i.artifact().Path], i.served[i.artifact().Path+".sig"]
			i.params.ControllerURL = "http://127.0.0.1:1"
			env, did := machine(t, sh[0])
			if err := os.Remove(filepath.Join(strings.TrimPrefix(env[0], "PATH="), "curl")); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "the 'agent'.tar")
			give := func(archive, signature []byte) {
				t.Helper()
				_ = os.Remove(file + ".sig")
				if err := os.WriteFile(file, archive, 0o600); err != nil {
					t.Fatal(err)
				}
				if signature == nil {
					return
				}
				if err := os.WriteFile(file+".sig", signature, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			other, _ := flip(len(archive) / 2)(archive)
			forged, _ := flip(7)(signature)
			for what, c := range map[string]struct {
				archive, signature []byte
				want               string
			}{
				"another archive":     {other, signature, "it is not the agent this script is for; nothing was run"},
				"a cut archive":       {archive[:len(archive)-1], signature, "it is not the agent this script is for; nothing was run"},
				"no signature":        {archive, nil, "there is no signature beside the archive"},
				"another's signature": {archive, forged, "signature is not the controller's"},
			} {
				give(c.archive, c.signature)
				out, ok := i.run(t, sh, env, "--archive", file)
				if ok || !strings.Contains(out, c.want) {
					t.Errorf("%s: ok %t, want a refusal with %q\n%s", what, ok, c.want, out)
				}
				i.nothingHappened(t, what, did, out)
			}
			for options, want := range map[string]string{"--archive": "--archive needs a file", "--archive /no/such.tar": "there is no file /no/such.tar"} {
				out, ok := i.run(t, sh, env, strings.Fields(options)...)
				if ok || !strings.Contains(out, want) {
					t.Errorf("%s: ok %t, want a refusal with %q\n%s", options, ok, want, out)
				}
				i.nothingHappened(t, options, did, out)
			}
			give(archive, signature)
			if out, ok := i.run(t, sh, env, "--archive", file, "--dry-run"); !ok || !strings.Contains(out, "would take the agent from "+file) {
				t.Errorf("dry run: ok %t\n%s", ok, out)
			}
			if out, ok := i.run(t, sh, env, "--archive", file); ok || !strings.Contains(out, "SHA-256 and signature are right") || !strings.Contains(out, "could not create the container") {
				t.Errorf("as it is: ok %t\n%s", ok, out)
			}
		})
	}
}
