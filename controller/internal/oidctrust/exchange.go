package oidctrust

import (
	"context"
	"crypto/sha256"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/deploytoken"
	"fairlead.dev/shared/apperr"
)

// maxTokenBytes bounds a presented identity token.
const maxTokenBytes = 16 << 10

// Exchange turns an identity token into a deploy token for a deployment, when
// one of the deployment's trusts accepts it. It asks for no log-in: the token
// is one. Only issuers that the deployment trusts are ever asked for their
// keys, and an identity token is exchanged once.
//
// Errors: Unauthenticated for whatever is wrong with the token, for a
// deployment without trusts and for one that does not exist; Unavailable when
// the issuer can't be asked.
func (s *Service) Exchange(ctx context.Context, teamSlug string, deploymentID uuid.UUID, presented string) (deploytoken.Token, string, error) {
	none := func(err error) (deploytoken.Token, string, error) { return deploytoken.Token{}, "", err }
	if presented == "" || len(presented) > maxTokenBytes {
		return none(refused("it is missing or longer than %d bytes", maxTokenBytes))
	}
	issuer, err := s.Verifier.Issuer(presented)
	if err != nil {
		return none(err)
	}
	trusts, err := s.Store.ListDeploymentOIDCTrusts(ctx, teamSlug, deploymentID)
	if err != nil {
		return none(err)
	}
	trusts = slices.DeleteFunc(trusts, func(t Trust) bool { return t.Issuer != issuer })
	if len(trusts) == 0 {
		return none(refused("no trust of this deployment is for its issuer, or there is no such deployment"))
	}
	identity, err := s.Verifier.Verify(ctx, issuer, presented)
	if err != nil {
		return none(err)
	}
	var reasons []string
	for _, t := range trusts {
		if reason := t.refusal(identity); reason != "" {
			reasons = append(reasons, t.Name+": "+reason)
			continue
		}
		return s.issue(ctx, t, teamSlug, identity, presented)
	}
	return none(refused("%s", strings.Join(reasons, "; ")))
}

// refusal says why a trust does not accept an identity, "" when it does.
func (t Trust) refusal(i Identity) string {
	if !slices.Contains(i.Audience, t.Audience) {
		return "its audience is not " + t.Audience
	}
	for _, claim := range slices.Sorted(maps.Keys(t.Conditions)) {
		if !slices.Contains(t.Conditions[claim], i.Claims[claim]) {
			return "its claim " + claim + " is not what the trust asks for"
		}
	}
	return ""
}

func (s *Service) issue(ctx context.Context, t Trust, teamSlug string, i Identity, presented string) (deploytoken.Token, string, error) {
	hash := sha256.Sum256([]byte(presented))
	ctx = actor.With(ctx, actor.Actor{Kind: actor.DeployToken, ID: t.ID, Name: t.Name, DeploymentID: t.DeploymentID, Method: "post"})
	ctx = actor.WithTeam(ctx, actor.Team{ID: t.TeamID, Slug: teamSlug})
	var (
		token  deploytoken.Token
		secret string
	)
	err := s.Store.InTx(ctx, func(ctx context.Context) error {
		first, err := s.Store.MarkExchanged(ctx, t.Issuer, hash[:], i.ExpiresAt, s.Now())
		if err != nil {
			return err
		}
		if !first {
			return refused("it was exchanged before; each is good for one exchange")
		}
		token, secret, err = s.Tokens.IssueFor(ctx, deploytoken.Origin{
			TeamID: t.TeamID, DeploymentID: t.DeploymentID, TrustID: t.ID, Name: t.Name,
		}, Lifetime)
		if err != nil {
			return err
		}
		return s.Audit.Record(ctx, authz.OIDCTrustExchange, map[string]any{
			"id": t.ID, "name": t.Name, "deploymentId": t.DeploymentID, "issuer": t.Issuer, "subject": i.Claims["sub"], "tokenId": token.ID,
		})
	})
	return token, secret, err
}

func refused(format string, args ...any) error {
	return apperr.New(apperr.Unauthenticated, "the identity token is not accepted: "+format, args...)
}
