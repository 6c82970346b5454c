package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

const (
	vaultKeySize = 32
	vaultIDSize  = 4
)

// Vault seals small secrets with AES-256-GCM. Sealed text begins with the id of
// its key, so that keys can be rotated.
type Vault struct {
	id          [vaultIDSize]byte
	aead        cipher.AEAD
	fingerprint string
}

// Fingerprint returns what the key can be told from others by, and nothing
// else: the SHA-256, in hex, of a text that holds it.
func (v *Vault) Fingerprint() string { return v.fingerprint }

func openVault(path string) (*Vault, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key := make([]byte, vaultKeySize)
		_, _ = rand.Read(key) // documented never to fail
		if err := writePEM(path, "FAIRLEAD VAULT KEY", key); err != nil {
			return nil, err
		}
		return newVault(key)
	}
	if err != nil {
		return nil, fmt.Errorf("read vault key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil || len(block.Bytes) != vaultKeySize {
		return nil, fmt.Errorf("vault key %s: want one PEM block of %d bytes", path, vaultKeySize)
	}
	return newVault(block.Bytes)
}

func newVault(key []byte) (*Vault, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("vault key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("vault key: %w", err)
	}
	v := &Vault{aead: aead}
	sum := sha256.Sum256(key)
	copy(v.id[:], sum[:])
	mark := sha256.Sum256(append([]byte("fairlead vault key "), key...))
	v.fingerprint = hex.EncodeToString(mark[:])
	return v, nil
}

// Seal encrypts text for a purpose; Open needs the same purpose. Empty text
// seals to nothing.
func (v *Vault) Seal(purpose, text string) []byte {
	if text == "" {
		return []byte{}
	}
	//nolint:gosec // no nonce is given because this AEAD makes a random one itself
	return v.aead.Seal(append([]byte{}, v.id[:]...), nil, []byte(text), []byte(purpose))
}

// Open decrypts what Seal made. It fails when the key, the purpose or the text
// is another.
func (v *Vault) Open(purpose string, sealed []byte) (string, error) {
	if len(sealed) == 0 {
		return "", nil
	}
	if len(sealed) < vaultIDSize || [vaultIDSize]byte(sealed[:vaultIDSize]) != v.id {
		return "", fmt.Errorf("open %s: sealed with another key than the one in the state directory", purpose)
	}
	text, err := v.aead.Open(nil, nil, sealed[vaultIDSize:], []byte(purpose))
	if err != nil {
		return "", fmt.Errorf("open %s: %w", purpose, err)
	}
	return string(text), nil
}
