package token

import (
	"context"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/naming"
	"fairlead.dev/shared/apperr"
)

// Service lets people manage their personal access tokens. Nobody sees or
// touches another's.
type Service struct {
	store  Store
	issuer *Issuer
	audit  *audit.Log
}

// NewService returns the service.
func NewService(store Store, issuer *Issuer, log *audit.Log) *Service {
	return &Service{store: store, issuer: issuer, audit: log}
}

// Create issues a personal token that expires after the days given, or never
// for 0. The second result is the token, shown this once. Errors: Invalid,
// Conflict when the caller already has a token of that name.
func (s *Service) Create(ctx context.Context, name string, days int) (Token, string, error) {
	who, err := authz.RequireSelf(ctx, authz.TokenCreate)
	if err != nil {
		return Token{}, "", err
	}
	if name, err = naming.Check(name, 1); err != nil {
		return Token{}, "", err
	}
	if days < 0 || days > MaxLifetimeInDays {
		return Token{}, "", apperr.InvalidField("expirationInDays", days, "must be 0 (never) to %d", MaxLifetimeInDays)
	}
	var t Token
	var secret string
	err = s.store.InTx(ctx, func(ctx context.Context) error {
		t, secret, err = s.issuer.Issue(ctx, who.ID, Personal, name, time.Duration(days)*24*time.Hour)
		if err != nil {
			return err
		}
		return s.audit.Record(ctx, authz.TokenCreate, map[string]any{"id": t.ID, "name": t.Name})
	})
	return t, secret, err
}

// List returns the caller's personal tokens.
func (s *Service) List(ctx context.Context) ([]Token, error) {
	who, err := authz.RequireSelf(ctx, authz.TokenRead)
	if err != nil {
		return nil, err
	}
	return s.store.ListTokens(ctx, who.ID, Personal)
}

// Get returns one of the caller's personal tokens; NotFound for any other.
func (s *Service) Get(ctx context.Context, id uuid.UUID) (Token, error) {
	who, err := authz.RequireSelf(ctx, authz.TokenRead)
	if err != nil {
		return Token{}, err
	}
	t, err := s.store.FindToken(ctx, id)
	if err != nil && !apperr.Is(err, apperr.NotFound) {
		return Token{}, err
	}
	if err != nil || t.UserID != who.ID || t.Kind != Personal {
		return Token{}, apperr.New(apperr.NotFound, "no such token").WithField("tokenId", id)
	}
	return t, nil
}

// Delete revokes one of the caller's personal tokens at once.
func (s *Service) Delete(ctx context.Context, id uuid.UUID) error {
	if _, err := authz.RequireSelf(ctx, authz.TokenDelete); err != nil {
		return err
	}
	t, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	return s.store.InTx(ctx, func(ctx context.Context) error {
		if err := s.store.DeleteToken(ctx, id); err != nil {
			return err
		}
		return s.audit.Record(ctx, authz.TokenDelete, map[string]any{"id": id, "name": t.Name})
	})
}
