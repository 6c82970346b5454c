// Package oidctrust lets continuous integration start a deployment without a
// stored secret: a team says which issuer's identity tokens it trusts and under
// which conditions on their claims, and a pipeline exchanges such a token for a
// short-lived deploy token.
package oidctrust

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/deploytoken"
	"fairlead.dev/controller/internal/naming"
	"fairlead.dev/shared/apperr"
)

// Provider is the kind of an issuer; it decides what a trust must insist on.
type Provider string

// Providers.
const (
	GitHub Provider = "github"
	GitLab Provider = "gitlab"
	// Other is any OpenID Connect issuer.
	Other Provider = "other"
)

// Issuers of the public services.
const (
	gitHubIssuer = "https://token.actions.githubusercontent.com"
	gitLabIssuer = "https://gitlab.com"
)

// Limits of a trust.
const (
	minNameLength = 3
	maxText       = 500
	maxConditions = 20
	maxValues     = 20
	// MaxPerDeployment bounds the trusts of a deployment: each is tried in turn.
	MaxPerDeployment = 10
)

// Lifetime of the deploy tokens that trusts issue: long enough to begin a start
// and wait for its outcome, too short to be worth keeping.
const Lifetime = 15 * time.Minute

// Trust is one rule.
type Trust struct {
	ID           uuid.UUID
	TeamID       uuid.UUID
	DeploymentID uuid.UUID
	Name         string
	Provider     Provider
	// Issuer is the URL in the claim iss, exactly.
	Issuer string
	// Audience must be among the claim aud.
	Audience string
	// Conditions must all hold: the claim has one of the values.
	Conditions map[string][]string
	CreatedAt  time.Time
	CreatedBy  string
}

// Draft is what a caller may set of a trust.
type Draft struct {
	Name         string
	Provider     Provider
	DeploymentID uuid.UUID
	// Issuer may be empty for GitHub and GitLab: the public services.
	Issuer string
	// Audience may be empty: the controller's own address.
	Audience   string
	Conditions map[string][]string
}

// immutable names the claims that stay with a repository or its owner when they
// are renamed, or deleted and made again by somebody else. A trust needs one of
// them: names alone can be taken over.
//
// https://docs.github.com/en/actions/reference/security/oidc
// https://docs.gitlab.com/ci/secrets/id_token_authentication/
func (p Provider) immutable() []string {
	switch p {
	case GitHub:
		return []string{"repository_id", "repository_owner_id"}
	case GitLab:
		return []string{"project_id", "namespace_id"}
	case Other:
		return nil
	default:
		return nil
	}
}

func (d Draft) normalize(publicURL string, allowHTTP bool) (Draft, error) {
	var err error
	if d.Name, err = naming.Check(d.Name, minNameLength); err != nil {
		return d, err
	}
	switch {
	case d.Provider != GitHub && d.Provider != GitLab && d.Provider != Other:
		return d, apperr.InvalidField("provider", string(d.Provider), "must be %s, %s or %s", GitHub, GitLab, Other)
	case d.Issuer == "" && d.Provider == GitHub:
		d.Issuer = gitHubIssuer
	case d.Issuer == "" && d.Provider == GitLab:
		d.Issuer = gitLabIssuer
	}
	if u, err := url.Parse(d.Issuer); err != nil || u.Scheme != "https" && (u.Scheme != "http" || !allowHTTP) || u.Host == "" || u.User != nil ||
		u.RawQuery != "" || u.Fragment != "" || len(d.Issuer) > maxText {
		return d, apperr.InvalidField("issuer", d.Issuer, "must be an https URL without query, as in the claim iss")
	}
	if d.Audience == "" {
		d.Audience = publicURL
	}
	if len(d.Audience) > maxText || !naming.Plain(d.Audience) {
		return d, apperr.InvalidField("audience", nil, "must be at most %d characters, none of them control characters", maxText)
	}
	return d, d.checkConditions()
}

func (d Draft) checkConditions() error {
	if len(d.Conditions) == 0 || len(d.Conditions) > maxConditions {
		return apperr.InvalidField("conditions", nil, "must name 1 to %d claims: without one, everybody the issuer knows could start the deployment", maxConditions)
	}
	for _, claim := range slices.Sorted(maps.Keys(d.Conditions)) {
		values, field := d.Conditions[claim], "conditions."+claim
		if claim == "" || len(claim) > maxText || len(values) == 0 || len(values) > maxValues {
			return apperr.InvalidField(field, nil, "must be 1 to %d values for a claim with a name", maxValues)
		}
		for _, v := range values {
			if v == "" || len(v) > maxText {
				return apperr.InvalidField(field, v, "values must be 1 to %d characters; they are compared as they are, without wildcards", maxText)
			}
		}
	}
	needed := d.Provider.immutable()
	if len(needed) > 0 && !slices.ContainsFunc(needed, func(claim string) bool { return d.Conditions[claim] != nil }) {
		return apperr.InvalidField("conditions", nil, "must name %s: names of repositories and their owners can be taken over by others, ids can't",
			strings.Join(needed, " or "))
	}
	return nil
}

// Store keeps trusts; it joins the transaction in ctx. The Find methods and
// DeleteOIDCTrust return NotFound errors.
type Store interface {
	InTx(ctx context.Context, fn func(ctx context.Context) error) error
	FindDeployment(ctx context.Context, teamID, id uuid.UUID) (deployment.Deployment, error)
	// InsertOIDCTrust returns a Conflict on the name.
	InsertOIDCTrust(ctx context.Context, t Trust) error
	ListOIDCTrusts(ctx context.Context, teamID uuid.UUID) ([]Trust, error)
	// DeleteOIDCTrust removes a trust and every token it issued.
	DeleteOIDCTrust(ctx context.Context, teamID, id uuid.UUID) (Trust, error)
	// ListDeploymentOIDCTrusts returns the trusts of a deployment in the team
	// of the slug, by name; none when there is no such deployment.
	ListDeploymentOIDCTrusts(ctx context.Context, teamSlug string, deploymentID uuid.UUID) ([]Trust, error)
	// MarkExchanged notes that a token was exchanged, and forgets those that
	// have expired; it reports false when the token was noted before.
	MarkExchanged(ctx context.Context, issuer string, tokenHash []byte, expiresAt, now time.Time) (bool, error)
}

// Identity is what a verified identity token says.
type Identity struct {
	Audience  []string
	ExpiresAt time.Time
	// Claims are all claims as text; those that are neither text, number nor
	// truth are left out.
	Claims map[string]string
}

// Verifier checks identity tokens.
type Verifier interface {
	// Issuer returns the claim iss of a token without checking anything;
	// Unauthenticated when it is no token.
	Issuer(token string) (string, error)
	// Verify checks a token's signature with the issuer's published keys, its
	// issuer and its times. Errors: Unauthenticated, Unavailable when the
	// issuer can't be asked.
	Verify(ctx context.Context, issuer, token string) (Identity, error)
}

// Tokens issues deploy tokens; deploytoken.Service does.
type Tokens interface {
	// IssueFor issues a token for a deployment on behalf of a trust, in the
	// transaction of ctx.
	IssueFor(ctx context.Context, o deploytoken.Origin, lifetime time.Duration) (deploytoken.Token, string, error)
}

// Config is what a Service needs.
type Config struct {
	Store    Store
	Verifier Verifier
	Tokens   Tokens
	Audit    *audit.Log
	Now      func() time.Time
	// PublicURL is the audience of trusts that name none.
	PublicURL string
	// AllowHTTP takes issuers without TLS: for installations that call
	// addresses inside their own network.
	AllowHTTP bool
}

// Service manages trusts and exchanges tokens.
type Service struct{ Config }

// New returns the service.
func New(c Config) *Service { return &Service{c} }
