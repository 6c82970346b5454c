package release

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"hash"
	"io"
	"strings"

	"golang.org/x/crypto/blake2b"
	"golang.org/x/crypto/ssh"

	"fairlead.dev/shared/apperr"
)

// What OpenSSH's signatures by release keys are for, and whose they are: the
// -n and -I of ssh-keygen -Y verify.
const (
	SSHNamespace = "fairlead-release"
	SSHIdentity  = "release@fairlead"
)

// Digests are what the tools of others sign of a file; written to like the
// file itself.
type Digests struct {
	io.Writer
	sha512, blake2b hash.Hash
}

// NewDigests begins the digests of a file.
func NewDigests() (*Digests, error) {
	b, err := blake2b.New512(nil)
	if err != nil {
		return nil, fmt.Errorf("make a BLAKE2b digest: %w", err)
	}
	d := &Digests{sha512: sha512.New(), blake2b: b}
	d.Writer = io.MultiWriter(d.sha512, d.blake2b)
	return d, nil
}

// DigestsOf returns the digests of content.
func DigestsOf(content []byte) (*Digests, error) {
	d, err := NewDigests()
	if err == nil {
		_, err = d.Write(content)
	}
	return d, err
}

// SignSSH returns a signature that `ssh-keygen -Y verify` of OpenSSH takes:
// PROTOCOL.sshsig, version 1, over the file's SHA-512.
func SignSSH(key ed25519.PrivateKey, d *Digests) ([]byte, error) {
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, fmt.Errorf("sign for OpenSSH: %w", err)
	}
	const magic, hashName = "SSHSIG", "sha512"
	signed := append([]byte(magic), ssh.Marshal(struct {
		Namespace, Reserved, Hash string
		Digest                    []byte
	}{SSHNamespace, "", hashName, d.sha512.Sum(nil)})...)
	signature, err := signer.Sign(nil, signed)
	if err != nil {
		return nil, fmt.Errorf("sign for OpenSSH: %w", err)
	}
	blob := append([]byte(magic), ssh.Marshal(struct {
		Version                   uint32
		Key                       []byte
		Namespace, Reserved, Hash string
		Signature                 []byte
	}{1, signer.PublicKey().Marshal(), SSHNamespace, "", hashName, ssh.Marshal(signature)})...)
	return armour("SSH SIGNATURE", blob), nil
}

func armour(kind string, blob []byte) []byte {
	const columns = 70
	text := base64.StdEncoding.EncodeToString(blob)
	b := []byte("-----BEGIN " + kind + "-----\n")
	for len(text) > columns {
		b = append(append(b, text[:columns]...), '\n')
		text = text[columns:]
	}
	return append(append(b, text...), "\n-----END "+kind+"-----\n"...)
}

// AllowedSigners returns the keys as the file that ssh-keygen -Y verify takes
// with -f.
func AllowedSigners(keys []ed25519.PublicKey) ([]byte, error) {
	var b []byte
	for _, key := range keys {
		public, err := ssh.NewPublicKey(key)
		if err != nil {
			return nil, fmt.Errorf("write the release key for OpenSSH: %w", err)
		}
		b = fmt.Appendf(b, "%s namespaces=%q %s", SSHIdentity, SSHNamespace, ssh.MarshalAuthorizedKey(public))
	}
	return b, nil
}

// SignMinisign returns a signature that `minisign -V` takes, over the file's
// BLAKE2b. The comment, one line, is signed as well and shown by the tool.
func SignMinisign(key ed25519.PrivateKey, d *Digests, comment string) ([]byte, error) {
	if strings.ContainsAny(comment, "\n\r") {
		return nil, apperr.New(apperr.Invalid, "a minisign comment must be one line")
	}
	signature := ed25519.Sign(key, d.blake2b.Sum(nil))
	head := append([]byte("ED"), minisignID(publicOf(key))...)
	global := ed25519.Sign(key, append(append([]byte(nil), signature...), comment...))
	return fmt.Appendf(nil, "untrusted comment: signature by a release key of Fairlead\n%s\ntrusted comment: %s\n%s\n",
		base64.StdEncoding.EncodeToString(append(head, signature...)), comment, base64.StdEncoding.EncodeToString(global)), nil
}

// MinisignKey returns the key as the file that minisign takes with -p.
func MinisignKey(key ed25519.PublicKey) []byte {
	id := minisignID(key)
	return fmt.Appendf(nil, "untrusted comment: release key of Fairlead\n%s\n",
		base64.StdEncoding.EncodeToString(append(append([]byte("Ed"), id...), key...)))
}

// minisignID is the number that the tool tells keys apart by.
func minisignID(key ed25519.PublicKey) []byte {
	const length = 8
	sum := sha256.Sum256(key)
	return sum[:length]
}

func publicOf(key ed25519.PrivateKey) ed25519.PublicKey {
	return ed25519.PublicKey(key[ed25519.SeedSize:])
}
