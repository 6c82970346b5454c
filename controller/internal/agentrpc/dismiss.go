package agentrpc

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/agent"
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
)

// dismissal turns an agent away whose node was deleted, and says what to do.
type dismissal struct {
	error
	agent.Deletion
}

func (d *dismissal) Unwrap() error { return d.error }

// deletionOf is what the agent is told of its node's deletion; nil when that is
// not why it is turned away.
func deletionOf(err error) *agentv1.NodeDeletion {
	var d *dismissal
	if !errors.As(err, &d) {
		return nil
	}
	return &agentv1.NodeDeletion{RemoveContainers: d.RemoveContainers}
}

// dismissed returns the error an agent is turned away with. Where that is that it
// is none any more, and its node was deleted, it says so: only then, and to nobody
// but the agent itself, whose key the caller has seen proof of.
func (s *Server) dismissed(ctx context.Context, agentID uuid.UUID, err error) error {
	var known *dismissal
	if reasonOf(err) != agent.ReasonRevoked || errors.As(err, &known) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	d, findErr := s.Agents.Deleted(ctx, agentID)
	if findErr != nil {
		// It is not to be told half of it: a revoked agent never asks again.
		s.log.Warn("could not ask how an agent lost its identity", "agent", agentID, logging.KeyError, findErr)
		return busy(reconnectAfter, "the controller cannot reach its database; come back")
	}
	if d == nil {
		return err
	}
	s.log.Info("an agent is told that its node was deleted", "agent", agentID, logging.KeyNode, d.NodeID, "remove_containers", d.RemoveContainers)
	return &dismissal{apperr.Wrap(apperr.Forbidden, err, "the agent's node was deleted").WithReason(agent.ReasonRevoked), *d}
}
