package deploytoken

import (
	"context"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/token"
)

// IssueFor issues a short-lived token for a deployment on behalf of a trust,
// which has decided that it may, in the transaction of ctx. It stands beside
// the one that people made, and goes when the trust goes. The second result is
// the token, shown this once.
func (s *Service) IssueFor(ctx context.Context, o Origin, lifetime time.Duration) (Token, string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Token{}, "", err
	}
	now := s.now()
	t := Token{
		ID: id, TeamID: o.TeamID, DeploymentID: o.DeploymentID, TrustID: o.TrustID, Name: o.Name,
		CreatedAt: now, CreatedBy: o.TrustID.String(), ExpiresAt: now.Add(lifetime),
	}
	secret, hash, err := s.issuer.Sign(token.Claims{
		ID: id, Subject: o.DeploymentID, Kind: token.Deployment, IssuedAt: now, ExpiresAt: t.ExpiresAt,
	})
	if err != nil {
		return Token{}, "", err
	}
	t.Hash = hash
	return t, secret, s.store.InsertDeployToken(ctx, t)
}
