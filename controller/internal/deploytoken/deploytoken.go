// Package deploytoken is about the tokens that continuous integration starts
// deployments with: each is good for one deployment and one act.
package deploytoken

import (
	"context"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/token"
	"fairlead.dev/shared/apperr"
)

// Lifetimes of tokens, in days.
const (
	DefaultLifetime = 365
	MaxLifetime     = token.MaxLifetimeInDays
)

// Token is what is known of an issued token; never the token itself.
type Token struct {
	ID           uuid.UUID
	TeamID       uuid.UUID
	DeploymentID uuid.UUID
	Name         string
	Hash         []byte
	CreatedAt    time.Time
	CreatedBy    string
	ExpiresAt    time.Time
	// TrustID is the OIDC trust that issued it; the zero UUID for one that a
	// person made.
	TrustID uuid.UUID
}

// Origin says for what, and by which trust, a token is issued.
type Origin struct {
	TeamID       uuid.UUID
	DeploymentID uuid.UUID
	TrustID      uuid.UUID
	// Name is the trust's.
	Name string
}

// Store keeps tokens; it joins the transaction in ctx. The Find methods and
// DeleteDeployToken return NotFound errors.
type Store interface {
	InTx(ctx context.Context, fn func(ctx context.Context) error) error
	FindDeployment(ctx context.Context, teamID, id uuid.UUID) (deployment.Deployment, error)
	// InsertDeployToken returns Conflicts on the name, and on the deployment
	// when it has a token.
	InsertDeployToken(ctx context.Context, t Token) error
	// FindPresentedDeployToken returns a token by its own id, with its team's
	// slug.
	FindPresentedDeployToken(ctx context.Context, id uuid.UUID) (Token, string, error)
	// DeleteDeployToken removes a deployment's token and returns what it was.
	DeleteDeployToken(ctx context.Context, deploymentID uuid.UUID) (Token, error)
}

// Service manages deploy tokens.
type Service struct {
	store  Store
	issuer *token.Issuer
	audit  *audit.Log
	now    func() time.Time
}

// New returns the service.
func New(store Store, issuer *token.Issuer, log *audit.Log, now func() time.Time) *Service {
	return &Service{store: store, issuer: issuer, audit: log, now: now}
}

func noSuchDeployment(id uuid.UUID) error {
	return apperr.New(apperr.NotFound, "no such deployment").WithField("deploymentId", id)
}
