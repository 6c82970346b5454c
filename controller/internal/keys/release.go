package keys

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/release"
)

const (
	fileRelease = "release.key"
	// fileReleaseChain has every release key there was and the signatures by
	// which each named the next; there is none before the first replacement.
	fileReleaseChain = "release-keys.json"
)

// releaseEntry is a release key in the chain's file.
type releaseEntry struct {
	Key       []byte `json:"key"`
	Signature []byte `json:"signature,omitempty"`
}

// openRelease reads the release key and those before it, oldest first; the key
// itself is the last.
func openRelease(dir string) (ed25519.PrivateKey, []release.Key, error) {
	key, err := signingKey(filepath.Join(dir, fileRelease))
	if err != nil {
		return nil, nil, err
	}
	public := ed25519.PublicKey(key[ed25519.SeedSize:])
	path := filepath.Join(dir, fileReleaseChain)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return key, []release.Key{{Public: public}}, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the release keys: %w", err)
	}
	var entries []releaseEntry
	if err := json.Unmarshal(text, &entries); err != nil {
		return nil, nil, fmt.Errorf("key file %s: %w", path, err)
	}
	var chain []release.Key
	for _, e := range entries {
		chain = append(chain, release.Key{Public: e.Key, Signature: e.Signature})
		if public.Equal(ed25519.PublicKey(e.Key)) {
			return key, chain, nil // what follows is of a replacement that was cut short
		}
	}
	return nil, nil, apperr.New(apperr.Invalid, "%s does not name the key in %s: they are of different installations; restore both from one backup", path, fileRelease)
}

// RotateRelease makes another release key, which the present one signs. Agents
// that trust the present one follow; controllers use it once they were started
// again. A crash at any step leaves the present key in use.
func RotateRelease(dir string) (ed25519.PublicKey, error) {
	present, chain, err := openRelease(dir)
	if err != nil {
		return nil, err
	}
	public, next, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a release key: %w", err)
	}
	chain = append(chain, release.Key{Public: public, Signature: ed25519.Sign(present, release.KeyStatement(public))})
	entries := make([]releaseEntry, len(chain))
	for i, key := range chain {
		entries[i] = releaseEntry{Key: key.Public, Signature: key.Signature}
	}
	text, err := json.MarshalIndent(entries, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the release keys: %w", err)
	}
	if err := writeFile(filepath.Join(dir, fileReleaseChain), text); err != nil {
		return nil, err
	}
	return public, writeKey(filepath.Join(dir, fileRelease), next)
}
