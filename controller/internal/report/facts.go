package report

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/shared/apperr"
)

// FactStore is what reading facts needs.
type FactStore interface {
	// FindTarget returns the team's node.
	FindTarget(ctx context.Context, teamID, nodeID uuid.UUID) (deployment.Ref, error)
	// ListFacts returns a page of a node's facts, newest first, and how many
	// there are, see page.Counted.
	ListFacts(ctx context.Context, nodeID uuid.UUID, q FactQuery) ([]Fact, int, error)
}

// Facts shows what happened on nodes.
type Facts struct{ store FactStore }

// NewFacts returns the facts in a store.
func NewFacts(store FactStore) *Facts { return &Facts{store} }

// List returns a page of a node's facts, newest first, and how many there
// are, see page.Counted. Errors: NotFound.
func (f *Facts) List(ctx context.Context, nodeID uuid.UUID, q FactQuery) ([]Fact, int, error) {
	team, _, err := authz.Require(ctx, authz.ContainerRead)
	if err != nil {
		return nil, 0, err
	}
	if _, err := f.store.FindTarget(ctx, team.ID, nodeID); err != nil {
		if apperr.Is(err, apperr.NotFound) {
			return nil, 0, apperr.New(apperr.NotFound, "no such node").WithField("nodeId", nodeID)
		}
		return nil, 0, err
	}
	return f.store.ListFacts(ctx, nodeID, q)
}
