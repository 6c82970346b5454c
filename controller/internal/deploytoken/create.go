package deploytoken

import (
	"context"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/naming"
	"fairlead.dev/controller/internal/token"
	"fairlead.dev/controller/internal/version"
	"fairlead.dev/shared/apperr"
)

const (
	minNameLength = 3
)

// Create issues the token of a deployment, which expires after the days given;
// nil means DefaultLifetime. The second result is the token, shown this once.
//
// Errors: Invalid, NotFound; Precondition for a deployment of an incremental
// version, which is started once and then is history; Conflict on the name,
// which is the team's, and on the deployment when it has a token already.
func (s *Service) Create(ctx context.Context, deploymentID uuid.UUID, name string, days *int) (Token, string, error) {
	team, who, err := authz.Require(ctx, authz.DeployTokenCreate)
	if err != nil {
		return Token{}, "", err
	}
	if name, err = naming.Check(name, minNameLength); err != nil {
		return Token{}, "", err
	}
	lifetime, err := checkLifetime(days)
	if err != nil {
		return Token{}, "", err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Token{}, "", err
	}
	now := s.now()
	t := Token{
		ID: id, TeamID: team.ID, DeploymentID: deploymentID, Name: name,
		CreatedAt: now, CreatedBy: who.Ref(), ExpiresAt: now.Add(lifetime),
	}
	secret, hash, err := s.issuer.Sign(token.Claims{
		ID: id, Subject: deploymentID, Kind: token.Deployment, IssuedAt: now, ExpiresAt: t.ExpiresAt,
	})
	if err != nil {
		return Token{}, "", err
	}
	t.Hash = hash
	err = s.store.InTx(ctx, func(ctx context.Context) error {
		d, err := s.findDeployment(ctx, team.ID, deploymentID)
		if err != nil {
			return err
		}
		if d.Version.Type != string(version.Rolling) {
			return apperr.New(apperr.Precondition, "only deployments of rolling versions have tokens: another start of an incremental version changes nothing").
				WithField("versionType", d.Version.Type)
		}
		if err := s.store.InsertDeployToken(ctx, t); err != nil {
			return err
		}
		return s.audit.Record(ctx, authz.DeployTokenCreate, map[string]any{
			"id": t.ID, "name": t.Name, "deploymentId": deploymentID, "expiresAt": t.ExpiresAt,
		})
	})
	return t, secret, err
}

// findDeployment returns a deployment of the team.
func (s *Service) findDeployment(ctx context.Context, teamID, id uuid.UUID) (deployment.Deployment, error) {
	d, err := s.store.FindDeployment(ctx, teamID, id)
	if apperr.Is(err, apperr.NotFound) {
		return d, noSuchDeployment(id)
	}
	return d, err
}

func checkLifetime(days *int) (time.Duration, error) {
	n := DefaultLifetime
	if days != nil {
		n = *days
	}
	if n < 1 || n > MaxLifetime {
		return 0, apperr.InvalidField("expirationInDays", n, "must be 1 to %d", MaxLifetime)
	}
	return time.Duration(n) * 24 * time.Hour, nil
}
