package node

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/notification"
	"fairlead.dev/controller/internal/revision"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

// Draft is what a person says about a node.
type Draft struct {
	Name        string
	Description string
	Icon        string
}

// Create makes a node, which has no agent yet. Errors: Invalid, Conflict on
// the name.
func (s *Service) Create(ctx context.Context, d Draft) (Node, error) {
	team, who, err := authz.Require(ctx, authz.NodeCreate)
	if err != nil {
		return Node{}, err
	}
	// Random, not ordered by time: the id is all that an install command says
	// of the node, and must not be guessable from another's.
	id, err := uuid.NewRandom()
	if err != nil {
		return Node{}, err
	}
	now := s.Now()
	n := Node{
		ID: id, TeamID: team.ID, Name: d.Name, Description: d.Description, Icon: d.Icon, Type: Docker,
		CreatedAt: now, CreatedBy: who.Ref(), UpdatedAt: now, UpdatedBy: who.Ref(),
	}
	if err := n.validate(); err != nil {
		return Node{}, err
	}
	err = s.Store.InTx(ctx, func(ctx context.Context) error {
		if err := s.Store.InsertNode(ctx, n); err != nil {
			return err
		}
		if err := s.Audit.Record(ctx, authz.NodeCreate, map[string]any{"id": n.ID, "name": n.Name}); err != nil {
			return err
		}
		return s.Outbox.Add(ctx, notification.Message{
			TeamID: team.ID, Event: notification.NodeAdded, Title: "Node " + n.Name + " was added",
			Facts: []notification.Fact{{Name: "Node", Value: n.Name}, {Name: "Added by", Value: who.Name}},
			Path:  "/nodes/" + n.ID.String(),
		})
	})
	return n, err
}

// List returns the team's nodes by name.
func (s *Service) List(ctx context.Context) ([]Node, error) {
	team, _, err := authz.Require(ctx, authz.NodeRead)
	if err != nil {
		return nil, err
	}
	return s.Store.ListNodes(ctx, team.ID)
}

// Get returns one node of the team.
func (s *Service) Get(ctx context.Context, id uuid.UUID) (Node, error) {
	return s.find(ctx, authz.NodeRead, id)
}

// Update changes what a person says about a node. Errors: Invalid, NotFound,
// Conflict on the name.
func (s *Service) Update(ctx context.Context, id uuid.UUID, d Draft) error {
	_, who, err := authz.Require(ctx, authz.NodeUpdate)
	if err != nil {
		return err
	}
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		n, err := s.lock(ctx, authz.NodeUpdate, id)
		if err != nil {
			return err
		}
		n.Name, n.Description, n.Icon = d.Name, d.Description, d.Icon
		n.UpdatedAt, n.UpdatedBy = revision.Next(n.UpdatedAt, s.Now()), who.Ref()
		if err := n.validate(); err != nil {
			return err
		}
		if err := s.Store.UpdateNode(ctx, n); err != nil {
			return err
		}
		return s.Audit.Record(ctx, authz.NodeUpdate, map[string]any{"id": n.ID, "name": n.Name})
	})
}

// Delete takes a node away for good. Its agent is told, as soon as it can be,
// and goes; what it ran goes on. Errors: NotFound, Precondition while deployments
// are placed on the node.
func (s *Service) Delete(ctx context.Context, id uuid.UUID) error {
	return s.delete(ctx, id, false)
}

// DeleteRemoving is Delete that has the agent remove the containers and networks
// it made before it goes. Volumes stay.
func (s *Service) DeleteRemoving(ctx context.Context, id uuid.UUID) error {
	return s.delete(ctx, id, true)
}

func (s *Service) delete(ctx context.Context, id uuid.UUID, remove bool) error {
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		n, err := s.lock(ctx, authz.NodeDelete, id)
		if err != nil {
			return err
		}
		if n.InUse {
			return apperr.New(apperr.Precondition, "the node has deployments; delete them first").WithField("id", id)
		}
		if err := s.Store.DismissAgent(ctx, id, remove, s.Now()); err != nil {
			return err
		}
		if err := s.Store.DeleteNode(ctx, id); err != nil {
			return err
		}
		return s.Audit.Record(ctx, authz.NodeDelete, map[string]any{"id": id, "name": n.Name, "containersRemoved": remove})
	})
}

// RevokeToken revokes the identity of the node's agent: its session closes and
// it can't come back. What runs on the node goes on. NotFound when the node has
// no agent.
func (s *Service) RevokeToken(ctx context.Context, id uuid.UUID) error {
	n, err := s.find(ctx, authz.NodeRevoke, id)
	if err != nil {
		return err
	}
	_, who, err := authz.Require(ctx, authz.NodeRevoke)
	if err != nil {
		return err
	}
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		revoked, err := s.Store.RevokeAgent(ctx, id, s.Now())
		if err != nil {
			return err
		}
		if !revoked {
			return apperr.New(apperr.NotFound, "the node has no agent whose token could be revoked").WithField("nodeId", id)
		}
		data := map[string]any{"reason": "revoke-token", "user": who.Name}
		if err := s.Store.AppendNodeEvent(ctx, id, "kicked", data, s.Now()); err != nil {
			return err
		}
		return s.Audit.Record(ctx, authz.NodeRevoke, map[string]any{"id": id, "name": n.Name})
	})
}

// Readmit ends the quarantine of the node's agent: from then on it is sent what
// the node should run. Precondition when it is in none.
func (s *Service) Readmit(ctx context.Context, id uuid.UUID) error {
	n, err := s.find(ctx, authz.NodeReadmit, id)
	if err != nil {
		return err
	}
	_, who, err := authz.Require(ctx, authz.NodeReadmit)
	if err != nil {
		return err
	}
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		readmitted, err := s.Store.ReadmitAgent(ctx, id)
		if err != nil {
			return err
		}
		if !readmitted {
			return apperr.New(apperr.Precondition, "the node's agent is not in quarantine").WithField("nodeId", id)
		}
		data := map[string]any{"user": who.Name, "quarantine": n.Agent.Quarantine}
		if err := s.Store.AppendNodeEvent(ctx, id, "readmitted", data, s.Now()); err != nil {
			return err
		}
		return s.Audit.Record(ctx, authz.NodeReadmit, map[string]any{"id": id, "name": n.Name, "quarantine": n.Agent.Quarantine})
	})
}

// Containers returns what was last seen on the node, foreign containers
// included; with a prefix, only that prefix's.
func (s *Service) Containers(ctx context.Context, id uuid.UUID, prefix *string) ([]workload.Container, error) {
	team, _, err := authz.Require(ctx, authz.ContainerRead)
	if err != nil {
		return nil, err
	}
	list, err := s.Store.ReadContainers(ctx, team.ID, id, prefix)
	if apperr.Is(err, apperr.NotFound) {
		return nil, noSuchNode(id)
	}
	return list, err
}

// ContainersMark returns a text that changes whenever Containers does, and is
// cheaper to ask for.
func (s *Service) ContainersMark(ctx context.Context, id uuid.UUID) (string, error) {
	team, _, err := authz.Require(ctx, authz.ContainerRead)
	if err != nil {
		return "", err
	}
	return s.Store.MarkOfContainers(ctx, team.ID, id)
}

// Events returns a page of the node's history, newest first, and how many events
// fit, see page.Counted.
func (s *Service) Events(ctx context.Context, id uuid.UUID, q EventQuery) ([]Event, int, error) {
	if _, err := s.find(ctx, authz.NodeRead, id); err != nil {
		return nil, 0, err
	}
	return s.Store.ListNodeEvents(ctx, id, q)
}

// lock returns a node of the revision that the caller expects, and keeps it as
// it is until the transaction ends.
func (s *Service) lock(ctx context.Context, action authz.Action, id uuid.UUID) (Node, error) {
	if _, err := s.find(ctx, action, id); err != nil {
		return Node{}, err
	}
	if err := s.Store.LockTarget(ctx, id); err != nil {
		return Node{}, err
	}
	n, err := s.find(ctx, action, id)
	if err != nil {
		return Node{}, err
	}
	return n, revision.Check(ctx, n.UpdatedAt)
}

func (s *Service) find(ctx context.Context, action authz.Action, id uuid.UUID) (Node, error) {
	team, _, err := authz.Require(ctx, action)
	if err != nil {
		return Node{}, err
	}
	n, err := s.Store.FindNode(ctx, team.ID, id)
	if apperr.Is(err, apperr.NotFound) {
		return Node{}, noSuchNode(id)
	}
	return n, err
}

func noSuchNode(id uuid.UUID) error {
	return apperr.New(apperr.NotFound, "no such node").WithField("nodeId", id)
}
