package deployment

import (
	"context"
	"math"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
)

// EventAdopted is an entry of a node's history.
const EventAdopted = "adopted"

// Divergence is what is known of a node's agent that is sent nothing, or that
// does not take what it is sent.
type Divergence struct {
	AgentID uuid.UUID
	// Why is "" when the agent has not diverged. Held is the set it then has.
	Why  string
	Held Held
	// Refusal is why it did not take its last set; "" if it did.
	Refusal string
}

// Adopt makes this controller's set the one that a node's agent is to follow,
// after the agent diverged, or refused what it was sent. The whole set is sent
// anew, above any generation that the agent has seen. What the agent runs under
// prefixes that this controller does not know stays as it is, and shows as left
// over. With confirmRemoval the set may remove any number of workloads.
//
// Errors: NotFound; Precondition when the agent neither diverged nor refused.
func (s *Service) Adopt(ctx context.Context, nodeID uuid.UUID, confirmRemoval bool) error {
	team, _, err := authz.Require(ctx, authz.NodeAdopt)
	if err != nil {
		return err
	}
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		node, err := s.Store.FindTarget(ctx, team.ID, nodeID)
		if apperr.Is(err, apperr.NotFound) {
			return apperr.New(apperr.NotFound, "no such node").WithField("nodeId", nodeID)
		}
		if err != nil {
			return err
		}
		if err := s.Store.LockTarget(ctx, nodeID); err != nil {
			return err
		}
		d, err := s.Store.FindDivergence(ctx, nodeID)
		switch {
		case apperr.Is(err, apperr.NotFound), err == nil && d.Why == "" && d.Refusal == "":
			return apperr.New(apperr.Precondition, "the node's agent follows this controller: there is nothing to adopt").WithField("nodeId", nodeID)
		case err != nil:
			return err
		case d.Held.Generation >= math.MaxInt64-1:
			return apperr.New(apperr.Precondition, "the agent claims a generation that can't be exceeded; install it anew").WithField("nodeId", nodeID)
		}
		generation, err := s.Store.AdoptSet(ctx, nodeID, d, confirmRemoval)
		if err != nil {
			return err
		}
		data := map[string]any{"generation": generation, "heldLineage": d.Held.Lineage, "held": d.Held.Generation, "confirmRemoval": confirmRemoval}
		if err := s.Store.AppendNodeEvent(ctx, nodeID, EventAdopted, data, s.Now()); err != nil {
			return err
		}
		data["id"], data["name"] = nodeID, node.Name
		return s.Audit.Record(ctx, authz.NodeAdopt, data)
	})
}
