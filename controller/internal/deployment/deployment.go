// Package deployment places versions on nodes: deployments and their
// instances, the ledger of releases, and what each node should run.
//
// Everything that changes what a node should run locks the node first and the
// deployment second, so that starts, deletions and what agents report about one
// node happen one after another.
package deployment

import (
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

const maxNoteLength = 4000

// Version types, as far as deployments behave differently by them.
const rolling = "rolling"

// Ref names a row of another noun that a deployment hangs on.
type Ref struct {
	ID   uuid.UUID
	Name string
	// Type is the noun's own word, e.g. "rolling" of a version.
	Type string
}

// Deployment is a version placed on a node under a prefix.
type Deployment struct {
	ID      uuid.UUID
	TeamID  uuid.UUID
	Project Ref
	Version Ref
	Node    Ref
	Prefix  string
	Note    string
	State   State
	// Environment is the weakest: containers of all instances get it below
	// their own.
	Environment []spec.KeyValue
	// Policy says how a release takes over from the one before it.
	Policy spec.Policy
	// Tries is how many releases were started; the number of the latest.
	Tries     int64
	CreatedAt time.Time
	CreatedBy string
	UpdatedAt time.Time
	UpdatedBy string
}

// Instance is one image of a deployment: the image's configuration and what
// this deployment says otherwise.
type Instance struct {
	ID    uuid.UUID
	Image Image
	// Config is nil until the instance says something of its own.
	Config    *spec.Container
	UpdatedAt time.Time
}

// Image is the image an instance runs, as its version holds it.
type Image struct {
	ID       uuid.UUID
	Registry Ref
	Name     string
	Tag      string
	// Position is its place in the order of start.
	Position  int
	Config    spec.Container
	CreatedAt time.Time
}

// Source is what a deployment is made of: a version and its images.
type Source struct {
	Version  Ref
	Project  Ref
	ImageIDs []uuid.UUID
}

// Detail is a deployment with everything shown of it.
type Detail struct {
	Deployment
	Instances []Instance
	// Waiting says for what a started deployment waits that is not in the
	// controller's hands; "" when it waits for nothing.
	Waiting string
	// SealingKey is what secrets are sealed to; "" while the node's agent has not
	// told.
	SealingKey string
	// Token is the deploy token that a person made; nil when there is none.
	Token *Token
}

// Token is what is shown of a deployment's deploy token.
type Token struct {
	ID        uuid.UUID
	Name      string
	CreatedAt time.Time
	ExpiresAt time.Time
}

func validateNote(note string) error {
	if len(note) > maxNoteLength || strings.ContainsRune(note, 0) {
		return apperr.InvalidField("note", nil, "must be at most %d bytes of text", maxNoteLength)
	}
	return nil
}

func validateEnvironment(list []spec.KeyValue) error {
	return spec.ValidateContainer("", spec.Container{Environment: list}).Err()
}
