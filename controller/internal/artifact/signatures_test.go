package artifact_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"fairlead.dev/shared/release"
)

// TestWhatIsServedCanBeCheckedWithOtherTools: the archive and the script, with
// the keys that are served beside them.
func TestWhatIsServedCanBeCheckedWithOtherTools(t *testing.T) {
	s := scripts(t, "amd64")
	archive := s.Library.Artifacts[0].Path
	script, _, err := s.Render(request())
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	keep := func(name string, content []byte) string {
		t.Helper()
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	served := func(path string) []byte {
		t.Helper()
		content, found := s.Library.Signature(path)
		if !found {
			t.Fatalf("%s is not served", path)
		}
		return content
	}
	signers, pub := keep("signers", served("/artifacts/keys/allowed_signers")), keep("pub", served("/artifacts/keys/minisign.pub"))
	sign := func(tool string) []byte {
		t.Helper()
		signature, err := s.Library.SignScript(tool, script)
		if err != nil {
			t.Fatal(err)
		}
		return signature
	}
	for name, c := range map[string]struct{ content, ssh, minisign []byte }{
		"archive": {[]byte("an archive"), served(archive + ".sshsig"), served(archive + ".minisig")},
		"script":  {script, sign("ssh"), sign("minisign")},
	} {
		file := keep("file", c.content)
		command := exec.CommandContext(t.Context(), "ssh-keygen", "-Y", "verify", "-f", signers, "-I", release.SSHIdentity, "-n", release.SSHNamespace, "-s", keep("ssh", c.ssh))
		command.Stdin = bytes.NewReader(c.content)
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("%s: ssh-keygen: %v: %s", name, err, out)
		}
		command = exec.CommandContext(t.Context(), "minisign", "-V", "-p", pub, "-m", file, "-x", keep("minisig", c.minisign))
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("%s: minisign: %v: %s", name, err, out)
		}
	}
	if _, err := s.Library.SignScript("gpg", script); err == nil {
		t.Error("a signature for a tool that is not known")
	}
}
