package deployment

import (
	"context"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/notification"
	"fairlead.dev/shared/workload"
)

// Succeeded is an assignment whose node says that its release runs.
type Succeeded struct {
	Place
	// Generation is the assignment's.
	Generation uint64
	// Digests are of the images, by instance.
	Digests map[string]string
}

// StateChange is what a deployment becomes.
type StateChange struct {
	ID    uuid.UUID
	State State
}

// succeed records what nodes say of releases that run: each makes its
// deployment the one that serves under its prefix. It takes the same few
// statements for one as for all nodes of a large roll-out.
func (s *Service) succeed(ctx context.Context, news []NodeProgress) error {
	var list []Succeeded
	for _, n := range news {
		for _, status := range n.Statuses {
			if status.Phase == workload.PhaseSuccessful {
				at := Place{n.NodeID, status.DeploymentID}
				list = append(list, Succeeded{at, status.Generation, boundDigests(status.Digests)})
			}
		}
	}
	if len(list) == 0 {
		return nil
	}
	serving, err := s.Store.SucceedReleases(ctx, list, s.Now())
	if err != nil || len(serving) == 0 {
		return err
	}
	var changes []change
	var ids []uuid.UUID
	var messages []notification.Message
	for _, d := range serving {
		ids, changes = append(ids, d.ID), append(changes, change{d, Successful})
		// A deployment's last try is the release that is assigned.
		messages = append(messages, endedMessage(d, d.Tries, nil))
	}
	beside, err := s.Store.ListBeside(ctx, ids)
	if err != nil {
		return err
	}
	displaced, err := s.displaced(ctx, serving, beside)
	if err != nil {
		return err
	}
	if err := s.becomeAll(ctx, append(changes, displaced...)); err != nil {
		return err
	}
	return s.Outbox.Add(ctx, messages...)
}

// displaced returns what becomes of the deployments beside those that serve now.
func (s *Service) displaced(ctx context.Context, serving []Deployment, beside map[uuid.UUID][]Deployment) ([]change, error) {
	var changes []change
	known := map[uuid.UUID][]uuid.UUID{} // the descendants of a version
	for _, d := range serving {
		for _, other := range beside[d.ID] {
			if other.State == Preparing {
				continue
			}
			descendants, asked := known[d.Version.ID]
			if !asked {
				var err error
				if descendants, err = s.Store.ListDescendants(ctx, d.Version.ID); err != nil {
					return nil, err
				}
				known[d.Version.ID] = descendants
			}
			if next := other.displacedBy(descendants); other.State != next {
				changes = append(changes, change{other, next})
			}
		}
	}
	return changes, nil
}
