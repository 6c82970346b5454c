// Package seal keeps values for one reader: whoever knows the reader's public
// key can seal, only the reader can open. Keys and sealed values are those of
// age (https://age-encryption.org/v1), X25519, so that values can be sealed with
// age's own program as well:
//
//	printf %s "$VALUE" | age -r "$PUBLIC_KEY" | base64 -w0
package seal

import (
	"bytes"
	"encoding/base64"
	"io"
	"strings"

	"filippo.io/age"

	"fairlead.dev/shared/apperr"
)

// MaxBytes bounds a value that is sealed or opened.
const MaxBytes = 32 << 10

// overhead is more than sealing for one reader adds.
const overhead = 1 << 10

// Key opens what was sealed to its public key.
type Key struct{ identity *age.X25519Identity }

// NewKey returns a new key.
func NewKey() (Key, error) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return Key{}, apperr.Wrap(apperr.Internal, err, "make a key to open secrets with")
	}
	return Key{identity}, nil
}

// ParseKey reads what Key.Private returned. Its errors do not hold the text.
func ParseKey(text string) (Key, error) {
	identity, err := age.ParseX25519Identity(strings.TrimSpace(text))
	if err != nil {
		return Key{}, apperr.New(apperr.Invalid, "the key to open secrets with cannot be read")
	}
	return Key{identity}, nil
}

// Private returns the key itself, for the file it is kept in.
func (k Key) Private() string { return k.identity.String() }

// Public returns what values are sealed to, "age1…".
func (k Key) Public() string { return k.identity.Recipient().String() }

// CheckPublic returns an Invalid error for what is no public key.
func CheckPublic(public string) error {
	if _, err := age.ParseX25519Recipient(public); err != nil {
		return apperr.New(apperr.Invalid, "%.100q is no public key of the form age1…", public)
	}
	return nil
}

// Seal returns a value that only the holder of the public key can open, in
// base64. Errors: Invalid for a wrong key or a value that is too long.
func Seal(public, value string) (string, error) {
	if len(value) > MaxBytes {
		return "", apperr.New(apperr.Invalid, "a secret value has at most %d bytes", MaxBytes)
	}
	if err := CheckPublic(public); err != nil {
		return "", err
	}
	recipient, err := age.ParseX25519Recipient(public)
	if err != nil {
		return "", apperr.Wrap(apperr.Invalid, err, "seal a value")
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, recipient)
	if err == nil {
		_, err = io.WriteString(w, value)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return "", apperr.Wrap(apperr.Internal, err, "seal a value")
	}
	return base64.StdEncoding.EncodeToString(sealed.Bytes()), nil
}

// Check returns an Invalid error for what cannot be a sealed value, without
// being able to open it.
func Check(sealed string) error {
	_, err := decode(sealed)
	return err
}

func decode(sealed string) ([]byte, error) {
	if len(sealed) > base64.StdEncoding.EncodedLen(MaxBytes+overhead) {
		return nil, apperr.New(apperr.Invalid, "a sealed value has at most %d bytes", MaxBytes+overhead)
	}
	raw, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil || !bytes.HasPrefix(raw, []byte("age-encryption.org/v1\n")) {
		return nil, apperr.New(apperr.Invalid, "is not a sealed value: want an age file in base64")
	}
	return raw, nil
}

// Open returns the value. Errors: Invalid for what is no sealed value;
// Precondition when it was sealed to another key, or changed on its way.
func (k Key) Open(sealed string) (string, error) {
	raw, err := decode(sealed)
	if err != nil {
		return "", err
	}
	const refused = "the value was not sealed to this node's key, or was changed; enter it again"
	r, err := age.Decrypt(bytes.NewReader(raw), k.identity)
	if err != nil {
		return "", apperr.New(apperr.Precondition, refused)
	}
	value, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err != nil || len(value) > MaxBytes {
		return "", apperr.New(apperr.Precondition, refused)
	}
	return string(value), nil
}
