package keys_test

import (
	"crypto/ed25519"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"fairlead.dev/controller/internal/keys"
	"fairlead.dev/shared/release"
)

func public(k *keys.Keys) ed25519.PublicKey { return ed25519.PublicKey(k.Release[ed25519.SeedSize:]) }

// TestReleaseKeysFollowEachOther: who trusts the first comes to trust every
// later one, and nobody comes back to an earlier one.
func TestReleaseKeysFollowEachOther(t *testing.T) {
	dir := t.TempDir()
	first, err := keys.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := keys.RotateRelease(dir); err != nil {
			t.Fatal(err)
		}
	}
	third, err := keys.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if public(third).Equal(public(first)) || len(third.ReleaseChain) != 3 {
		t.Fatalf("%d keys, and the present one is the first: %t", len(third.ReleaseChain), public(third).Equal(public(first)))
	}
	trusted := release.Follow([]ed25519.PublicKey{public(first)}, third.ReleaseChain)
	if len(trusted) != 3 || !trusted[2].Equal(public(third)) {
		t.Errorf("who trusts the first trusts %d", len(trusted))
	}
	if back := release.Follow([]ed25519.PublicKey{public(third)}, third.ReleaseChain); len(back) != 1 {
		t.Errorf("who trusts the last trusts %d", len(back))
	}
}

// TestAReplacementThatWasCutShort leaves the present key in use.
func TestAReplacementThatWasCutShort(t *testing.T) {
	dir := t.TempDir()
	first, err := keys.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "release.key")
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.RotateRelease(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, before, 0o600); err != nil { // the list was written, the key was not
		t.Fatal(err)
	}
	again, err := keys.Open(dir)
	if err != nil || !public(again).Equal(public(first)) || len(again.ReleaseChain) != 1 {
		t.Fatalf("%v", err)
	}
	if _, err := keys.RotateRelease(dir); err != nil {
		t.Fatal(err)
	}
	if later, err := keys.Open(dir); err != nil || len(later.ReleaseChain) != 2 {
		t.Errorf("%v", err)
	}

	text, err := json.Marshal([]map[string][]byte{{"key": make([]byte, ed25519.PublicKeySize)}})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "release-keys.json"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Open(dir); err == nil {
		t.Error("a list of another installation's keys was taken")
	}
}
