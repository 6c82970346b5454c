package report

import "context"

// Verdicts on containers that count as turns.
const (
	Healthy   = "healthy"
	Unhealthy = "unhealthy"
)

// turns returns an event for each container of ours that became unhealthy, or
// healthy again: once for each turn, whatever it was in between.
func (r *Recorder) turns(ctx context.Context, nodes []NodeContainers) ([]NodeEvent, error) {
	var judged []ContainerHealth
	for _, n := range nodes {
		for _, c := range n.Changed {
			if c.Managed && (c.Health == Healthy || c.Health == Unhealthy) {
				judged = append(judged, ContainerHealth{n.NodeID, c})
			}
		}
	}
	if len(judged) == 0 {
		return nil, nil
	}
	turned, err := r.Store.TurnedHealth(ctx, judged)
	if err != nil {
		return nil, err
	}
	events := make([]NodeEvent, len(turned))
	for i, at := range turned {
		events[i] = judged[at].event()
	}
	return events, nil
}

func (h ContainerHealth) event() NodeEvent {
	c := h.Container
	return NodeEvent{h.NodeID, EventHealth, map[string]any{
		"engineId": c.EngineID, "prefix": c.ID.Prefix, "name": c.ID.Name, "health": c.Health, "deploymentId": c.DeploymentID,
	}}
}
