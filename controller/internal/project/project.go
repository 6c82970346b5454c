// Package project is about products to deploy.
package project

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/naming"
	"fairlead.dev/shared/apperr"
)

// Type says whether a project has versions of its own.
type Type string

// Types of projects.
const (
	// Versionless projects have one hidden rolling version.
	Versionless Type = "versionless"
	Versioned   Type = "versioned"
)

// HiddenVersion is the name of a versionless project's only version.
const HiddenVersion = "rolling"

// maxTextLength bounds descriptions and changelogs, in bytes.
const maxTextLength = 16 << 10

// Project is a product of a team.
type Project struct {
	ID          uuid.UUID
	TeamID      uuid.UUID
	Name        string
	Description string
	Type        Type
	// VersionCount counts the hidden version too.
	VersionCount int
	// Deletable reports that no node is asked to run any of it.
	Deletable bool
	CreatedAt time.Time
	CreatedBy string
	UpdatedAt time.Time
	UpdatedBy string
}

// Draft is what a caller may set of a project.
type Draft struct {
	Name        string
	Description string
	// Changelog is kept by the hidden version; only versionless projects have
	// one. Nil leaves it as it is.
	Changelog *string
}

// Store keeps projects; it joins the transaction in ctx. The Find and Lock
// methods return NotFound errors; inserts and updates Conflicts on the name.
type Store interface {
	InTx(ctx context.Context, fn func(ctx context.Context) error) error
	InsertProject(ctx context.Context, p Project) error
	// InsertHiddenVersion gives a versionless project its version.
	InsertHiddenVersion(ctx context.Context, p Project, id uuid.UUID, changelog string) error
	UpdateProject(ctx context.Context, p Project) error
	// UpdateHiddenChangelog writes the changelog of the hidden version.
	UpdateHiddenChangelog(ctx context.Context, p Project, changelog string) error
	// DeleteProject returns a Precondition error on the id while a node is
	// asked to run any of it.
	DeleteProject(ctx context.Context, teamID, id uuid.UUID) error
	// LockProject returns a project, and keeps others from changing it and the
	// list of its versions until the transaction ends.
	LockProject(ctx context.Context, teamID, id uuid.UUID) (Project, error)
	ListProjects(ctx context.Context, teamID uuid.UUID) ([]Project, error)
}

// Service manages projects.
type Service struct {
	store Store
	audit *audit.Log
	now   func() time.Time
}

// New returns the service.
func New(store Store, log *audit.Log, now func() time.Time) *Service {
	return &Service{store: store, audit: log, now: now}
}

// CheckText checks a description or a changelog.
func CheckText(field, text string) error {
	if len(text) > maxTextLength || strings.ContainsRune(text, 0) {
		return apperr.InvalidField(field, nil, "must be text of at most %d bytes", maxTextLength)
	}
	return nil
}

func (d Draft) normalize() (Draft, error) {
	var err error
	if d.Name, err = naming.Check(d.Name, 1); err != nil {
		return d, err
	}
	if err := CheckText("description", d.Description); err != nil {
		return d, err
	}
	if d.Changelog == nil {
		return d, nil
	}
	return d, CheckText("changelog", *d.Changelog)
}
