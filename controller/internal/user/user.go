// Package user is about people: their accounts, passwords and sessions.
package user

import (
	"context"
	"net/mail"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/token"
	"fairlead.dev/shared/apperr"
)

// Limits on accounts. Passwords follow NIST SP 800-63B: long enough, no rules
// of composition, bounded so that hashing them is.
const (
	MinPasswordLength = 10
	MaxPasswordLength = 256
	maxEmailLength    = 254
)

// User is a person with an account.
type User struct {
	ID           uuid.UUID
	Email        string
	Name         string
	PasswordHash string
	// Admin is the administrator of the installation.
	Admin       bool
	CreatedAt   time.Time
	LastLoginAt time.Time
}

// Store keeps users; it joins the transaction in ctx. The Find methods return
// NotFound errors; InsertUser a Conflict on the e-mail address.
type Store interface {
	InTx(ctx context.Context, fn func(ctx context.Context) error) error
	InsertUser(ctx context.Context, u User) error
	FindUser(ctx context.Context, id uuid.UUID) (User, error)
	FindUserByEmail(ctx context.Context, email string) (User, error)
	TouchLogin(ctx context.Context, id uuid.UUID, at time.Time) error
	// LockFirstUser makes concurrent registrations take turns until the
	// transaction ends, and reports whether there is no user yet.
	LockFirstUser(ctx context.Context) (empty bool, err error)
	// FindOpenInvitation locks the invitation that is for the address and has
	// the token, while it is pending and nobody's yet, and returns its id.
	FindOpenInvitation(ctx context.Context, email string, tokenHash []byte, now time.Time) (uuid.UUID, error)
	// BindInvitation makes an invitation a user's to answer.
	BindInvitation(ctx context.Context, id, userID uuid.UUID) error
}

// Hasher hashes and checks passwords.
type Hasher interface {
	Hash(password string) (string, error)
	Matches(password, hash string) (bool, error)
}

// Config is what a Service needs.
type Config struct {
	Store  Store
	Tokens TokenStore
	Issuer *token.Issuer
	Hasher Hasher
	Audit  *audit.Log
	Now    func() time.Time
	// SetupToken must accompany the registration of the first user.
	SetupToken string
	// OpenRegistration lets anybody register after the first user.
	OpenRegistration bool
}

// TokenStore is the part of the token store that ends sessions.
type TokenStore interface {
	DeleteToken(ctx context.Context, id uuid.UUID) error
}

// Service registers people and logs them in and out.
type Service struct{ Config }

// New returns the service.
func New(c Config) *Service { return &Service{c} }

// NormalEmail returns an e-mail address as accounts hold it: alone and in lower
// case. An Invalid error on the field email for what is no address.
func NormalEmail(email string) (string, error) {
	address, err := mail.ParseAddress(strings.TrimSpace(email))
	if err != nil || address.Name != "" || len(address.Address) > maxEmailLength || strings.ContainsAny(address.Address, "\r\n\x00") {
		return "", apperr.InvalidField("email", email, "must be an e-mail address")
	}
	return strings.ToLower(address.Address), nil
}

func validPassword(password string) error {
	if n := len(password); n < MinPasswordLength || n > MaxPasswordLength {
		return apperr.InvalidField("password", nil, "must be %d to %d characters", MinPasswordLength, MaxPasswordLength)
	}
	return nil
}
