package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
)

// eventCloned is what the controller enters in the audit log by itself; nobody
// needs a right to it.
const eventCloned authz.Action = "node.cloned"

// Cloned names the node whose identity two processes use.
type Cloned struct {
	NodeID   uuid.UUID
	NodeName string
	TeamID   uuid.UUID
}

const (
	// CloneEvery is how often the same conflict is entered in the history and
	// the audit log.
	CloneEvery = time.Hour
	// CloneRetry is how long the process that was refused waits.
	CloneRetry = 30 * time.Second
)

// cloned flags that a second process came with the identity of an agent whose
// session is alive, and returns the refusal of the second.
func (s *Service) cloned(ctx context.Context, h Holder, info Info) error {
	err := s.Store.InTx(ctx, func(ctx context.Context) error {
		now := s.Now()
		node, first, err := s.Store.FlagClone(ctx, h.AgentID, info.Address, now, now.Add(-CloneEvery))
		if err != nil || !first {
			return err
		}
		data := map[string]any{
			"message": fmt.Sprintf("the identity of node %s is used by two processes", node.NodeName),
			"agent":   h.AgentID, "address": h.AgentAddress, "otherAddress": info.Address, "otherHostname": info.Hostname,
		}
		if err := s.Store.AppendNodeEvent(ctx, node.NodeID, "cloned", data, now); err != nil {
			return err
		}
		data["id"], data["name"] = node.NodeID, node.NodeName
		return s.Audit.Record(actor.WithTeam(ctx, actor.Team{ID: node.TeamID}), eventCloned, data)
	})
	if err != nil {
		return err
	}
	return apperr.New(apperr.Conflict,
		"another process with this identity is connected from %s and answers; stop one of the two, or install this machine as a node of its own",
		h.AgentAddress).WithReason(ReasonCloned)
}
