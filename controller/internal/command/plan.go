package command

import (
	"context"
	"slices"

	"github.com/google/uuid"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// PlanFor asks a node what applying a deployment would do to it now, and waits
// for the answer. It changes nothing. Who may ask is for the caller to say; by
// names who does. Errors: Unsupported when the node's agent is too old for it
// or the deployment is beyond the node, Conflict when something that is not
// ours stands in its way, Unavailable when no answer came in time.
func (s *Service) PlanFor(ctx context.Context, nodeID uuid.UUID, d spec.Deployment, by string) (Planned, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Planned{}, err
	}
	can, err := s.Store.NodeCapabilities(ctx, nodeID)
	if err != nil {
		return Planned{}, err
	}
	if !slices.Contains(can, capabilityPlan) {
		return Planned{}, apperr.New(apperr.Unsupported, "the node's agent is too old to plan; update it").WithField("nodeId", nodeID)
	}
	hints, stop := s.Waiter.Wait(id)
	defer stop()
	now := s.Now()
	c := Command{ID: id, NodeID: nodeID, Operation: Plan, Deployment: &d, Deadline: now.Add(Lifetime), CreatedAt: now, CreatedBy: by}
	if err := s.Store.InTx(ctx, func(ctx context.Context) error { return s.Store.InsertCommand(ctx, c) }); err != nil {
		return Planned{}, err
	}
	r, err := s.await(ctx, c, hints)
	switch {
	case err != nil:
		return Planned{}, err
	case r.Plan == nil:
		return Planned{}, apperr.New(apperr.Unavailable, "the node's agent answered without a plan")
	default:
		return *r.Plan, nil
	}
}
