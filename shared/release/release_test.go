package release_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/release"
)

func newKey(t *testing.T) (ed25519.PublicKey, ed25519.PrivateKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return public, private
}

func TestASignatureIsOfOneArtifactOnly(t *testing.T) {
	public, private := newKey(t)
	other, _ := newKey(t)
	artifact := release.Artifact{Path: "/artifacts/dagent/1.2.0/linux-amd64.tar", Version: "1.2.0", SHA256: "ab", Size: 7}
	signature := artifact.Sign(private)
	if err := artifact.Verify(signature, []ed25519.PublicKey{other, public}); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*release.Artifact)
		keys   []ed25519.PublicKey
		kind   apperr.Kind
	}{
		"another path":    {func(a *release.Artifact) { a.Path += "x" }, []ed25519.PublicKey{public}, apperr.Forbidden},
		"another version": {func(a *release.Artifact) { a.Version = "1.3.0" }, []ed25519.PublicKey{public}, apperr.Forbidden},
		"another digest":  {func(a *release.Artifact) { a.SHA256 = "cd" }, []ed25519.PublicKey{public}, apperr.Forbidden},
		"another size":    {func(a *release.Artifact) { a.Size++ }, []ed25519.PublicKey{public}, apperr.Forbidden},
		"another key":     {func(*release.Artifact) {}, []ed25519.PublicKey{other}, apperr.Forbidden},
		"no key":          {func(*release.Artifact) {}, nil, apperr.Forbidden},
		"a line too many": {func(a *release.Artifact) { a.Version = "1\nsha256 cd" }, []ed25519.PublicKey{public}, apperr.Invalid},
	} {
		changed := artifact
		test.change(&changed)
		if err := changed.Verify(signature, test.keys); !apperr.Is(err, test.kind) {
			t.Errorf("%s: %v, want %s", name, err, test.kind)
		}
	}
}

// TestEveryByteCounts: one bit of any byte of what is signed, of its signature or
// of the key makes it somebody else's.
func TestEveryByteCounts(t *testing.T) {
	public, private := newKey(t)
	text := []byte("an archive\n")
	artifact := func(content []byte) release.Artifact {
		return release.Artifact{Path: "/artifacts/dagent/1.2.0/linux-amd64.tar", Version: "1.2.0", SHA256: fmt.Sprintf("%x", sha256.Sum256(content)), Size: int64(len(content))}
	}
	signature := artifact(text).Sign(private)
	verify := func(content, signature []byte, key ed25519.PublicKey) error {
		return artifact(content).Verify(signature, []ed25519.PublicKey{key})
	}
	if err := verify(text, signature, public); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		of    []byte
		taken func(changed []byte) error
	}{
		"the artifact":  {text, func(changed []byte) error { return verify(changed, signature, public) }},
		"the signature": {signature, func(changed []byte) error { return verify(text, changed, public) }},
		"the key":       {public, func(changed []byte) error { return verify(text, signature, changed) }},
		"the digest": {[]byte(artifact(text).SHA256), func(changed []byte) error {
			other := artifact(text)
			other.SHA256 = string(changed)
			return other.Verify(signature, []ed25519.PublicKey{public})
		}},
		"the path": {[]byte(artifact(text).Path), func(changed []byte) error {
			other := artifact(text)
			other.Path = string(changed)
			return other.Verify(signature, []ed25519.PublicKey{public})
		}},
	} {
		for bit := range len(c.of) * 8 {
			changed := bytes.Clone(c.of)
			changed[bit/8] ^= 1 << (bit % 8)
			if c.taken(changed) == nil {
				t.Errorf("%s is taken with bit %d of byte %d changed", name, bit%8, bit/8)
			}
		}
		if name == "the key" {
			continue // one of another length is no key: DecodeKeys refuses it
		}
		for length := range len(c.of) {
			if c.taken(c.of[:length]) == nil {
				t.Errorf("the first %d bytes of %s are taken", length, name)
			}
		}
	}
}

func TestOlder(t *testing.T) {
	for _, c := range []struct {
		version, present string
		older            bool
	}{
		{"1.2.0", "1.2.0", false},
		{"1.10.0", "1.9.0", false},
		{"1.9.0", "1.10.0", true},
		{"1.2.0-rc.1", "1.2.0", true},
		{"1.2.0", "1.2.0-rc.1", false},
		{"dev", "1.0.0", true},
		{"2.0.0", "dev", true},
		{"dev", "dev", false},
		{"0.0.0-dev", "0.0.0-dev", false},
	} {
		if got := release.Older(c.version, c.present); got != c.older {
			t.Errorf("Older(%s, %s) = %t", c.version, c.present, got)
		}
	}
}

func TestKeysAreFollowedByTheirSignatures(t *testing.T) {
	first, firstPrivate := newKey(t)
	second, secondPrivate := newKey(t)
	third, _ := newKey(t)
	stranger, strangerPrivate := newKey(t)
	chain := []release.Key{
		{Public: third, Signature: ed25519.Sign(secondPrivate, release.KeyStatement(third))},
		{Public: first},
		{Public: second, Signature: ed25519.Sign(firstPrivate, release.KeyStatement(second))},
		{Public: stranger, Signature: ed25519.Sign(strangerPrivate, release.KeyStatement(stranger))},
		{Public: ed25519.PublicKey{1}, Signature: []byte{1}},
	}
	for name, test := range map[string]struct{ trusted, want []ed25519.PublicKey }{
		"from the first":  {[]ed25519.PublicKey{first}, []ed25519.PublicKey{first, second, third}},
		"from the second": {[]ed25519.PublicKey{second}, []ed25519.PublicKey{second, third}},
		"from none":       {nil, nil},
	} {
		got := release.Follow(test.trusted, chain)
		if !slices.EqualFunc(got, test.want, func(a, b ed25519.PublicKey) bool { return a.Equal(b) }) {
			t.Errorf("%s: %d keys, want %d", name, len(got), len(test.want))
		}
	}
	text := release.EncodeKeys([]ed25519.PublicKey{first, second})
	if keys, err := release.DecodeKeys(text); err != nil || len(keys) != 2 || !keys[1].Equal(second) {
		t.Errorf("read back %v, %v", keys, err)
	}
	if _, err := release.DecodeKeys([]byte("bm8=\n")); !apperr.Is(err, apperr.Invalid) {
		t.Errorf("three letters: %v", err)
	}
}
