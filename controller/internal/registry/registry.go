// Package registry is about where images come from: a team's registries and
// the credentials that open them.
package registry

import (
	"context"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/naming"
	"fairlead.dev/shared/apperr"
)

// Limits on what a registry says about itself.
const (
	maxDescriptionLength = 1000
	maxIconLength        = 100
)

// Registry is one registry of a team.
type Registry struct {
	ID          uuid.UUID
	TeamID      uuid.UUID
	Name        string
	Description string
	Icon        string
	Details     Details
	// Username is empty when the registry needs no login.
	Username string
	// SealedPassword is the password or token as the vault sealed it; empty
	// exactly when Username is.
	SealedPassword []byte
	// InUse reports whether an image refers to the registry.
	InUse     bool
	CreatedAt time.Time
	CreatedBy string
	UpdatedAt time.Time
	UpdatedBy string
}

// Write is what a caller may set of a registry.
type Write struct {
	Name        string
	Description string
	Icon        string
	Details     Details
	// Login replaces the credentials; nil keeps the ones there are.
	Login *Login
	// Known registries come with the program and are not asked.
	Known bool
}

// Login are credentials in the clear; both empty means none.
type Login struct {
	Username string
	Password string
}

// Store keeps registries; it joins the transaction in ctx. The Find methods
// return NotFound errors; inserts and updates Conflicts on the name.
type Store interface {
	InTx(ctx context.Context, fn func(ctx context.Context) error) error
	InsertRegistry(ctx context.Context, r Registry) error
	UpdateRegistry(ctx context.Context, r Registry) error
	// DeleteRegistry returns a Precondition error on the id while an image
	// refers to the registry, NotFound when the team has no such registry.
	DeleteRegistry(ctx context.Context, teamID, id uuid.UUID) error
	FindRegistry(ctx context.Context, teamID, id uuid.UUID) (Registry, error)
	// LockRegistry is FindRegistry that keeps others from changing the
	// registry until the transaction ends.
	LockRegistry(ctx context.Context, teamID, id uuid.UUID) (Registry, error)
	// FindRegistryOfAnyTeam is for work that no team's member asks for.
	FindRegistryOfAnyTeam(ctx context.Context, id uuid.UUID) (Registry, error)
	ListRegistries(ctx context.Context, teamID uuid.UUID) ([]Registry, error)
}

// Vault keeps passwords unreadable for whoever reads the database.
type Vault interface {
	Seal(purpose, text string) []byte
	Open(purpose string, sealed []byte) (string, error)
}

// Service manages registries.
type Service struct {
	store Store
	vault Vault
	audit *audit.Log
	now   func() time.Time
	// checker is nil where registries are not asked.
	checker Checker
	// browser is nil there, too; listings are what it said a moment ago.
	browser  Browser
	listings *listings
}

// New returns the service.
func New(store Store, vault Vault, log *audit.Log, now func() time.Time) *Service {
	return &Service{store: store, vault: vault, audit: log, now: now}
}

// normalize checks everything in w but the credentials, and returns it in the
// form it is stored in.
func (w Write) normalize() (Write, error) {
	var err error
	if w.Name, err = naming.Check(w.Name, 1); err != nil {
		return w, err
	}
	if len([]rune(w.Description)) > maxDescriptionLength {
		return w, apperr.InvalidField("description", nil, "must be at most %d characters", maxDescriptionLength)
	}
	if len(w.Icon) > maxIconLength {
		return w, apperr.InvalidField("icon", nil, "must be at most %d bytes", maxIconLength)
	}
	w.Details, err = w.Details.normalize()
	return w, err
}
