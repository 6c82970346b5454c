package release_test

import (
	"bytes"
	"crypto/ed25519"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"fairlead.dev/shared/release"
)

// TestOtherToolsTakeTheSignatures: OpenSSH's and minisign's own programs say
// that the signature is right, and that it is wrong for every other file, key
// and signature.
func TestOtherToolsTakeTheSignatures(t *testing.T) {
	public, private := newKey(t)
	stranger, strangers := newKey(t)
	content := []byte("an archive\n")
	for name, tool := range map[string]struct {
		sign   func(ed25519.PrivateKey, *release.Digests) ([]byte, error)
		key    func(ed25519.PublicKey) ([]byte, error)
		verify func(folder string) *exec.Cmd
	}{
		"ssh-keygen": {
			release.SignSSH,
			func(k ed25519.PublicKey) ([]byte, error) { return release.AllowedSigners([]ed25519.PublicKey{k}) },
			func(folder string) *exec.Cmd {
				return exec.CommandContext(t.Context(), "ssh-keygen", "-Y", "verify", "-f", folder+"/key", "-I", release.SSHIdentity, "-n", release.SSHNamespace, "-s", folder+"/signature")
			},
		},
		"minisign": {
			func(k ed25519.PrivateKey, d *release.Digests) ([]byte, error) {
				return release.SignMinisign(k, d, "version:1.2.0")
			},
			func(k ed25519.PublicKey) ([]byte, error) { return release.MinisignKey(k), nil },
			func(folder string) *exec.Cmd {
				return exec.CommandContext(t.Context(), "minisign", "-V", "-p", folder+"/key", "-m", folder+"/file", "-x", folder+"/signature")
			},
		},
	} {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("this test needs %s: apt-get install openssh-client minisign", name)
		}
		verify := func(key ed25519.PublicKey, signature, content []byte) (string, bool) {
			t.Helper()
			folder := t.TempDir()
			text, err := tool.key(key)
			if err != nil {
				t.Fatal(err)
			}
			for file, bytes := range map[string][]byte{"key": text, "signature": signature, "file": content} {
				if err := os.WriteFile(filepath.Join(folder, file), bytes, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			command := tool.verify(folder)
			command.Stdin = bytes.NewReader(content)
			out, err := command.CombinedOutput()
			return string(out), err == nil
		}
		digests, err := release.DigestsOf(content)
		if err != nil {
			t.Fatal(err)
		}
		signature, err := tool.sign(private, digests)
		if err != nil {
			t.Fatal(err)
		}
		if out, ok := verify(public, signature, content); !ok {
			t.Errorf("%s does not take it: %s\n%s", name, out, signature)
		}
		foreign, err := tool.sign(strangers, digests)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := verify(public, signature, append(content, ' ')); ok {
			t.Errorf("%s takes it for another file", name)
		}
		if _, ok := verify(stranger, signature, content); ok {
			t.Errorf("%s takes it for another key", name)
		}
		if _, ok := verify(public, foreign, content); ok {
			t.Errorf("%s takes another key's signature", name)
		}
	}
	if _, err := release.SignMinisign(private, &release.Digests{}, "two\nlines"); err == nil {
		t.Error("a comment may bring lines of its own")
	}
}
