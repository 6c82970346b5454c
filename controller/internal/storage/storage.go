// Package storage is about the buckets that volumes of containers are filled
// from, and the keys that open them.
package storage

import (
	"context"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/naming"
	"fairlead.dev/shared/apperr"
)

// Limits on what a storage says about itself.
const (
	maxDescriptionLength = 1000
	maxIconLength        = 100
	maxURLLength         = 2048
	maxKeyLength         = 1024
)

// Storage is one storage of a team.
type Storage struct {
	ID          uuid.UUID
	TeamID      uuid.UUID
	Name        string
	Description string
	Icon        string
	// URL of the S3-compatible service; https when it names no scheme.
	URL string
	// SealedAccessKey and SealedSecretKey are as the vault sealed them; both
	// are empty when the storage needs none.
	SealedAccessKey []byte
	SealedSecretKey []byte
	// InUse reports whether a configuration of an image or an instance refers
	// to the storage.
	InUse     bool
	CreatedAt time.Time
	CreatedBy string
	UpdatedAt time.Time
	UpdatedBy string
}

// Write is what a caller may set of a storage.
type Write struct {
	Name        string
	Description string
	Icon        string
	URL         string
	// Keys replaces the keys; nil keeps the ones there are.
	Keys *Keys
}

// Keys open a bucket; both empty means none.
type Keys struct {
	Access string
	Secret string
}

// Store keeps storages; it joins the transaction in ctx. The Find and Lock
// methods return NotFound errors; inserts and updates Conflicts on the name.
type Store interface {
	Holder
	InTx(ctx context.Context, fn func(ctx context.Context) error) error
	InsertStorage(ctx context.Context, s Storage) error
	UpdateStorage(ctx context.Context, s Storage) error
	DeleteStorage(ctx context.Context, teamID, id uuid.UUID) error
	FindStorage(ctx context.Context, teamID, id uuid.UUID) (Storage, error)
	// FindStorageOfAnyTeam does not look for uses.
	FindStorageOfAnyTeam(ctx context.Context, id uuid.UUID) (Storage, error)
	// LockStorage is FindStorage that keeps others from changing the storage,
	// and from beginning to use it, until the transaction ends.
	LockStorage(ctx context.Context, teamID, id uuid.UUID) (Storage, error)
	ListStorages(ctx context.Context, teamID uuid.UUID) ([]Storage, error)
}

// Vault keeps keys unreadable for whoever reads the database.
type Vault interface {
	Seal(purpose, text string) []byte
	Open(purpose string, sealed []byte) (string, error)
}

// Service manages storages.
type Service struct {
	store Store
	vault Vault
	audit *audit.Log
	now   func() time.Time
}

// New returns the service.
func New(store Store, vault Vault, log *audit.Log, now func() time.Time) *Service {
	return &Service{store: store, vault: vault, audit: log, now: now}
}

// normalize checks w and returns it in the form it is stored in.
func (w Write) normalize() (Write, error) {
	var err error
	if w.Name, err = naming.Check(w.Name, 1); err != nil {
		return w, err
	}
	w.URL = strings.TrimSpace(w.URL)
	if len([]rune(w.Description)) > maxDescriptionLength {
		return w, apperr.InvalidField("description", nil, "must be at most %d characters", maxDescriptionLength)
	}
	if len(w.Icon) > maxIconLength {
		return w, apperr.InvalidField("icon", nil, "must be at most %d bytes", maxIconLength)
	}
	if w.Keys != nil {
		switch {
		case (w.Keys.Access == "") != (w.Keys.Secret == ""):
			return w, apperr.InvalidField("secretKey", nil, "give both accessKey and secretKey, or neither")
		case len(w.Keys.Access) > maxKeyLength:
			return w, apperr.InvalidField("accessKey", nil, "must be at most %d bytes", maxKeyLength)
		case len(w.Keys.Secret) > maxKeyLength:
			return w, apperr.InvalidField("secretKey", nil, "must be at most %d bytes", maxKeyLength)
		}
	}
	_, err = host(w.URL)
	return w, err
}

// host returns scheme and host of a storage's URL.
func host(text string) (string, error) {
	u, err := url.Parse(withScheme(text))
	if len(text) > maxURLLength || err != nil || u.Hostname() == "" || !isPort(u.Port()) || u.Scheme != "https" && u.Scheme != "http" ||
		u.RawQuery != "" || u.Fragment != "" || strings.ContainsFunc(text, unicode.IsSpace) {
		return "", apperr.InvalidField("url", nil, "must be [https://]host[:port][/path], or the same with http")
	}
	if u.User != nil {
		return "", apperr.InvalidField("url", nil, "must not hold credentials; give accessKey and secretKey")
	}
	return u.Scheme + "://" + strings.ToLower(u.Host), nil
}

// isPort tells whether a URL may have this port; "" is its scheme's own.
func isPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return text == "" || err == nil && port > 0
}

func withScheme(text string) string {
	if strings.Contains(text, "://") {
		return text
	}
	return "https://" + text
}
