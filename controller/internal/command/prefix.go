package command

import (
	"context"
	"slices"
	"sync"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

// DeletePrefix deletes every container of ours that was last seen on a node
// under a prefix, each by a command of its own, all at once. What the node
// should run stays as it is. Errors: NotFound when there is no such node or no
// such container, and those of Do; then some may be deleted and others not.
func (s *Service) DeletePrefix(ctx context.Context, nodeID uuid.UUID, prefix string) error {
	team, _, err := authz.Require(ctx, authz.ContainerDelete)
	if err != nil {
		return err
	}
	if err := s.reachable(ctx, team.ID, nodeID); err != nil {
		return err
	}
	seen, err := s.Store.ListContainers(ctx, nodeID, &prefix)
	if err != nil {
		return err
	}
	var ids []workload.ContainerID
	for _, c := range seen {
		if c.Managed && !slices.Contains(ids, c.ID) {
			ids = append(ids, c.ID)
		}
	}
	if len(ids) == 0 {
		return apperr.New(apperr.NotFound, "the node has no containers of ours under this prefix").WithField("prefix", prefix)
	}
	errs := make([]error, len(ids))
	var all sync.WaitGroup
	for i, id := range ids {
		all.Go(func() {
			_, err := s.Do(ctx, Request{NodeID: nodeID, Operation: Delete, Container: id})
			if !apperr.Is(err, apperr.NotFound) { // gone is as good as deleted
				errs[i] = err
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
