package deployment

import (
	"context"
	"slices"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// capabilityHooks is of agents that run the hooks of workloads.
const capabilityHooks = "hooks"

// checkHooks refuses content with hooks for a node whose agent would not run
// them, and not say so.
func (s *Service) checkHooks(ctx context.Context, d Deployment, content spec.Deployment) error {
	at := slices.IndexFunc(content.Workloads, func(w spec.Workload) bool { return w.Container.Hooks != nil })
	if at < 0 {
		return nil
	}
	can, err := s.Store.NodeCapabilities(ctx, d.Node.ID)
	switch {
	case apperr.Is(err, apperr.NotFound): // no agent yet; the one to come is not known
		return nil
	case err != nil:
		return err
	case !slices.Contains(can, capabilityHooks):
		return apperr.New(apperr.Unsupported, "the node's agent runs no hooks, and %s has some; update the agent, or take the hooks away", content.Workloads[at].Name()).
			WithField("hooks", nil)
	}
	return nil
}
