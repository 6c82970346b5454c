package user

import (
	"fmt"

	"github.com/alexedwards/argon2id"
)

// Argon2 hashes passwords with argon2id (RFC 9106), memory 64 MiB. Slots bounds
// how many hash at once, so that log-ins can't use up the machine's memory.
type Argon2 struct {
	params argon2id.Params
	slots  chan struct{}
}

// NewArgon2 returns a hasher that computes at most n hashes at once.
func NewArgon2(n int) *Argon2 {
	return &Argon2{
		params: argon2id.Params{Memory: 64 << 10, Iterations: 1, Parallelism: 2, SaltLength: 16, KeyLength: 32},
		slots:  make(chan struct{}, n),
	}
}

// Hash returns the encoded hash of a password under a new salt.
func (a *Argon2) Hash(password string) (string, error) {
	a.slots <- struct{}{}
	defer func() { <-a.slots }()
	hash, err := argon2id.CreateHash(password, &a.params)
	if err != nil {
		return "", fmt.Errorf("hash the password: %w", err)
	}
	return hash, nil
}

// Matches reports whether the password is the one that was hashed.
func (a *Argon2) Matches(password, hash string) (bool, error) {
	a.slots <- struct{}{}
	defer func() { <-a.slots }()
	matches, err := argon2id.ComparePasswordAndHash(password, hash)
	if err != nil {
		return false, fmt.Errorf("check the password: %w", err)
	}
	return matches, nil
}
