package deployment

import (
	"context"
	"slices"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// capabilityPolicy is of agents that heed a policy, capabilityDrift of those that
// notice what others change of what they made.
const (
	capabilityPolicy = "policy"
	capabilityDrift  = "drift"
)

// policyToRender returns the deployment's policy as it goes to the node: what
// every agent does anyway is not said, so that those that know no policy can
// do it too.
func (s *Service) policyToRender(ctx context.Context, d Deployment) (spec.Policy, error) {
	p := d.Policy
	if p.OnFailure == spec.OnFailureRollback {
		p.OnFailure = ""
	}
	if p.Drift == spec.DriftReport {
		p.Drift = ""
	}
	if p == (spec.Policy{}) {
		return p, nil
	}
	can, err := s.Store.NodeCapabilities(ctx, d.Node.ID)
	switch {
	case apperr.Is(err, apperr.NotFound): // no agent yet; the one to come is not known
		return p, nil
	case err != nil:
		return p, err
	case !slices.Contains(can, capabilityPolicy):
		return p, apperr.New(apperr.Unsupported,
			"the node's agent is too old for the deployment's policy; update it, or set the policy to onFailure rollback and zeros").
			WithField("policy", string(d.Policy.OnFailure))
	case p.Drift == spec.DriftCorrect && !slices.Contains(can, capabilityDrift):
		return p, apperr.New(apperr.Unsupported,
			"the node's agent does not notice what others change of what it made, as only that of a cluster does; set the policy to drift report").
			WithField("policy.drift", string(p.Drift))
	}
	return p, nil
}
