package deployment

import (
	"context"
	"slices"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/revision"
	"fairlead.dev/shared/apperr"
)

// Delete removes a deployment in any state, its releases and its log with it.
//
// When the prefix is this deployment's, the node is told to remove its
// containers; volumes stay. But a deployment that was taking the prefix over
// and did not succeed gives it back: what served there before, and may serve
// still, is wanted again as a new release with the same content.
//
// A node that is away removes the containers when it returns. Errors: NotFound.
func (s *Service) Delete(ctx context.Context, id uuid.UUID) error {
	return s.delete(ctx, id, false)
}

// DeleteKeeping is Delete that leaves the containers as they run. From then on
// nobody looks after them: the node shows them as left over, until they are
// removed one by one or something else is deployed under the prefix. Errors:
// also Precondition while a release is under way, which would be left half done.
func (s *Service) DeleteKeeping(ctx context.Context, id uuid.UUID) error {
	return s.delete(ctx, id, true)
}

func (s *Service) delete(ctx context.Context, id uuid.UUID, keep bool) error {
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		_, who, err := authz.Require(ctx, authz.DeploymentDelete)
		if err != nil {
			return err
		}
		d, err := s.lock(ctx, authz.DeploymentDelete, id)
		if err != nil {
			return err
		}
		if err := revision.Check(ctx, d.UpdatedAt); err != nil {
			return err
		}
		if err := s.vacate(ctx, d, who, keep); err != nil {
			return err
		}
		if err := s.Store.DeleteDeployment(ctx, id); err != nil {
			return err
		}
		return s.Audit.Record(ctx, authz.DeploymentDelete, map[string]any{
			"id": id, "versionId": d.Version.ID, "nodeId": d.Node.ID, "prefix": d.Prefix, "containersKept": keep,
		})
	})
}

// vacate takes the prefix from a deployment that holds it.
func (s *Service) vacate(ctx context.Context, d Deployment, who actor.Actor, keep bool) error {
	a, err := s.assigned(ctx, d)
	if err != nil || a.DeploymentID != d.ID {
		return err
	}
	there, err := s.Store.ListPlaced(ctx, d.Node.ID, d.Prefix)
	if err != nil {
		return err
	}
	// Whoever is still successful was never displaced: this one did not succeed.
	at := slices.IndexFunc(there, func(o Deployment) bool { return o.ID != d.ID && o.State == Successful })
	if at >= 0 {
		return s.fallBack(ctx, there[at], a, who)
	}
	if keep && d.State == InProgress {
		return apperr.New(apperr.Precondition, "a release is under way: wait for its outcome, or delete the containers, too").
			WithField("containers", nil)
	}
	generation, err := s.Store.RaiseGeneration(ctx, d.Node.ID)
	if err != nil {
		return err
	}
	if keep {
		return s.Store.LeaveAssignment(ctx, d.Node.ID, d.Prefix, generation)
	}
	// Whoever deletes a deployment means that all of it goes.
	a = Assignment{Prefix: d.Prefix, Generation: generation, DeploymentID: d.ID, Tombstone: string(authz.DeploymentDelete), RemovalConfirmed: true}
	return s.Store.PutAssignment(ctx, d.Node.ID, a, s.Now())
}

// fallBack gives the prefix, which is assigned what now says, to a deployment's
// last successful release.
func (s *Service) fallBack(ctx context.Context, d Deployment, now Assignment, who actor.Actor) error {
	r, err := s.Store.FindLatestRelease(ctx, d.ID, OutcomeSuccessful)
	if err != nil {
		return err
	}
	again := made(who)
	again.Trigger, again.RollbackOf = TriggerFallback, r.Number
	_, err = s.assign(ctx, d, now, again, r.Spec, true)
	return err
}
