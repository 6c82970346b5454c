package team

import (
	"context"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/revision"
	"fairlead.dev/shared/apperr"
)

// Delete removes the team in ctx with everything it has, and revokes the agents
// of its nodes. Precondition while its nodes run something for it, or have yet
// to remove it: nobody could stop that afterwards.
func (s *Service) Delete(ctx context.Context) error {
	_, who, err := authz.Require(ctx, authz.TeamDelete)
	if err != nil {
		return err
	}
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		scope, err := s.lock(ctx, authz.TeamDelete)
		if err != nil {
			return err
		}
		m, err := s.Store.FindMembershipByID(ctx, who.ID, scope.ID)
		if err != nil {
			return noSuchTeam(err, scope.ID)
		}
		if err := revision.Check(ctx, m.UpdatedAt); err != nil {
			return err
		}
		nodes, err := s.Store.LockTeamWhole(ctx, scope.ID)
		if err != nil {
			return noSuchTeam(err, scope.ID)
		}
		assigned, err := s.Store.CountAssignedPrefixes(ctx, scope.ID)
		if err != nil {
			return err
		}
		if assigned > 0 {
			return apperr.New(apperr.Precondition,
				"the team's nodes hold %d deployments; delete these, wait until their nodes have removed them, and delete nodes that do not come back",
				assigned).WithField("teamId", scope.ID)
		}
		for _, id := range nodes {
			if err := s.Store.DismissAgent(ctx, id, false, s.Now()); err != nil {
				return err
			}
		}
		if err := s.Store.DeleteTeam(ctx, scope.ID); err != nil {
			return err
		}
		// The team's own log goes with it, so this is kept outside.
		return s.Audit.Record(actor.WithTeam(ctx, actor.Team{}), authz.TeamDelete, map[string]any{"id": scope.ID, "slug": scope.Slug})
	})
}
