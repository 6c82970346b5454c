// Package token issues and checks the tokens that people and their programs
// present. A token is a signed JWT (EdDSA) whose id must still be in the
// database; only its hash is kept there.
package token

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/shared/apperr"
)

// Kind is what a token is for; it is the token's audience as well, so that one
// kind can't pass for another.
type Kind string

// Kinds of tokens.
const (
	Session  Kind = "session"
	Personal Kind = "personal"
	// Deployment tokens start one deployment; package deploytoken keeps them.
	Deployment Kind = "deployment"
)

// Limits of tokens.
const (
	SessionLifetime   = 24 * time.Hour
	MaxLifetimeInDays = 3650
	maxTokenLength    = 4096
)

// Token is what is known of an issued token; never the token itself.
type Token struct {
	ID        uuid.UUID
	UserID    uuid.UUID
	Kind      Kind
	Name      string
	Hash      []byte
	CreatedAt time.Time
	// ExpiresAt is the zero time for a token that does not expire.
	ExpiresAt time.Time
}

// Store keeps tokens; it joins the transaction in ctx. FindToken and
// DeleteToken return NotFound errors.
type Store interface {
	InTx(ctx context.Context, fn func(ctx context.Context) error) error
	InsertToken(ctx context.Context, t Token) error
	FindToken(ctx context.Context, id uuid.UUID) (Token, error)
	ListTokens(ctx context.Context, userID uuid.UUID, kind Kind) ([]Token, error)
	DeleteToken(ctx context.Context, id uuid.UUID) error
}

// Issuer signs tokens and checks presented ones.
type Issuer struct {
	store  Store
	key    ed25519.PrivateKey
	keyID  string
	issuer string
	now    func() time.Time
}

// NewIssuer returns an issuer that signs with key and names itself issuer (the
// controller's public URL).
func NewIssuer(store Store, key ed25519.PrivateKey, issuer string, now func() time.Time) *Issuer {
	sum := sha256.Sum256(key.Public().(ed25519.PublicKey))
	return &Issuer{store: store, key: key, keyID: hex.EncodeToString(sum[:8]), issuer: issuer, now: now}
}

// Issue makes a token for a user and stores its hash; lifetime 0 means that it
// does not expire. It returns what is known of it and the token itself, which
// can't be had again.
func (i *Issuer) Issue(ctx context.Context, userID uuid.UUID, kind Kind, name string, lifetime time.Duration) (Token, string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Token{}, "", err
	}
	now := i.now()
	t := Token{ID: id, UserID: userID, Kind: kind, Name: name, CreatedAt: now}
	if lifetime > 0 {
		t.ExpiresAt = now.Add(lifetime)
	}
	signed, hash, err := i.Sign(Claims{ID: id, Subject: userID, Kind: kind, IssuedAt: now, ExpiresAt: t.ExpiresAt})
	if err != nil {
		return Token{}, "", err
	}
	t.Hash = hash
	if err := i.store.InsertToken(ctx, t); err != nil {
		return Token{}, "", err
	}
	return t, signed, nil
}

// Verify returns what is known of a presented session or personal token.
// Anything wrong with it is the same Unauthenticated error.
func (i *Issuer) Verify(ctx context.Context, presented string) (Token, error) {
	claims, err := i.Read(presented)
	if err != nil {
		return Token{}, err
	}
	if claims.Kind != Session && claims.Kind != Personal {
		return Token{}, Refused()
	}
	t, err := i.store.FindToken(ctx, claims.ID)
	switch {
	case apperr.Is(err, apperr.NotFound):
		return Token{}, Refused()
	case err != nil:
		return Token{}, err
	case claims.Kind != t.Kind, !Matches(t.Hash, presented),
		!t.ExpiresAt.IsZero() && !i.now().Before(t.ExpiresAt):
		return Token{}, Refused()
	}
	return t, nil
}

// Hash returns what is kept of a token.
func Hash(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}
