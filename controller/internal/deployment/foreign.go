package deployment

import "context"

// noteForeign notes which nodes' agents spoke of deployments of other nodes. A
// deployment never moves, so no honest agent does.
func (s *Service) noteForeign(ctx context.Context, list []NodeProgress) error {
	var places []Place
	for _, n := range list {
		for _, status := range n.Statuses {
			places = append(places, Place{n.NodeID, status.DeploymentID})
		}
		for _, e := range n.Events {
			places = append(places, Place{n.NodeID, e.DeploymentID})
		}
	}
	if len(places) == 0 {
		return nil
	}
	foreign, err := s.Store.ListForeign(ctx, places)
	if err != nil {
		return err
	}
	for _, at := range foreign {
		if err := s.Misuse.Note(ctx, at.NodeID, "deployment", at.DeploymentID); err != nil {
			return err
		}
	}
	return nil
}
