package oidctrust

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/version"
	"fairlead.dev/shared/apperr"
)

// List returns the team's trusts by name.
func (s *Service) List(ctx context.Context) ([]Trust, error) {
	scope, _, err := authz.Require(ctx, authz.OIDCTrustRead)
	if err != nil {
		return nil, err
	}
	return s.Store.ListOIDCTrusts(ctx, scope.ID)
}

// Create adds a trust. The issuer is not asked anything yet. Errors: Invalid;
// NotFound for the deployment; Precondition for one of an incremental version;
// Conflict on the name.
func (s *Service) Create(ctx context.Context, d Draft) (Trust, error) {
	scope, who, err := authz.Require(ctx, authz.OIDCTrustCreate)
	if err != nil {
		return Trust{}, err
	}
	if d, err = d.normalize(s.PublicURL, s.AllowHTTP); err != nil {
		return Trust{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Trust{}, err
	}
	t := Trust{
		ID: id, TeamID: scope.ID, DeploymentID: d.DeploymentID, Name: d.Name, Provider: d.Provider, Issuer: d.Issuer,
		Audience: d.Audience, Conditions: d.Conditions, CreatedAt: s.Now(), CreatedBy: who.Ref(),
	}
	return t, s.Store.InTx(ctx, func(ctx context.Context) error {
		target, err := s.Store.FindDeployment(ctx, scope.ID, d.DeploymentID)
		if apperr.Is(err, apperr.NotFound) {
			return apperr.New(apperr.NotFound, "no such deployment").WithField("deploymentId", d.DeploymentID)
		}
		if err != nil {
			return err
		}
		if target.Version.Type != string(version.Rolling) {
			return apperr.New(apperr.Precondition, "only deployments of rolling versions are started by continuous integration: another start of an incremental version changes nothing").
				WithField("deploymentId", d.DeploymentID)
		}
		have, err := s.Store.ListDeploymentOIDCTrusts(ctx, scope.Slug, d.DeploymentID)
		if err != nil {
			return err
		}
		if len(have) >= MaxPerDeployment {
			return apperr.New(apperr.Precondition, "a deployment has at most %d trusts", MaxPerDeployment).WithField("deploymentId", d.DeploymentID)
		}
		if err := s.Store.InsertOIDCTrust(ctx, t); err != nil {
			return err
		}
		return s.Audit.Record(ctx, authz.OIDCTrustCreate, map[string]any{
			"id": t.ID, "name": t.Name, "deploymentId": t.DeploymentID, "issuer": t.Issuer,
		})
	})
}

// Delete removes a trust; the tokens it issued are void at once. Errors:
// NotFound.
func (s *Service) Delete(ctx context.Context, id uuid.UUID) error {
	scope, _, err := authz.Require(ctx, authz.OIDCTrustDelete)
	if err != nil {
		return err
	}
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		t, err := s.Store.DeleteOIDCTrust(ctx, scope.ID, id)
		if err != nil {
			return err
		}
		return s.Audit.Record(ctx, authz.OIDCTrustDelete, map[string]any{"id": id, "name": t.Name, "deploymentId": t.DeploymentID})
	})
}
