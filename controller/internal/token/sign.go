package token

import (
	"crypto/subtle"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"fairlead.dev/shared/apperr"
)

// Claims are what a signed token says of itself.
type Claims struct {
	ID uuid.UUID
	// Subject is the user or the deployment that it stands for.
	Subject  uuid.UUID
	Kind     Kind
	IssuedAt time.Time
	// ExpiresAt is the zero time for a token that does not expire.
	ExpiresAt time.Time
}

// Sign returns a token that makes the claims, and the hash to keep of it.
func (i *Issuer) Sign(c Claims) (signed string, hash []byte, err error) {
	claims := jwt.RegisteredClaims{
		Issuer:   i.issuer,
		Subject:  c.Subject.String(),
		Audience: jwt.ClaimStrings{string(c.Kind)},
		ID:       c.ID.String(),
		IssuedAt: jwt.NewNumericDate(c.IssuedAt),
	}
	if !c.ExpiresAt.IsZero() {
		claims.ExpiresAt = jwt.NewNumericDate(c.ExpiresAt)
	}
	unsigned := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	unsigned.Header["kid"] = i.keyID
	if signed, err = unsigned.SignedString(i.key); err != nil {
		return "", nil, err
	}
	return signed, Hash(signed), nil
}

// Read returns id and kind of a presented token that this issuer signed and
// that has not expired; Refused for any other. Whether it was revoked is known
// to whoever keeps its hash.
func (i *Issuer) Read(presented string) (Claims, error) {
	if len(presented) > maxTokenLength {
		return Claims{}, Refused()
	}
	var claims jwt.RegisteredClaims
	_, err := jwt.ParseWithClaims(presented, &claims,
		func(*jwt.Token) (any, error) { return i.key.Public(), nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
		jwt.WithIssuer(i.issuer),
		jwt.WithTimeFunc(i.now))
	if err != nil {
		return Claims{}, Refused()
	}
	id, err := uuid.Parse(claims.ID)
	if err != nil || len(claims.Audience) != 1 {
		return Claims{}, Refused()
	}
	return Claims{ID: id, Kind: Kind(claims.Audience[0])}, nil
}

// Refused is the one error for anything that is wrong with a token.
func Refused() error {
	return apperr.New(apperr.Unauthenticated, "the token is not valid, has expired or was revoked")
}

// Matches reports whether a hash is the one of a presented token.
func Matches(hash []byte, presented string) bool {
	return subtle.ConstantTimeCompare(hash, Hash(presented)) == 1
}
