package installscripts_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// busybox makes a PATH where every tool but docker is busybox's.
func busybox(t *testing.T) (sh shell, path string) {
	t.Helper()
	program, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatalf("this test needs busybox: apt-get install busybox")
	}
	folder := tools(t, "docker")
	for _, applet := range append([]string{"wget"}, coreutils...) {
		if err := os.Symlink(program, filepath.Join(folder, applet)); err != nil {
			t.Fatal(err)
		}
	}
	return shell{program, "sh"}, folder
}

func TestInstallsKeepsAndRemoves(t *testing.T) {
	t.Parallel()
	busyboxShell, busyboxPath := busybox(t)
	for name, test := range map[string]struct {
		shell shell
		env   []string
		says  string
	}{
		"dash":         {dash, nil, "SHA-256 and signature are right"},
		"bash":         {shell{"bash", "--posix"}, nil, "SHA-256 and signature are right"},
		"wget only":    {dash, []string{"PATH=" + tools(t, append([]string{"docker", "wget", "openssl"}, coreutils...)...)}, "SHA-256 and signature are right"},
		"busybox only": {busyboxShell, []string{"PATH=" + busyboxPath}, "signature not checked: OpenSSL 3 is not here"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "")
			out, ok := w.run(t, test.shell, test.env)
			if !ok || !strings.Contains(out, test.says) {
				t.Fatalf("install: ok %t, want %q:\n%s", ok, test.says, out)
			}
			if got := w.field(t, "{{.State.Status}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.NetworkMode}}"); got != "running always host" {
				t.Errorf("the container is %q", got)
			}
			if got := w.field(t, `{{index .Config.Labels "dev.fairlead.agent"}}`); got != w.params.NodeID {
				t.Errorf("the container's label is %q", got)
			}
			w.expectHandedOver(t)
			if strings.Contains(out+w.field(t, "{{json .}}"), w.params.Token) {
				t.Error("the token can be seen in the output or in docker inspect")
			}

			before := w.snapshot(t)
			w.forget()
			if out, ok := w.run(t, test.shell, test.env); !ok || !strings.Contains(out, "nothing to do") {
				t.Errorf("second run: ok %t\n%s", ok, out)
			}
			if after := w.snapshot(t); after != before {
				t.Errorf("the second run changed\n%s\ninto\n%s", before, after)
			}
			if w.wasFetched(w.artifact().Path) {
				t.Error("the second run downloaded the agent again")
			}

			volume := filepath.Join(w.params.RootPath, "volume of an app")
			if err := os.Mkdir(volume, 0o700); err != nil {
				t.Fatal(err)
			}
			// The script that stays on the node is enough, and holds no token.
			kept := filepath.Join(w.params.RootPath, "install.sh")
			if text, err := os.ReadFile(kept); err != nil || strings.Contains(string(text), w.params.Token) {
				t.Errorf("what stays on the node: %v, token in it %t", err, strings.Contains(string(text), w.params.Token))
			}
			sh := test.shell
			if out, ok := execute(t, test.env, append(sh[1:len(sh):len(sh)], kept), sh[0]); !ok || !strings.Contains(out, "nothing to do") {
				t.Errorf("the kept script: ok %t\n%s", ok, out)
			}
			if out, ok := execute(t, test.env, append(sh[1:len(sh):len(sh)], kept, "--uninstall"), sh[0]); !ok || !strings.Contains(out, "keep running") {
				t.Errorf("uninstall: ok %t\n%s", ok, out)
			}
			entries, err := os.ReadDir(w.params.RootPath)
			if err != nil || len(entries) != 1 {
				t.Errorf("after the uninstall: %v %v, want the volume alone", entries, err)
			}
			if w.field(t, "{{.Id}}") != "" || strings.Contains(w.snapshot(t), w.params.Image) {
				t.Errorf("after the uninstall there is still\n%s", w.snapshot(t))
			}
			if out, ok := w.run(t, test.shell, test.env, "--uninstall"); !ok {
				t.Errorf("second uninstall:\n%s", out)
			}
		})
	}
}

// expectHandedOver checks what reached the agent and that the token is gone.
func (w *world) expectHandedOver(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(w.params.RootPath, "identity"))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{
		"controller": w.params.AgentAddr, "rootSha256": w.params.RootSHA256, "token": w.params.Token, "nodeName": w.params.NodeName,
	} {
		if got[field] != want {
			t.Errorf("enrol.json: %s = %q, want %q", field, got[field], want)
		}
	}
	if _, err := os.Stat(filepath.Join(w.params.RootPath, "enrol.json")); err == nil {
		t.Error("the token is still on the disk")
	}
	if info, err := os.Stat(w.params.RootPath); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the state folder has mode %v (%v)", info.Mode(), err)
	}
}

func TestStateFoldersWithDifficultNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{`it's`, `"quoted"`, `$(touch owned)`, "`touch owned`", `a,b;c&d|e`, `back\slash`, `-dash *?[x]`, "ünïcode"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "")
			w.params.RootPath = filepath.Join(filepath.Dir(w.params.RootPath), name)
			out := w.must(t, dash)
			w.expectHandedOver(t)
			// What it says to remove the agent by can be pasted.
			_, line, said := strings.Cut(out, "to remove the agent later: ")
			if out, ok := execute(t, nil, []string{"-c", line}, "dash"); !said || !ok {
				t.Errorf("%s: %s", line, out)
			}
			if left, err := os.ReadDir(filepath.Dir(w.params.RootPath)); err != nil || len(left) > 0 {
				t.Errorf("left: %v %v", left, err)
			}
		})
	}
}

func TestUpgradeKeepsTheIdentity(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.must(t, dash)
	first := w.field(t, "{{.Id}}")

	// A new version, a new token: the key stays and the token is not handed over.
	w.params.Version, w.params.Image, w.params.Token = "1.1.0", w.params.ContainerName+":1.1.0", "another-token-0123456789"
	w.publish(t, "")
	w.must(t, dash, "--dry-run")
	if w.field(t, "{{.Id}}") != first {
		t.Fatal("the dry run replaced the container")
	}
	w.must(t, dash)
	if got := w.field(t, "{{.Config.Image}} {{.State.Status}}"); got != w.params.Image+" running" {
		t.Errorf("after the upgrade: %s", got)
	}
	w.params.Token = "one-time-token-0123456789"
	w.expectHandedOver(t)
	if snapshot := w.snapshot(t); strings.Contains(snapshot, first) || strings.Contains(snapshot, ":1.0.0") {
		t.Errorf("the previous agent or its image is still there:\n%s", snapshot)
	}
}

func TestUpgradeNeedsNoWordFromAnAgentThatKeptItsKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.must(t, dash)
	w.publish(t, "mute")
	if out := w.must(t, dash); !strings.Contains(out, "runs with the key it had") {
		t.Errorf("upgrade:\n%s", out)
	}
	if out := w.must(t, dash); !strings.Contains(out, "nothing to do") {
		t.Errorf("after it:\n%s", out)
	}
}

func TestRevokedKeyNeedsANewEnrolment(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.must(t, dash)
	revoked := filepath.Join(w.params.RootPath, "revoked")
	if err := os.WriteFile(revoked, []byte("the node was removed"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.refused(t, nil, "--enrol-again")
	w.params.Token = "another-token-0123456789"
	w.must(t, dash, "--enrol-again")
	w.expectHandedOver(t)
	if _, err := os.Stat(revoked); err == nil {
		t.Error("the new identity is still called revoked")
	}
}

func TestWhatADeletedNodeLeftIsInNobodysWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.must(t, dash)
	// What the agent of a deleted node leaves: a note, and no container.
	deleted := filepath.Join(w.params.RootPath, "deleted")
	if err := os.WriteFile(deleted, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "docker", "rm", "--force", w.params.ContainerName).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	w.refused(t, nil, "was deleted: make another node")

	before := w.params
	w.params.NodeID, w.params.Token = "01890000-0000-7000-8000-00000000000b", "another-token-0123456789"
	w.publish(t, "crash")
	w.refused(t, nil, "broken on purpose")
	if _, err := os.Stat(deleted); err != nil {
		t.Errorf("a failed install of another node is not undone: %v", err)
	}
	w.params.NodeID = before.NodeID
	w.publish(t, "")
	w.refused(t, nil, "was deleted: make another node")

	w.params.NodeID = "01890000-0000-7000-8000-00000000000b"
	w.must(t, dash)
	w.expectHandedOver(t)
	for _, gone := range []string{"deleted", "deleted.previous", "install.previous", "identity.previous"} {
		if _, err := os.Stat(filepath.Join(w.params.RootPath, gone)); err == nil {
			t.Errorf("%s is left", gone)
		}
	}
	w.must(t, dash, "--uninstall") // it is that node's now
}

// TestUninstallAfterTheNodeWasDeletedLeavesNothing, the image of a build that the
// agent updated itself to included.
func TestUninstallAfterTheNodeWasDeletedLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, update := range map[string]string{
		"as installed":   "",
		"updated":        `{"phase": "successful", "from": "1.0.0", "to": "1.1.0"}`,
		"and once again": `{"phase": "failed", "from": "1.1.0", "to": "1.2.0"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "")
			before := w.snapshot(t)
			w.must(t, dash)
			files := map[string]string{"deleted": "{}"}
			if update != "" {
				var record bytes.Buffer
				if err := json.Indent(&record, []byte(update), "", "  "); err != nil {
					t.Fatal(err)
				}
				files["update.json"] = record.String()
				engine(t, "tag", w.params.Image, w.params.ContainerName+":1.1.0")
				engine(t, "rmi", w.params.Image)
			}
			for name, text := range files {
				if err := os.WriteFile(filepath.Join(w.params.RootPath, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			engine(t, "rm", "--force", w.params.ContainerName)
			w.must(t, dash, "--uninstall", "--dry-run")
			w.must(t, dash, "--uninstall")
			if after := w.snapshot(t); after != before {
				t.Errorf("left:\n%s", after)
			}
		})
	}
}

func TestFailedUpgradePutsThePreviousAgentBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.must(t, dash)
	first := w.field(t, "{{.Id}}")
	w.params.Version, w.params.Image = "1.1.0", w.params.ContainerName+":1.1.0"
	w.publish(t, "crash")
	w.refused(t, nil, "broken on purpose")
	if got := w.field(t, "{{.Id}} {{.State.Status}}"); got != first+" running" {
		t.Errorf("after the failed upgrade: %s, want %s running", got, first)
	}
	w.expectHandedOver(t)
}

func TestInterruptedRunIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.must(t, dash)
	first := w.field(t, "{{.Id}}")
	rename := exec.CommandContext(t.Context(), "docker", "rename", w.params.ContainerName, w.params.ContainerName+"-previous")
	if out, err := rename.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if out := w.must(t, dash); !strings.Contains(out, "interrupted") {
		t.Errorf("it did not notice:\n%s", out)
	}
	if got := w.field(t, "{{.State.Status}}"); got != "running" || w.field(t, "{{.Id}}") == first {
		t.Errorf("the container is %q", got)
	}
	w.expectHandedOver(t)
}

func TestStoppedAgentIsRepaired(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.must(t, dash)
	if out, err := exec.CommandContext(t.Context(), "docker", "kill", w.params.ContainerName).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	// The token is long gone; the identity is enough.
	w.params.Expires = time.Now().Add(-time.Hour)
	w.must(t, dash)
	if got := w.field(t, "{{.State.Status}}"); got != "running" {
		t.Errorf("the container is %q", got)
	}
	w.refused(t, nil, "expired", "--enrol-again")
}

func TestEnrolAgainUsesTheNewToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.must(t, dash)
	w.params.Token = "another-token-0123456789"
	w.must(t, dash, "--enrol-again")
	w.expectHandedOver(t)

	// When that fails, the key from before is back.
	good := w.params
	w.params.Token = "third-token-01234567890"
	w.publish(t, "refused")
	w.refused(t, nil, "the token was used already", "--enrol-again")
	w.params = good
	w.expectHandedOver(t)
	if got := w.field(t, "{{.State.Status}}"); got != "running" {
		t.Errorf("the previous agent is %q", got)
	}
}

func TestRefusedEnrolmentIsShownAndUndone(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]string{
		"refused": "the agent says: the token was used already[31m",
		"crash":   "fake agent: broken on purpose",
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, mode)
			before := w.snapshot(t)
			w.refused(t, nil, want)
			if after := w.snapshot(t); after != before {
				t.Errorf("left behind:\n%s", after)
			}
		})
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	before := w.snapshot(t)
	if out := w.must(t, dash, "--dry-run"); !strings.Contains(out, "would enrol") {
		t.Errorf("dry run:\n%s", out)
	}
	if after := w.snapshot(t); after != before || w.wasFetched(w.artifact().Path) {
		t.Errorf("the dry run changed\n%s\ninto\n%s", before, after)
	}
	w.must(t, dash)
	before = w.snapshot(t)
	w.must(t, dash, "--uninstall", "--dry-run")
	if after := w.snapshot(t); after != before {
		t.Errorf("the dry uninstall changed\n%s\ninto\n%s", before, after)
	}
}

// What containers may have of the host is said by whoever installs the agent,
// and stays until somebody says otherwise.
func TestPolicyIsHandedOverAndKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	folder := t.TempDir()
	handed := func() string {
		return w.field(t, `{{range .Config.Env}}{{println .}}{{end}}{{range .Mounts}}{{println .Source .RW}}{{end}}`)
	}
	out, ok := w.run(t, dash, []string{"DAGENT_ALLOW_HOST_PATHS=" + folder, "DAGENT_ALLOW_CAPABILITIES=NET_ADMIN"})
	if !ok {
		t.Fatal(out)
	}
	for _, want := range []string{"DAGENT_ALLOW_HOST_PATHS=" + folder, "DAGENT_ALLOW_CAPABILITIES=NET_ADMIN", folder + " false", "DAGENT_SECRETS_DIR=/run/"} {
		if got := handed(); !strings.Contains(got, want) {
			t.Errorf("the agent is not given %s:\n%s", want, got)
		}
	}
	if out := w.must(t, dash); !strings.Contains(out, "nothing to do") {
		t.Errorf("again without saying anything: %s", out)
	}
	if out, ok := w.run(t, dash, []string{"DAGENT_ALLOW_HOST_PATHS="}); !ok || strings.Contains(handed(), folder) || !strings.Contains(handed(), "NET_ADMIN") {
		t.Errorf("taken back: ok %t, %s\n%s", ok, out, handed())
	}
	if out, ok := w.run(t, dash, []string{"DAGENT_ALLOW_HOST_PATHS=/nonexistent"}); ok || !strings.Contains(out, "/nonexistent") {
		t.Errorf("a folder that is not there: ok %t, %s", ok, out)
	}
}

// A script made with an address for the certificate authority has the agent
// serve by its own proxy; what the machine says since, wins.
func TestAddressForTheCertificateAuthorityIsHandedOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.params.ACMEEmail = "o'neil+`id`@example.org"
	expect := func(when, email, routing string) {
		t.Helper()
		handed := "\n" + w.field(t, `{{range .Config.Env}}{{println .}}{{end}}`) + "\n"
		for _, want := range []string{"\nDAGENT_ACME_EMAIL=" + email + "\n", "\nDAGENT_ROUTING=" + routing + "\n"} {
			if !strings.Contains(handed, want) {
				t.Errorf("%s the agent is not given %q:%s", when, want, handed)
			}
		}
	}
	w.must(t, dash)
	expect("installed", w.params.ACMEEmail, "edge")
	if out := w.must(t, dash); !strings.Contains(out, "nothing to do") {
		t.Errorf("again: %s", out)
	}
	if out, ok := w.run(t, dash, []string{"DAGENT_ACME_EMAIL=ann@example.org", "DAGENT_ROUTING=off"}); !ok {
		t.Fatal(out)
	}
	expect("told otherwise", "ann@example.org", "off")
	if out, ok := execute(t, nil, []string{filepath.Join(w.params.RootPath, "install.sh")}, "dash"); !ok || !strings.Contains(out, "nothing to do") {
		t.Errorf("the kept script: ok %t\n%s", ok, out)
	}
	expect("by the kept script", "ann@example.org", "off")
	w.params.ACMEEmail = ""
	w.must(t, dash)
	expect("by a script that says nothing", "ann@example.org", "off")
	w.params.ACMEEmail = "bob@example.org"
	w.must(t, dash)
	expect("by a newer script", "bob@example.org", "edge")
}
