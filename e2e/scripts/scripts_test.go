// Package scripts_test tests the shell scripts that prepare a machine: what
// they say, and that they do nothing where there is nothing to do.
package scripts_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const folder = "../../scripts"

func TestShellcheck(t *testing.T) {
	scripts, err := filepath.Glob(folder + "/*.sh")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts in %s (%v)", folder, err)
	}
	out, err := exec.CommandContext(t.Context(), "shellcheck", append([]string{"--shell=sh", "--severity=style"}, scripts...)...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatal("this test needs shellcheck: apt-get install shellcheck")
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// machine is a PATH of its own: what a script finds there is all there is.
type machine struct {
	bin string
	// did is where the stubs note what they were called with.
	did string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	dir := t.TempDir()
	m := &machine{bin: filepath.Join(dir, "bin"), did: filepath.Join(dir, "did")}
	if err := os.Mkdir(m.bin, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sh", "dirname", "tail", "mktemp", "rm", "mkdir", "grep", "sleep", "nohup", "cp", "mv", "cat", "chmod", "sed", "date"} {
		target, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(m.bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	m.stub(t, "id", `if [ "$1" = -un ]; then echo ann; else echo ${FAKE_UID:-0}; fi`)
	return m
}

// stub adds a program of the given text; $DID is the file to take notes in and
// $BIN the folder of programs.
func (m *machine) stub(t *testing.T, name, text string) {
	t.Helper()
	file := filepath.Join(m.bin, name)
	_ = os.Remove(file)
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) run(t *testing.T, script string, env ...string) (output string, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "/bin/sh", filepath.Join(folder, script))
	command.Env = append([]string{"PATH=" + m.bin, "BIN=" + m.bin, "DID=" + m.did, "TMPDIR=" + t.TempDir()}, env...)
	out, err := command.CombinedOutput()
	if err != nil && command.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), err == nil
}

func (m *machine) notes() string {
	notes, _ := os.ReadFile(m.did)
	return string(notes)
}

func TestNothingToDoIsQuiet(t *testing.T) {
	m := newMachine(t)
	m.stub(t, "docker", "exit 0")
	m.stub(t, "docker-registry", "exit 0")
	m.stub(t, "postgres", "exit 0")
	m.stub(t, "initdb", "exit 0")
	for _, script := range []string{"ensure-docker.sh", "ensure-registry.sh", "ensure-postgres.sh"} {
		if out, ok := m.run(t, script, "FAKE_UID=1000"); !ok || out != "" {
			t.Errorf("%s: ok %t, said %q", script, ok, out)
		}
	}
}

// ports chooses ports for make up, one of them as given.
func ports(one string) []string {
	return []string{"HTTP_PORT=8080", "AGENT_PORT=8443", "APP_PORT=8090", "REGISTRY_PORT=5000", one}
}

func TestWhatCannotBeDoneIsSaid(t *testing.T) {
	denied := `echo "permission denied while trying to connect to the Docker daemon socket" >&2; exit 1`
	down := `echo "Cannot connect to the Docker daemon" >&2; exit 1`
	for name, test := range map[string]struct {
		script string
		stubs  map[string]string
		env    []string
		want   string
	}{
		"docker, not root":            {"ensure-docker.sh", map[string]string{"docker": down}, []string{"FAKE_UID=1000"}, "run: sudo"},
		"docker, not in the group":    {"ensure-docker.sh", map[string]string{"docker": denied}, []string{"FAKE_UID=1000"}, "user ann may not use Docker"},
		"docker, elsewhere":           {"ensure-docker.sh", map[string]string{"docker": down}, []string{"DOCKER_HOST=tcp://192.0.2.1:1"}, "DOCKER_HOST is tcp://192.0.2.1:1"},
		"docker, no apt":              {"ensure-docker.sh", nil, nil, "not a Debian system; install what Debian calls: docker.io"},
		"registry, not root":          {"ensure-registry.sh", map[string]string{"apt-get": ""}, []string{"FAKE_UID=1000"}, "sudo apt-get install docker-registry"},
		"registry, apt fails":         {"ensure-registry.sh", map[string]string{"apt-get": "echo E: no network; exit 100"}, nil, "E: no network"},
		"registry, package is hollow": {"ensure-registry.sh", map[string]string{"apt-get": ""}, nil, "there is no program of that name"},
		"headers, not root":           {"ensure-engine.sh", map[string]string{"apt-get": ""}, []string{"FAKE_UID=1000"}, "sudo apt-get install libseccomp-dev pkg-config"},
		"no engine is named":          {"on-engine.sh", nil, nil, "name the folder of the engine's programs"},
		"no port":                     {"up.sh", nil, ports("HTTP_PORT=abc"), "HTTP_PORT=abc is not a port"},
		"port 0":                      {"up.sh", nil, ports("AGENT_PORT=0"), "AGENT_PORT=0 is not a port"},
		"port too large":              {"up.sh", nil, ports("REGISTRY_PORT=65536"), "REGISTRY_PORT=65536 is not a port"},
		"two for one port":            {"up.sh", nil, ports("APP_PORT=8443"), "APP_PORT=8443 is chosen for something else already"},
		// Whichever of the two this machine would start the engine with.
		"engine does not start": {"ensure-docker.sh", map[string]string{
			"docker":    down,
			"dockerd":   "echo no cgroups; exit 1",
			"systemctl": "echo no cgroups; exit 1",
		}, nil, "no cgroups"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			for program, text := range test.stubs {
				m.stub(t, program, text)
			}
			env := append(test.env, "FAIRLEAD_DOCKERD_LOG="+filepath.Join(t.TempDir(), "dockerd.log"))
			if out, ok := m.run(t, test.script, env...); ok || !strings.Contains(out, test.want) {
				t.Errorf("ok %t, want a failure with %q:\n%s", ok, test.want, out)
			}
		})
	}
}

func TestMissingDockerIsInstalledStartedAndReported(t *testing.T) {
	m := newMachine(t)
	up := m.did + ".up"
	m.stub(t, "apt-cache", "echo Package: docker-cli")
	m.stub(t, "systemctl", ": >"+up)
	m.stub(t, "apt-get", `echo "$*" >>"$DID"
case $* in *install*)
	printf '#!/bin/sh\n[ -e `+up+` ] && exit 0; echo down >&2; exit 1\n' >"$BIN/docker"
	printf '#!/bin/sh\n: >`+up+`; exec sleep 5\n' >"$BIN/dockerd"
	chmod 700 "$BIN/docker" "$BIN/dockerd"
esac`)
	log := filepath.Join(t.TempDir(), "logs", "dockerd.log")
	out, ok := m.run(t, "ensure-docker.sh", "FAIRLEAD_DOCKERD_LOG="+log)
	if !ok || !strings.Contains(out, "installing docker.io docker-cli") || !strings.Contains(out, "ensure-docker: started") {
		t.Errorf("ok %t:\n%s", ok, out)
	}
	if notes := m.notes(); !strings.Contains(notes, "update") || !strings.Contains(notes, "--no-install-recommends docker.io docker-cli") {
		t.Errorf("apt-get was called with:\n%s", notes)
	}
	if out, ok := m.run(t, "ensure-docker.sh"); !ok || out != "" {
		t.Errorf("second run: ok %t %q", ok, out)
	}
}

// TestFiguresAreAllThatIsPrinted runs benchmarks that succeed, and some that do
// not.
func TestFiguresAreAllThatIsPrinted(t *testing.T) {
	m := newMachine(t)
	said := `echo "$*" >>"$DID"; echo "goos: linux"; echo; printf 'figure: up\t1.5\ts\t-\t-\n'; echo "BenchmarkUp 1"; `
	m.stub(t, "go", said+"echo warned >&2")
	if out, ok := m.run(t, "figures.sh"); !ok || out != "up\t1.5\ts\t-\t-\n" {
		t.Errorf("ok %t, said %q", ok, out)
	}
	if did := m.notes(); did != "test -run ^$ -benchtime 1x\n" {
		t.Errorf("go was called with %q", did)
	}
	m.stub(t, "go", said+"echo broken >&2; exit 1")
	if out, ok := m.run(t, "figures.sh"); ok || !strings.Contains(out, "figure: up") || !strings.Contains(out, "broken") {
		t.Errorf("ok %t, said %q", ok, out)
	}
}
