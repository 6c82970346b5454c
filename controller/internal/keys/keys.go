// Package keys holds the controller's own keys: files in its state directory,
// made on first use, never in the database.
package keys

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"fairlead.dev/shared/release"
)

// Keys are the private keys of one controller installation.
type Keys struct {
	// Token signs API and session tokens.
	Token ed25519.PrivateKey
	// Release signs install scripts and the artifacts they download.
	Release ed25519.PrivateKey
	// ReleaseChain are the release keys that were before, and this one.
	ReleaseChain []release.Key
	// Roots sign agents' and the controller's certificates.
	Roots *Roots
	// Vault encrypts at rest what the controller itself must read.
	Vault *Vault
}

// Open reads the keys in dir, making dir and those that are missing. Files are
// readable by their owner only; a file that cannot be parsed is an error and
// is never replaced.
func Open(dir string) (*Keys, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the key folder: %w", err)
	}
	var k Keys
	var err error
	if k.Token, err = signingKey(filepath.Join(dir, "token.key")); err != nil {
		return nil, err
	}
	if k.Release, k.ReleaseChain, err = openRelease(dir); err != nil {
		return nil, err
	}
	if k.Vault, err = openVault(filepath.Join(dir, "vault.key")); err != nil {
		return nil, err
	}
	if k.Roots, err = openRoots(dir, time.Now); err != nil {
		return nil, err
	}
	return &k, nil
}

func signingKey(path string) (ed25519.PrivateKey, error) {
	key, err := privateKey(path, func() (crypto.Signer, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	})
	if err != nil {
		return nil, err
	}
	signing, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("key file %s: want an Ed25519 key, found %T", path, key)
	}
	return signing, nil
}

// privateKey reads a PKCS#8 PEM file, or makes the key and the file.
func privateKey(path string, generate func() (crypto.Signer, error)) (crypto.Signer, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := generate()
		if err != nil {
			return nil, fmt.Errorf("make key %s: %w", path, err)
		}
		return key, writeKey(path, key)
	}
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("key file %s: no PEM block", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("key file %s: %T cannot sign", path, key)
	}
	return signer, nil
}

// writeKey writes a private key as PKCS#8.
func writeKey(path string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode key %s: %w", path, err)
	}
	return writePEM(path, "PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	return writeFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// keepOwner gives a file that root writes to the owner of its folder: the
// controller reads it, whoever took the step on the command line.
func keepOwner(file *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(filepath.Dir(file.Name()))
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return nil
	}
	return file.Chown(int(owner.Uid), int(owner.Gid))
}

// writeFile writes a new file whole or not at all: a key half written before a
// crash would lock the installation out of its own data.
func writeFile(path string, content []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() { _ = os.Remove(temp.Name()) }() // fails after the rename, as it should
	_, err = temp.Write(content)
	err = errors.Join(err, temp.Chmod(0o600), keepOwner(temp), temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
