package deploytoken

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
)

// Delete revokes a deployment's token at once. Errors: NotFound.
func (s *Service) Delete(ctx context.Context, deploymentID uuid.UUID) error {
	team, _, err := authz.Require(ctx, authz.DeployTokenDelete)
	if err != nil {
		return err
	}
	return s.store.InTx(ctx, func(ctx context.Context) error {
		if _, err := s.findDeployment(ctx, team.ID, deploymentID); err != nil {
			return err
		}
		t, err := s.store.DeleteDeployToken(ctx, deploymentID)
		if apperr.Is(err, apperr.NotFound) {
			return apperr.New(apperr.NotFound, "the deployment has no token").WithField("deploymentId", deploymentID)
		}
		if err != nil {
			return err
		}
		return s.audit.Record(ctx, authz.DeployTokenDelete, map[string]any{
			"id": t.ID, "name": t.Name, "deploymentId": deploymentID,
		})
	})
}
