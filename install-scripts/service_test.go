package installscripts_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// supervisor is what both stand-ins for service managers do: they run a program
// and tell whether it runs. $state is their folder.
const supervisor = `
alive() {
	[ -s "$state/pid" ] && kill -0 "$(cat "$state/pid")" 2>/dev/null && ! grep -q '^State:.Z' "/proc/$(cat "$state/pid")/status"
}
launch() {
	setsid "$@" >>"$state/log" 2>&1 </dev/null &
	echo $! >"$state/pid"
}
end() {
	if alive; then kill "$(cat "$state/pid")"; fi
	while alive; do sleep 0.1; done
	rm -f "$state/pid"
}
`

// systemctl stands in for systemd's: it reads the unit as far as running it goes.
const systemctl = `
act=$1
for unit in "$@"; do :; done
case $act in
daemon-reload) ;;
enable) : >"$state/enabled" ;;
disable) rm -f "$state/enabled" ;;
start)
	. "$(sed -n 's/^EnvironmentFile=//p' "$state/services/$unit")"
	export $(cut -d= -f1 "$(sed -n 's/^EnvironmentFile=//p' "$state/services/$unit")")
	launch $(sed -n 's/^ExecStart=//p' "$state/services/$unit")
	;;
stop) end ;;
is-active)
	if [ "$2" = --quiet ]; then exec >/dev/null; fi
	if ! alive; then echo failed; exit 3; fi
	echo active
	;;
show) case "$*" in *NRestarts*) echo 0 ;; *) echo 3 ;; esac ;;
*) echo "systemctl $*: not known here" >&2; exit 1 ;;
esac
`

// openrc stands in for OpenRC: it runs the functions of the service's own file.
const openrc = `
if [ "$1" = --ifstarted ]; then
	shift
	alive || exit 0
fi
checkpath() { :; }
case $2 in
start)
	. "$state/services/$1"
	start_pre
	launch "$command" $command_args
	;;
stop)
	. "$state/services/$1"
	end
	stop_post
	;;
status) alive ;;
esac
`

const runlevels = `
case $1 in
add) : >"$state/enabled" ;;
del) rm -f "$state/enabled" ;;
esac
`

// standIn is a stand-in for a service manager.
type standIn struct{ state string }

// file is what is in the manager's folder.
func (s standIn) file(name string) string { return filepath.Join(s.state, name) }

func (s standIn) has(name string) bool {
	_, err := os.Stat(s.file(name))
	return err == nil
}

// newStandIn puts one into a folder of programs, and leads the world's script to
// it.
func newStandIn(t *testing.T, w *world, folder string, programs map[string]string) standIn {
	t.Helper()
	s := standIn{t.TempDir()}
	if err := os.Mkdir(s.file("services"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, body := range programs {
		text := "#!/bin/sh\nset -eu\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\nstate='" + s.state + "'\n" + supervisor + body
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	w.edit = func(script []byte) []byte {
		for from, to := range map[string]string{
			"SYSTEMD_RUNS=/run/systemd/system\n":  "SYSTEMD_RUNS='" + s.state + "'\n",
			"SYSTEMD_UNITS=/etc/systemd/system\n": "SYSTEMD_UNITS='" + s.file("services") + "'\n",
			"OPENRC_SERVICES=/etc/init.d\n":       "OPENRC_SERVICES='" + s.file("services") + "'\n",
		} {
			if !bytes.Contains(script, []byte(from)) {
				t.Fatalf("the script has no line %s", from)
			}
			script = bytes.ReplaceAll(script, []byte(from), []byte(to))
		}
		return script
	}
	t.Cleanup(func() {
		if pid, err := os.ReadFile(s.file("pid")); err == nil {
			_ = exec.Command("kill", strings.TrimSpace(string(pid))).Run()
		}
	})
	return s
}

// build is the program that the service manager starts, and how many there are.
func (w *world) build(t *testing.T) (leads string, programs int) {
	t.Helper()
	leads, _ = os.Readlink(filepath.Join(w.params.RootPath, "bin", "dagent"))
	list, err := filepath.Glob(filepath.Join(w.params.RootPath, "bin", "dagent.*"))
	if err != nil {
		t.Fatal(err)
	}
	return leads, len(list)
}

// itself is what the program of a service is called that updated itself by the
// command with this id.
const itself = "dagent.0192f0c1-7a52"

// updatedItself leaves the state folder as an agent does that replaced itself by
// the build with this digest.
func (w *world) updatedItself(t *testing.T, digest string) {
	t.Helper()
	folder := filepath.Join(w.params.RootPath, "bin")
	present, _ := w.build(t)
	record := fmt.Sprintf("{\n  \"id\": %q,\n  \"phase\": \"successful\",\n  \"digest\": %q\n}\n", strings.TrimPrefix(itself, "dagent."), digest)
	if err := errors.Join(
		os.Rename(filepath.Join(folder, present), filepath.Join(folder, itself)),
		os.Remove(filepath.Join(folder, "dagent")),
		os.Symlink(itself, filepath.Join(folder, "dagent")),
		os.WriteFile(filepath.Join(w.params.RootPath, "update.json"), []byte(record), 0o600),
	); err != nil {
		t.Fatal(err)
	}
}

// TestInstallsAServiceOfTheHost with stand-ins for the service managers.
func TestInstallsAServiceOfTheHost(t *testing.T) {
	t.Parallel()
	busyboxShell, busyboxPath := busybox(t)
	for _, applet := range []string{"tar", "gunzip", "readlink", "ln", "chmod"} {
		if err := os.Symlink(busyboxShell[0], filepath.Join(busyboxPath, applet)); err != nil {
			t.Fatal(err)
		}
	}
	ownPath := t.TempDir()
	for name, c := range map[string]struct {
		shell    shell
		path     string
		folder   string
		programs map[string]string
	}{
		"systemd": {dash, ownPath + ":" + os.Getenv("PATH"), ownPath, map[string]string{"systemctl": systemctl, "journalctl": "cat \"$state/log\""}},
		"openrc":  {busyboxShell, busyboxPath, busyboxPath, map[string]string{"rc-service": openrc, "rc-update": runlevels, "supervise-daemon": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "")
			w.params.RootPath = filepath.Join(filepath.Dir(w.params.RootPath), "agent")
			s := newStandIn(t, w, c.folder, c.programs)
			w.publishStamped(t, "1.0.0", "")
			env := []string{"PATH=" + c.path}
			must := func(want string, options ...string) {
				t.Helper()
				if out, ok := w.run(t, c.shell, env, options...); !ok || !strings.Contains(out, want) {
					t.Fatalf("%v: ok %t, want %q:\n%s", options, ok, want, out)
				}
			}
			refused := func(want string, more []string, options ...string) {
				t.Helper()
				if out, ok := w.run(t, c.shell, append(env, more...), options...); ok || !strings.Contains(out, want) {
					t.Errorf("%v: ok %t, want a refusal with %q:\n%s", options, ok, want, out)
				}
			}
			must("would run the agent as the service "+w.params.ContainerName+" ("+name+")", "--service", "--dry-run")
			refused("DAGENT_DEFAULT_DOMAIN has characters", []string{"DAGENT_DEFAULT_DOMAIN=$(reboot)"}, "--service")
			if s.has("enabled") || w.snapshot(t) == "" {
				t.Error("something was changed")
			}

			env = append(env, "DAGENT_DEFAULT_DOMAIN=example.org")
			must("done: this machine is node", "--service")
			env = env[:1]
			w.expectHandedOver(t)
			if w.field(t, "{{.Id}}") != "" || !s.has("enabled") || !s.has("pid") {
				t.Error("there is a container, or the service is not enabled or does not run")
			}
			if told, err := os.ReadFile(filepath.Join(w.params.RootPath, "service.env")); err != nil ||
				!strings.Contains(string(told), `DAGENT_DEFAULT_DOMAIN="example.org"`) || strings.Contains(string(told), w.params.Token) {
				t.Errorf("the agent is told %s (%v)", told, err)
			}
			must("nothing to do")

			// One that brought itself to this script's build is up to date; one that
			// brought itself to another build is not.
			w.updatedItself(t, "sha256:"+strings.Repeat("ab", 32))
			must("would run the agent as the service", "--dry-run")
			w.updatedItself(t, "sha256:"+w.artifact().SHA256)
			must("nothing to do")
			if leads, programs := w.build(t); leads != itself || programs != 1 || !s.has("pid") {
				t.Errorf("what updated itself was replaced: %s of %d", leads, programs)
			}

			w.publishStamped(t, "1.1.0", "")
			must("done: this machine is node")
			w.expectHandedOver(t)
			running, programs := w.build(t)
			if programs != 1 || !s.has("pid") {
				t.Errorf("after the upgrade there are %d programs", programs)
			}
			w.publishStamped(t, "1.0.5", "")
			refused("the agent here is 1.1.0, newer than", nil)
			w.publishStamped(t, "1.2.0", "crash")
			refused("the previous agent is back", nil)
			if now, programs := w.build(t); now != running || programs != 1 || !s.has("pid") {
				t.Errorf("after one that crashes there is %s of %d, want %s", now, programs, running)
			}

			w.publishStamped(t, "1.3.0", "")
			must("done: this machine is node", "--container")
			if _, programs := w.build(t); w.field(t, "{{.State.Status}}") != "running" || programs != 0 || s.has("pid") || s.has("enabled") {
				t.Errorf("as a container again: %s, %d programs", w.field(t, "{{.State.Status}}"), programs)
			}
			w.publishStamped(t, "1.4.0", "crash")
			refused("the previous agent is back", nil, "--service")
			if _, programs := w.build(t); w.field(t, "{{.State.Status}}") != "running" || programs != 0 || s.has("enabled") {
				t.Errorf("after a service that crashes the container is %s, and there are %d programs", w.field(t, "{{.State.Status}}"), programs)
			}
			w.publishStamped(t, "1.4.0", "")
			must("done: this machine is node", "--service")
			if w.field(t, "{{.Id}}") != "" || !s.has("pid") {
				t.Error("as a service again the container is still there, or the service is not")
			}
			w.expectHandedOver(t)

			must("would remove the service", "--uninstall", "--dry-run")
			must("removed the service", "--uninstall")
			if entries, err := os.ReadDir(w.params.RootPath); err == nil || s.has("pid") || s.has("enabled") {
				t.Errorf("after the uninstall there is %v", entries)
			}
			if left, err := os.ReadDir(s.file("services")); err != nil || len(left) > 0 {
				t.Errorf("after the uninstall the service manager has %v %v", left, err)
			}
			must("the agent is removed", "--uninstall")
		})
	}
}

// TestServicesNeedPlainPaths, which files of service managers take as they are.
func TestServicesNeedPlainPaths(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	folder := t.TempDir()
	newStandIn(t, w, folder, map[string]string{"systemctl": systemctl})
	env := []string{"PATH=" + folder + ":" + os.Getenv("PATH")}
	w.refused(t, env, "--service needs a state folder of plain letters", "--service")
	w.edit = nil
	w.refused(t, []string{"PATH=" + tools(t, append([]string{"docker", "curl"}, coreutils...)...)},
		"install the agent as a container, without --service", "--service")
}

// TestTheUnitIsWhatSystemdTakes and leaves an agent little to do harm with.
func TestTheUnitIsWhatSystemdTakes(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	script := `ROOT_PATH=$1 CONTAINER=fairlead-agent NODE_ID=n1; . ./dagent/service.sh; print_unit >"$1/fairlead-agent.service"; print_init >"$1/init"`
	if out, ok := execute(t, nil, []string{"-euc", script, "sh", folder}, "dash"); !ok {
		t.Fatal(out)
	}
	if err := os.Mkdir(filepath.Join(folder, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	binary, err := fakeAgent()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "bin", "dagent"), binary, 0o700); err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(folder, "fairlead-agent.service")
	if out, ok := execute(t, nil, []string{"verify", unit}, "systemd-analyze"); !ok || out != "" {
		t.Errorf("verify: ok %t\n%s", ok, out)
	}
	if out, ok := execute(t, nil, []string{"security", "--offline=yes", "--threshold=30", unit}, "systemd-analyze"); !ok {
		t.Errorf("it may do more than 3.0 of 10:\n%s", out)
	}
	// A panic, and the watchdog's SIGABRT, end a Go program with 2.
	if text, err := os.ReadFile(unit); err != nil || !strings.Contains(string(text), "\nRestartPreventExitStatus=3\n") {
		t.Errorf("an agent that crashes is not started again (%v):\n%s", err, text)
	}
	if out, ok := execute(t, nil, []string{"-n", filepath.Join(folder, "init")}, "dash"); !ok {
		t.Errorf("the service for OpenRC:\n%s", out)
	}
}
