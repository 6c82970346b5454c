package keys_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"fairlead.dev/controller/internal/keys"
)

func TestKeysAreMadeOnceAndKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	first, err := keys.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := keys.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !first.Token.Equal(second.Token) || !first.Release.Equal(second.Release) || first.Roots.Pin() != second.Roots.Pin() {
		t.Error("opening again made other keys")
	}
	text, err := second.Vault.Open("purpose", first.Vault.Seal("purpose", "hunter2"))
	if err != nil || text != "hunter2" {
		t.Errorf("Open = %q, %v", text, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", entry.Name(), info.Mode().Perm())
		}
	}
}

func TestBrokenKeysAreNeverReplaced(t *testing.T) {
	for _, name := range []string{"token.key", "release.key", "vault.key", "root.key", "root.crt"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := keys.Open(dir); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, name)
			if err := os.WriteFile(file, []byte("broken"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := keys.Open(dir); err == nil {
				t.Error("opened with a broken key")
			}
			if content, err := os.ReadFile(file); err != nil || string(content) != "broken" {
				t.Errorf("the file now holds %q, %v", content, err)
			}
		})
	}
}

func TestSealedTextOpensForItsPurposeAndKeyOnly(t *testing.T) {
	one, err := keys.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	other, err := keys.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sealed := one.Vault.Seal("registry:1", "hunter2")
	if bytes.Contains(sealed, []byte("hunter2")) {
		t.Fatal("sealed text shows the secret")
	}
	if _, err := one.Vault.Open("registry:2", sealed); err == nil {
		t.Error("opened for another purpose")
	}
	if _, err := other.Vault.Open("registry:1", sealed); err == nil {
		t.Error("opened with another key")
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := one.Vault.Open("registry:1", changed); err == nil {
			t.Fatalf("opened with byte %d changed", i)
		}
	}
	if text, err := one.Vault.Open("registry:1", one.Vault.Seal("registry:1", "")); err != nil || text != "" {
		t.Errorf("empty text: %q, %v", text, err)
	}
}
