// Package release is about what a controller's release keys sign: the builds of
// agents, and the release keys that follow them.
package release

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/mod/semver"

	"fairlead.dev/shared/apperr"
)

// Artifact is a build of an agent as a controller serves it.
type Artifact struct {
	// Path is where it is served, Version what it is.
	Path    string
	Version string
	// SHA256 is its digest in hex, Size its length in bytes.
	SHA256 string
	Size   int64
}

// Statement is the text that a signature of the artifact covers, so that no
// signature can be moved to another path or version.
func (a Artifact) Statement() []byte {
	return fmt.Appendf(nil, "fairlead artifact v1\npath %s\nversion %s\nsha256 %s\nsize %d\n", a.Path, a.Version, a.SHA256, a.Size)
}

// Sign signs the artifact.
func (a Artifact) Sign(key ed25519.PrivateKey) []byte { return ed25519.Sign(key, a.Statement()) }

// Verify fails with Forbidden unless one of the keys signed the artifact.
func (a Artifact) Verify(signature []byte, keys []ed25519.PublicKey) error {
	// The statement has a line for each field: none may bring lines of its own.
	if strings.ContainsAny(a.Path+a.Version+a.SHA256, "\n\r") {
		return apperr.New(apperr.Invalid, "the artifact's path, version and digest must be one line each")
	}
	for _, key := range keys {
		if ed25519.Verify(key, a.Statement(), signature) {
			return nil
		}
	}
	return apperr.New(apperr.Forbidden, "the signature of version %s is by none of the %d release keys that are trusted here; "+
		"where the controller's release key was replaced, make a new install script for the node and run it there", a.Version, len(keys))
}

// Older reports whether version is older than the present one. Two that cannot
// be compared, since one is no version as semver.org has it, count as older
// unless they are the same.
func Older(version, present string) bool {
	if version == present {
		return false
	}
	v, p := "v"+version, "v"+present
	return !semver.IsValid(v) || !semver.IsValid(p) || semver.Compare(v, p) < 0
}

// Key is a release key, signed by the one before it.
type Key struct {
	Public ed25519.PublicKey
	// Signature is empty for the first key.
	Signature []byte
}

// KeyStatement is the text by which a release key names the next one.
func KeyStatement(next ed25519.PublicKey) []byte {
	return fmt.Appendf(nil, "fairlead release key v1\nkey %s\n", base64.StdEncoding.EncodeToString(next))
}

// Follow returns the keys that are trusted, and those of the list that a
// trusted one signed, in whatever order they come.
func Follow(trusted []ed25519.PublicKey, list []Key) []ed25519.PublicKey {
	all := append([]ed25519.PublicKey(nil), trusted...)
	for grew := true; grew; {
		grew = false
		for _, next := range list {
			if len(next.Public) == ed25519.PublicKeySize && !has(all, next.Public) && signedByAny(all, next) {
				all, grew = append(all, next.Public), true
			}
		}
	}
	return all
}

func signedByAny(keys []ed25519.PublicKey, next Key) bool {
	for _, key := range keys {
		if ed25519.Verify(key, KeyStatement(next.Public), next.Signature) {
			return true
		}
	}
	return false
}

func has(keys []ed25519.PublicKey, key ed25519.PublicKey) bool {
	for _, k := range keys {
		if k.Equal(key) {
			return true
		}
	}
	return false
}

// EncodeKeys writes public keys as text, one a line, base64.
func EncodeKeys(keys []ed25519.PublicKey) []byte {
	var b []byte
	for _, key := range keys {
		b = append(base64.StdEncoding.AppendEncode(b, key), '\n')
	}
	return b
}

// DecodeKeys reads what EncodeKeys wrote. Invalid when a line is no key.
func DecodeKeys(text []byte) (keys []ed25519.PublicKey, err error) {
	for line := range strings.FieldsSeq(string(text)) {
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(key) != ed25519.PublicKeySize {
			return nil, apperr.New(apperr.Invalid, "%.60q is not a release key: %d bytes in base64", line, ed25519.PublicKeySize)
		}
		keys = append(keys, key)
	}
	return keys, nil
}
