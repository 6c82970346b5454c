package deploytoken

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/token"
	"fairlead.dev/shared/apperr"
)

// Authenticate turns a presented deploy token into the actor it stands for and
// the team it is in; an Unauthenticated error for anything else.
func (s *Service) Authenticate(ctx context.Context, presented string) (actor.Actor, actor.Team, error) {
	claims, err := s.issuer.Read(presented)
	if err != nil {
		return actor.Actor{}, actor.Team{}, err
	}
	if claims.Kind != token.Deployment {
		return actor.Actor{}, actor.Team{}, token.Refused()
	}
	t, slug, err := s.store.FindPresentedDeployToken(ctx, claims.ID)
	switch {
	case apperr.Is(err, apperr.NotFound):
		return actor.Actor{}, actor.Team{}, token.Refused()
	case err != nil:
		return actor.Actor{}, actor.Team{}, err
	case !token.Matches(t.Hash, presented), !s.now().Before(t.ExpiresAt):
		return actor.Actor{}, actor.Team{}, token.Refused()
	}
	who := actor.Actor{
		Kind: actor.DeployToken, ID: t.ID, Name: t.Name, TokenID: t.ID, TokenExpiresAt: t.ExpiresAt, Credential: actor.Bound,
		DeploymentID: t.DeploymentID,
	}
	if t.TrustID != uuid.Nil {
		who.Credential = actor.Federated
	}
	return who, actor.Team{ID: t.TeamID, Slug: slug}, nil
}
